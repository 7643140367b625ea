//! Posts from files through the same pipeline as the stream's, for the commands that need no broker.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use crossbeam_channel::Sender;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::complain;
use crate::budget::Budget;
use crate::message::{Assignment, Origin, Outcome, Record};
use crate::metrics::Metrics;
use crate::model::ModelError;
use crate::pipeline::{self, Pipeline};
use crate::posts::{self, SourcePost};
use crate::scorer::Scorer;
use crate::settings::Settings;

/// What a path holds.
pub(super) type Posts = Box<dyn Iterator<Item = Result<SourcePost, posts::Error>> + Send>;

/// Posts on their way.
pub(super) struct Flow {
    /// One for each post that could be read, in their order. Its origin is the path and the post's number in it, from 0 on.
    pub outcomes: mpsc::Receiver<Outcome>,
    reading: JoinHandle<u64>,
    failure: oneshot::Receiver<ModelError>,
}

impl Flow {
    /// Starts the pipeline and reads the posts of all paths into it.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub fn start(
        settings: &Settings,
        scorer: Scorer,
        sources: Vec<(PathBuf, Posts)>,
        metrics: &Arc<Metrics>,
    ) -> Result<Self> {
        let Pipeline { records, outcomes, failure } =
            pipeline::spawn(&scorer.sizes, scorer.fetcher, &scorer.decoder, scorer.models, metrics)?;
        let budget = Budget::new(settings.limits, metrics.in_flight_records.clone(), metrics.in_flight_bytes.clone());
        let reading = tokio::task::spawn_blocking(move || {
            let mut unreadable = 0;
            for (number, (path, posts)) in (1u64..).zip(sources) {
                unreadable += pull(&path, number, posts, &records, &budget);
            }
            unreadable
        });
        Ok(Self { outcomes, reading, failure })
    }

    /// How many posts could not be read. To be asked once `outcomes` is at its end.
    ///
    /// # Errors
    /// When the model could not go on.
    pub async fn end(self) -> Result<u64> {
        if let Ok(error) = self.failure.await {
            return Err(anyhow!(error).context("the model cannot go on"));
        }
        Ok(self.reading.await?)
    }
}

/// Reads posts into the pipeline as the Kafka source would; returns how many could not be read.
fn pull(path: &Path, generation: u64, posts: Posts, records: &Sender<Record>, budget: &Arc<Budget>) -> u64 {
    let assignment = Assignment::new(generation);
    let topic: Arc<str> = path.to_string_lossy().into();
    let (mut sequence, mut unreadable) = (0, 0);
    for (offset, post) in (0i64..).zip(posts) {
        let post = match post {
            Ok(post) => post,
            Err(error) => {
                complain(&format!("unreadable: {error}"));
                unreadable += 1;
                continue;
            }
        };
        while !budget.wait_for_room(Duration::from_secs(1)) {}
        let origin = Origin { topic: Arc::clone(&topic), partition: 0, offset };
        let permit = budget.admit(post.value.len());
        let record = post.into_record(origin, Arc::clone(&assignment), sequence, permit);
        if records.send(record).is_err() {
            break;
        }
        sequence += 1;
    }
    unreadable
}
