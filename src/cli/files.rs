//! Posts from files through the same pipeline as the stream's, for the commands that need no broker.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
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
    /// It had so many posts, those left out and the unreadable ones among them. Not told of one that broke off.
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

/// What reading sources comes to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    /// Posts that could not be read.
    unreadable: u64,
    /// Sources that broke off, which is said at once.
    broken: u64,
}

/// Posts on their way.
pub(super) struct Flow {
    /// One for each post that could be read, in the order of their source. Its origin is the path and the post's number in
    /// it, from 0 on; the generation of its assignment is the number of the source.
    pub outcomes: mpsc::Receiver<Outcome>,
    reading: Vec<JoinHandle<Result<Count>>>,
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
    /// When the model could not go on, or a source could not be read to its end.
    pub async fn end(self) -> Result<u64> {
        if let Ok(error) = self.failure.await {
            return Err(anyhow!(error).context("the model cannot go on"));
        }
        let mut all = Count::default();
        for reading in self.reading {
            let count = reading.await??;
            all = Count { unreadable: all.unreadable + count.unreadable, broken: all.broken + count.broken };
        }
        if all.broken > 0 {
            bail!(
                "lists broke off, {} in all (they are named above); what stands behind is missing: run it again",
                all.broken
            );
        }
        Ok(all.unreadable)
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
    fn read_all(&self) -> Result<Count> {
        let mut count = Count::default();
        while let Some((number, source)) = self.next() {
            self.read(number, source, &mut count)?;
        }
        Ok(count)
    }

    fn next(&self) -> Option<(usize, Source)> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn read(&self, number: usize, source: Source, count: &mut Count) -> Result<()> {
        let assignment = Assignment::new(number as u64);
        let topic: Arc<str> = source.path.to_string_lossy().into();
        let (mut sequence, mut end) = (0, 0);
        for (offset, post) in (0i64..).zip((source.open)()?) {
            end = offset + 1;
            // Also among the posts left out: no number is counted for what is not known.
            if let Err(error) = &post
                && error.is_of_the_list()
            {
                complain(&error.to_string());
                count.broken += 1;
                return Ok(());
            }
            if usize::try_from(offset).is_ok_and(|offset| offset < source.skip) {
                continue;
            }
            let post = match post {
                Ok(post) => post,
                Err(error) => {
                    (self.tell)(number, Told::Unreadable(offset, error))?;
                    count.unreadable += 1;
                    continue;
                }
            };
            let permit = self.admit(post.value.len());
            let origin = Origin { topic: Arc::clone(&topic), partition: 0, offset };
            let record = post.into_record(origin, Arc::clone(&assignment), sequence, permit);
            if self.records.send(record).is_err() {
                // The model has failed, which is told elsewhere.
                return Ok(());
            }
            sequence += 1;
        }
        (self.tell)(number, Told::End(end))
    }

    fn admit(&self, bytes: usize) -> Permit {
        let budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        while !budget.wait_for_room(Duration::from_secs(1)) {}
        budget.admit(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_breaks_off_has_no_end_and_the_others_are_read() {
        let post = || SourcePost { key: None, value: "{}".into(), headers: vec![], label: None };
        let error = |of_list| {
            let (path, source) = (PathBuf::from("list"), std::io::Error::other("stale file handle"));
            if of_list { posts::Error::List { path, source } } else { posts::Error::Read { path, source } }
        };
        let broken: Posts = Box::new([Ok(post()), Err(error(false)), Err(error(true))].into_iter());
        let whole: Posts = Box::new([Ok(post()), Err(error(false))].into_iter());
        let sources = [whole, broken].into_iter().map(|posts| Source::opened("list".into(), posts));
        let (records, sent) = crossbeam_channel::bounded(10);
        let metrics = Metrics::new();
        let limits = crate::settings::load(None).expect("the defaults are valid").limits;
        let budget = Budget::new(limits, metrics.in_flight_records.clone(), metrics.in_flight_bytes.clone());
        let told = Arc::new(Mutex::new(vec![]));
        let tell: Tell = Box::new({
            let told = Arc::clone(&told);
            move |number, what| {
                let what = match what {
                    Told::Unreadable(post, _) => (number, "unreadable", post),
                    Told::End(posts) => (number, "end", posts),
                };
                told.lock().expect("whole").push(what);
                Ok(())
            }
        });
        let reader =
            Reader { left: Mutex::new(sources.enumerate().collect()), records, budget: Mutex::new(budget), tell };
        assert_eq!(reader.read_all().expect("read"), Count { unreadable: 2, broken: 1 });
        let told = told.lock().expect("whole").clone();
        assert_eq!(told, [(1, "unreadable", 1), (0, "unreadable", 1), (0, "end", 2)]);
        assert_eq!(sent.len(), 2);
    }
}
