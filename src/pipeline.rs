//! The stages and the channels between them: records in, outcomes out, in the order of their partition. What pulls the
//! records and what publishes the outcomes is somebody else's: Kafka in [`crate::worker`], files and standard output in
//! `sentistream score`. Everything that is scored is scored here.
//!
//! ```text
//!  ┌──(schema thread, where a registry is set: a task for each post whose schema is not known yet ──[in_flight_records]──>)
//!  ├──(fetch thread, where fetching is on: a task for each image by URL ──[in_flight_records]──>)
//! records ──[in_flight_records]──> decode threads ──[batch.max_posts]──> batch task ──> model threads ──────┐
//!              tombstones and refused records ──[in_flight_records]──> order task <────────────────────────┘
//!                                                        order task ──[in_flight_records]──> outcomes
//! ```
//!
//! Each model thread owns one [`Model`] and scores one batch at a time; a batch is made up when one of them is free.
//! No stage waits for a stage before it, and every record holds a permit of the [`crate::budget::Budget`], so the
//! channels are bounded twice. Closing `records` drains the stages in order; `outcomes` closes last.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Instant;

use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::batch::{self, Batch};
use crate::cores::cores;
use crate::decode::{Decoded, Decoder, Registry, Watch, registry};
use crate::error::{Reason, Refusal, Stage};
use crate::fetch::{self, Fetcher};
use crate::message::{Outcome, Post, Prepared, Record};
use crate::metrics::Metrics;
use crate::model::{self, Model, ModelError};
use crate::order::{Order, Turn};

/// How the stages are sized.
#[derive(Debug, Clone)]
pub struct Sizes {
    /// Most records in flight: the capacity of the outer channels.
    pub in_flight_records: usize,
    /// Bytes of the largest record that is decoded.
    pub record_bytes: usize,
    /// Decode threads.
    pub decode_threads: usize,
    /// Limits of a batch.
    pub batch: batch::Settings,
}

/// The ends of the running stages.
#[derive(Debug)]
pub struct Pipeline {
    /// Records in; close it to drain.
    pub records: crossbeam_channel::Sender<Record>,
    /// Outcomes out, in the order of their partition.
    pub outcomes: mpsc::Receiver<Outcome>,
    /// Why the model cannot go on, if it ever comes to that: the worker must stop with nothing more committed.
    pub failure: oneshot::Receiver<ModelError>,
}

/// Starts the stages; call it within a tokio runtime. The `models` must be warm, and at least one. Without a `fetcher` there is
/// no fetch stage.
///
/// # Errors
/// When the system gives no more threads.
pub fn spawn(
    sizes: &Sizes,
    fetcher: Option<Arc<Fetcher>>,
    decoder: &Arc<Decoder>,
    models: Vec<Model>,
    metrics: &Arc<Metrics>,
) -> std::io::Result<Pipeline> {
    let (records, pulled) = crossbeam_channel::bounded(sizes.in_flight_records);
    let (prepared_in, prepared) = mpsc::channel(sizes.batch.max_posts);
    let (finished_in, finished) = mpsc::channel(sizes.in_flight_records);
    let (outcomes_in, outcomes) = mpsc::channel(sizes.in_flight_records);
    let (failure_in, failure) = oneshot::channel();

    let pulled = match decoder.registry() {
        Some(registry) => spawn_schemas(sizes, registry, pulled, finished_in.clone(), metrics)?,
        None => pulled,
    };
    let pulled = match fetcher {
        Some(fetcher) => spawn_fetch(sizes, fetcher, decoder, pulled, finished_in.clone(), metrics)?,
        None => pulled,
    };
    let watch = Arc::new(decoder.watch(sizes.decode_threads));
    for _ in 0..sizes.decode_threads {
        let stage = DecodeStage {
            decoder: Arc::clone(decoder),
            record_bytes: sizes.record_bytes,
            records: pulled.clone(),
            prepared: prepared_in.clone(),
            finished: finished_in.clone(),
            metrics: Arc::clone(metrics),
        };
        stage.start(&watch)?;
    }
    tokio::spawn(give_up_overdue(Arc::downgrade(&watch)));
    // With fewer decode threads than cores a session that waits would leave a core idle.
    let enough =
        if sizes.decode_threads < cores() { 1 } else { models.iter().map(Model::enough_posts).max().unwrap_or(1) };
    let free = Arc::new(Semaphore::new(models.iter().map(Model::batches_ahead).sum()));
    let (batches_in, batches) = crossbeam_channel::unbounded();
    let failure_in = Arc::new(Mutex::new(Some(failure_in)));
    for model in models {
        let stage = ModelStage {
            model,
            batches: batches.clone(),
            free: Arc::clone(&free),
            finished: finished_in.clone(),
            failure: Arc::clone(&failure_in),
            metrics: Arc::clone(metrics),
        };
        thread::Builder::new().name("model".into()).spawn(move || stage.run())?;
    }
    let flow = batch::Flow { posts: prepared, undecoded: pulled, enough, free, batches: batches_in };
    tokio::spawn(batch::run(sizes.batch.clone(), flow, Arc::clone(metrics)));
    tokio::spawn(run_order(finished, outcomes_in, Arc::clone(metrics)));
    Ok(Pipeline { records, outcomes, failure })
}

