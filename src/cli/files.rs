//! Posts from files through the same pipeline as the stream's, for the commands that need no broker.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, anyhow};
use crossbeam_channel::Sender;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::complain;
use crate::budget::{Budget, Permit};
use crate::message::{Assignment, Origin, Outcome, Record};
use crate::metrics::Metrics;
use crate::model::ModelError;
use crate::pipeline::{self, Pipeline};
use crate::posts::{self, SourcePost};
use crate::scorer::Scorer;
use crate::settings::Settings;

/// What a path holds.
pub(super) type Posts = Box<dyn Iterator<Item = Result<SourcePost, posts::Error>> + Send>;

/// A path, and how its posts are got when their turn comes.
pub(super) struct Source {
    /// The topic of their origin.
    pub path: PathBuf,
    /// Opens them.
    pub open: Box<dyn FnOnce() -> Result<Posts, posts::Error> + Send>,
    /// So many of the first are left out.
    pub skip: usize,
}

impl Source {
    /// All posts of a path that is open.
    pub fn opened(path: PathBuf, posts: Posts) -> Self {
        Self { path, open: Box::new(move || Ok(posts)), skip: 0 }
    }
}

/// What reading a source tells beside the posts that go through the pipeline; the number of the source comes with it.
pub(super) enum Told {
    /// The post of this number cannot be read. Told before any post behind it goes into the pipeline.
    Unreadable(i64, posts::Error),
    /// It had so many posts, those left out and the unreadable ones among them.
    End(i64),
}

/// Whom it is told. An error ends the reading.
pub(super) type Tell = Box<dyn Fn(usize, Told) -> Result<()> + Send + Sync>;

/// Says on standard error what cannot be read.
pub(super) fn told_on_standard_error() -> Tell {
    Box::new(|_, told| {
        if let Told::Unreadable(_, error) = told {
            complain(&format!("unreadable: {error}"));
        }
        Ok(())
    })
}

/// Posts on their way.
pub(super) struct Flow {
    /// One for each post that could be read, in the order of their source. Its origin is the path and the post's number in
    /// it, from 0 on; the generation of its assignment is the number of the source.
    pub outcomes: mpsc::Receiver<Outcome>,
    reading: Vec<JoinHandle<Result<u64>>>,
    failure: oneshot::Receiver<ModelError>,
}

impl Flow {
    /// Starts the pipeline and reads the posts of all sources into it, so many at a time.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub fn start(
        settings: &Settings,
        scorer: Scorer,
        sources: Vec<Source>,
        at_a_time: usize,
        tell: Tell,
        metrics: &Arc<Metrics>,
    ) -> Result<Self> {
        let Pipeline { records, outcomes, failure } =
            pipeline::spawn(&scorer.sizes, scorer.fetcher, &scorer.decoder, scorer.models, metrics)?;
        let budget = Budget::new(settings.limits, metrics.in_flight_records.clone(), metrics.in_flight_bytes.clone());
        let numbered: Vec<_> = sources.into_iter().enumerate().rev().collect();
        let reader = Arc::new(Reader { left: Mutex::new(numbered), records, budget: Mutex::new(budget), tell });
        let reading = (0..at_a_time).map(|_| {
            let reader = Arc::clone(&reader);
            tokio::task::spawn_blocking(move || reader.read_all())
        });
        let reading = reading.collect();
        Ok(Self { outcomes, reading, failure })
    }

    /// How many posts could not be read. To be asked once `outcomes` is at its end.
    ///
    /// # Errors
    /// When the model could not go on, or a source could not be read.
    pub async fn end(self) -> Result<u64> {
        if let Ok(error) = self.failure.await {
            return Err(anyhow!(error).context("the model cannot go on"));
        }
        let mut unreadable = 0;
        for reading in self.reading {
            unreadable += reading.await??;
        }
        Ok(unreadable)
    }
}

/// Reads posts into the pipeline as the Kafka source would, on several threads.
struct Reader {
    /// Sources that nobody reads yet, the first last.
    left: Mutex<Vec<(usize, Source)>>,
    records: Sender<Record>,
    /// Who asks for room keeps the others waiting until it is taken.
    budget: Mutex<Arc<Budget>>,
    tell: Tell,
}

impl Reader {
    /// Returns how many posts could not be read.
    fn read_all(&self) -> Result<u64> {
        let mut unreadable = 0;
        while let Some((number, source)) = self.next() {
            unreadable += self.read(number, source)?;
        }
        Ok(unreadable)
    }

    fn next(&self) -> Option<(usize, Source)> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn read(&self, number: usize, source: Source) -> Result<u64> {
        let assignment = Assignment::new(number as u64);
        let topic: Arc<str> = source.path.to_string_lossy().into();
        let (mut sequence, mut unreadable, mut end) = (0, 0, 0);
        for (offset, post) in (0i64..).zip((source.open)()?) {
            end = offset + 1;
            if usize::try_from(offset).is_ok_and(|offset| offset < source.skip) {
                continue;
            }
            let post = match post {
                Ok(post) => post,
                Err(error) => {
                    (self.tell)(number, Told::Unreadable(offset, error))?;
                    unreadable += 1;
                    continue;
                }
            };
            let permit = self.admit(post.value.len());
            let origin = Origin { topic: Arc::clone(&topic), partition: 0, offset };
            let record = post.into_record(origin, Arc::clone(&assignment), sequence, permit);
            if self.records.send(record).is_err() {
                // The model has failed, which is told elsewhere.
                return Ok(unreadable);
            }
            sequence += 1;
        }
        (self.tell)(number, Told::End(end))?;
        Ok(unreadable)
    }

    fn admit(&self, bytes: usize) -> Permit {
        let budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        while !budget.wait_for_room(Duration::from_secs(1)) {}
        budget.admit(bytes)
    }
}
