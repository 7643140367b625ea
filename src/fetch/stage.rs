//! The stage's thread, which looks for posts with an image by URL, and the task that each of them gets.

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::{Fetcher, failed};
use crate::error::{Refusal, Stage as Name};
use crate::message::{Fetched, Outcome, Record};
use crate::metrics::Metrics;

/// Where `image.url` is read: `None` where the record has none or is not to be fetched for.
pub(crate) type UrlOf = Box<dyn Fn(&Record) -> Option<Result<String, Refusal>> + Send>;

/// The ends of the stage.
pub(crate) struct Stage {
    pub(crate) fetcher: Arc<Fetcher>,
    pub(crate) url_of: UrlOf,
    pub(crate) records: Receiver<Record>,
    pub(crate) onward: Onward,
    pub(crate) runtime: Handle,
    pub(crate) metrics: Arc<Metrics>,
}

/// Where records go from here.
#[derive(Clone)]
pub(crate) struct Onward {
    /// To be decoded. Its capacity is the record limit, so that sending never waits: every record in it is in flight.
    pub(crate) decode: Sender<Record>,
    /// Refused.
    pub(crate) finished: mpsc::Sender<Outcome>,
}

impl Stage {
    /// Runs until `records` closes; the tasks under way go on by themselves and hold `onward` open until they are done.
    pub(crate) fn run(self) {
        for record in &self.records {
            let handed_on = match (self.url_of)(&record) {
                None => self.onward.decode.send(record).is_ok(),
                Some(Err(refusal)) => {
                    self.onward.finished.blocking_send(Outcome::refused(record, Name::Decode, refusal)).is_ok()
                }
                Some(Ok(url)) => {
                    self.start(url, record);
                    true
                }
            };
            if !handed_on {
                return;
            }
        }
    }

    fn start(&self, url: String, record: Record) {
        let (fetcher, onward, metrics) = (Arc::clone(&self.fetcher), self.onward.clone(), Arc::clone(&self.metrics));
        self.runtime.spawn(async move {
            let image = image(fetcher, url, &record, &metrics).await;
            onward.hand_on(record, image).await;
        });
    }
}

/// The image, unless its record is taken away meanwhile: then whatever comes is dropped by the order stage.
async fn image(fetcher: Arc<Fetcher>, url: String, record: &Record, metrics: &Metrics) -> Result<Fetched, Refusal> {
    let started = Instant::now();
    metrics.fetches_in_flight.inc();
    // A task of its own, so that a panic costs this record only.
    let mut fetching = tokio::spawn(async move { fetcher.fetch(&url).await });
    let ended = tokio::select! {
        ended = &mut fetching => ended.unwrap_or_else(|panicked| {
            metrics.panics.inc();
            Err(failed(panicked.to_string()))
        }),
        () = record.position.assignment.revoked() => {
            fetching.abort();
            Err(failed("given up, as the partition was taken away"))
        }
    };
    metrics.fetches_in_flight.dec();
    metrics.stage_seconds.with_label_values(&["fetch"]).observe(started.elapsed().as_secs_f64());
    record.span.iter().for_each(|span| span.stage("fetch", started));
    ended
}

impl Onward {
    /// Fails only when the pipeline is gone, and the record with it.
    async fn hand_on(&self, mut record: Record, image: Result<Fetched, Refusal>) {
        match image {
            Ok(fetched) => {
                record.fetched = Some(fetched);
                let _ = self.decode.send(record);
            }
            Err(refusal) => {
                let _ = self.finished.send(Outcome::refused(record, Name::Fetch, refusal)).await;
            }
        }
    }
}