/// Puts the stage in front that finds what values are written by; returns what is to be fetched for, or decoded.
fn spawn_schemas(
    sizes: &Sizes,
    registry: &Arc<Registry>,
    records: crossbeam_channel::Receiver<Record>,
    finished: mpsc::Sender<Outcome>,
    metrics: &Arc<Metrics>,
) -> std::io::Result<crossbeam_channel::Receiver<Record>> {
    let (decode, to_decode) = crossbeam_channel::bounded(sizes.in_flight_records);
    let stage = registry::Stage {
        registry: Arc::clone(registry),
        records,
        onward: registry::Onward { decode, finished },
        runtime: tokio::runtime::Handle::current(),
        metrics: Arc::clone(metrics),
    };
    thread::Builder::new().name("schemas".into()).spawn(move || stage.run())?;
    Ok(to_decode)
}

/// Puts the fetch stage in front of decoding; returns what is to be decoded.
fn spawn_fetch(
    sizes: &Sizes,
    fetcher: Arc<Fetcher>,
    decoder: &Arc<Decoder>,
    records: crossbeam_channel::Receiver<Record>,
    finished: mpsc::Sender<Outcome>,
    metrics: &Arc<Metrics>,
) -> std::io::Result<crossbeam_channel::Receiver<Record>> {
    let (decode, to_decode) = crossbeam_channel::bounded(sizes.in_flight_records);
    let (decoder, record_bytes) = (Arc::clone(decoder), sizes.record_bytes);
    let stage = fetch::Stage {
        fetcher,
        url_of: Box::new(move |record| {
            let is_wanted = record.position.permit.bytes() <= record_bytes && !record.position.assignment.is_revoked();
            if is_wanted { decoder.image_url(record) } else { None }
        }),
        records,
        onward: fetch::Onward { decode, finished },
        runtime: tokio::runtime::Handle::current(),
        metrics: Arc::clone(metrics),
    };
    thread::Builder::new().name("fetch".into()).spawn(move || stage.run())?;
    Ok(to_decode)
}

struct DecodeStage {
    decoder: Arc<Decoder>,
    record_bytes: usize,
    records: crossbeam_channel::Receiver<Record>,
    prepared: mpsc::Sender<Prepared>,
    finished: mpsc::Sender<Outcome>,
    metrics: Arc<Metrics>,
}

/// What a decode thread leaves under watch while its codec runs.
type LeftByCodec = (DecodeStage, Record);

impl DecodeStage {
    fn start(self, watch: &Arc<Watch<LeftByCodec>>) -> std::io::Result<()> {
        let watch = Arc::clone(watch);
        thread::Builder::new().name("decode".into()).spawn(move || self.run(&watch)).map(drop)
    }

    fn run(mut self, watch: &Watch<LeftByCodec>) {
        while let Ok(record) = self.records.recv() {
            let started = Instant::now();
            let decoded = match self.read(record) {
                Ok((record, post)) => {
                    let (decoder, metrics) = (Arc::clone(&self.decoder), Arc::clone(&self.metrics));
                    let ended = watch.during((self, record), || decoder.prepare(post, &metrics));
                    // Without the stage this thread is one too many.
                    let Some(((stage, record), ready)) = ended else { return };
                    self = stage;
                    ready.unwrap_or_else(|| decoder.too_late()).end(record)
                }
                Err(outcome) => Decoded::Settled(outcome),
            };
            decoded.record().span.iter().for_each(|span| span.stage("decode", started));
            let handed_on = match decoded {
                Decoded::Prepared(prepared) => self.prepared.blocking_send(*prepared).is_ok(),
                Decoded::Settled(outcome) => self.finished.blocking_send(outcome).is_ok(),
            };
            show_depth(&self.metrics, "decode", self.records.len());
            if !handed_on {
                return;
            }
        }
    }

    #[expect(clippy::result_large_err, reason = "taken apart at once, never queued as it is")]
    fn read(&self, record: Record) -> Result<(Record, Post), Outcome> {
        let bytes = record.position.permit.bytes();
        if bytes > self.record_bytes && record.value.is_some() {
            let detail = format!("the record has {bytes} bytes; limits.record_bytes is {}", self.record_bytes);
            return Err(Outcome::refused(record, Stage::Decode, Refusal::new(Reason::TooLarge, detail)));
        }
        self.decoder.read(record, &self.metrics)
    }
}

/// Ends the records whose codecs take too long, and starts a thread in the place of each.
async fn give_up_overdue(watch: Weak<Watch<LeftByCodec>>) {
    while let Some(watch) = watch.upgrade() {
        for (stage, record) in watch.overdue() {
            if let Decoded::Settled(outcome) = stage.decoder.too_late().end(record) {
                // Nobody listens only when the worker stops anyway.
                let _ = stage.finished.send(outcome).await;
            }
            if let Err(error) = stage.start(&watch) {
                tracing::error!(%error, "no thread in the place of one that decodes for too long: one fewer decodes");
            }
        }
        let interval = watch.interval();
        drop(watch);
        tokio::time::sleep(interval).await;
    }
}

/// Told once, by whichever model fails first.
type Failure = Arc<Mutex<Option<oneshot::Sender<ModelError>>>>;

fn tell_failure(failure: &Failure, error: ModelError) {
    let told = failure.lock().unwrap_or_else(PoisonError::into_inner).take();
    // Nobody listens only when the worker stops anyway.
    let _ = told.map(|failure| failure.send(error));
}

struct ModelStage {
    model: Model,
    batches: crossbeam_channel::Receiver<Batch>,
    free: Arc<Semaphore>,
    finished: mpsc::Sender<Outcome>,
    failure: Failure,
    metrics: Arc<Metrics>,
}

impl ModelStage {
    fn run(mut self) {
        // However one model ends, its panic included, no batch starts on any: what it held back would never come.
        let _last = Ending { free: Arc::clone(&self.free), failure: Arc::clone(&self.failure) };
        self.score_all();
        self.model.retire();
    }

    fn score_all(&mut self) {
        while let Ok(Batch { posts, ahead }) = self.batches.recv() {
            show_depth(&self.metrics, "model", self.batches.len());
            match model::score(&mut self.model, posts, &self.metrics) {
                Ok(outcomes) => {
                    drop(ahead);
                    for outcome in outcomes {
                        if self.finished.blocking_send(outcome).is_err() {
                            return;
                        }
                    }
                }
                Err(error) => {
                    tell_failure(&self.failure, error);
                    return;
                }
            }
        }
    }
}

struct Ending {
    free: Arc<Semaphore>,
    failure: Failure,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.free.close();
        if thread::panicking() {
            tell_failure(&self.failure, ModelError::Panicked);
        }
    }
}

async fn run_order(mut finished: mpsc::Receiver<Outcome>, outcomes: mpsc::Sender<Outcome>, metrics: Arc<Metrics>) {
    let mut order = Order::default();
    while let Some(outcome) = finished.recv().await {
        match order.arrive_outcome(outcome) {
            Turn::Due(due) => {
                for outcome in due {
                    if outcomes.send(outcome).await.is_err() {
                        return;
                    }
                }
            }
            Turn::Dropped(dropped) => {
                metrics.outcomes.with_label_values(&["dropped", ""]).inc_by(dropped.len() as u64);
                let spans = dropped.iter().filter_map(|outcome| outcome.record.span.as_ref());
                spans.for_each(|span| span.ended("dropped", ""));
            }
        }
    }
}

fn show_depth(metrics: &Metrics, queue: &str, depth: usize) {
    metrics.queue_depth.with_label_values(&[queue]).set(i64::try_from(depth).unwrap_or(i64::MAX));
}
