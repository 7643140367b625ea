//! Publishes outcomes - results, dead letters, tombstones - and tells the source once the broker has them.
//!
//! Outcomes arrive in the order of their partition and are handed to the producer in it; the idempotent producer keeps it.
//! A record's permit is given back only after delivery, so what is being published counts as in flight.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use jiff::Timestamp;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header as KafkaHeader, OwnedHeaders};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinSet;

use super::Settings;
use super::client::{self, Error, Logged};
use crate::error::{Reason, Refusal, Stage};
use crate::health::Health;
use crate::message::{Outcome, Record, Verdict};
use crate::metrics::Metrics;
use crate::offsets::Settled;
use crate::result::{Labelling, dead_letter_headers};

/// How long to wait when librdkafka's queue is full.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(10);

/// What is published of an outcome.
struct Letter {
    kind: &'static str,
    reason: &'static str,
    topic: Arc<str>,
    value: Option<Vec<u8>>,
    headers: OwnedHeaders,
}

/// Shared by the deliveries under way.
struct Publishing {
    producer: FutureProducer<Logged>,
    /// Sends every message by itself. A broker refuses a batch as a whole, so a message that was refused is sent again
    /// alone before the fault is called its own.
    alone: FutureProducer<Logged>,
    output_topic: Arc<str>,
    dead_letter_topic: Arc<str>,
    labelling: Labelling,
    settled: Sender<Settled>,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
}

/// The publishing stage.
pub struct Publisher {
    shared: Arc<Publishing>,
}

impl Publisher {
    /// Makes the producer. Word of delivered outcomes goes to `settled`, an unbounded channel that holds at most one entry
    /// for every record in flight: the source empties it before it pulls.
    pub fn new(
        settings: &Settings,
        labelling: Labelling,
        settled: Sender<Settled>,
        health: Arc<Health>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Error> {
        let producer = client::producer(settings).create_with_context(Logged).map_err(Error::client)?;
        let alone = client::producer(settings).set("batch.num.messages", "1").create_with_context(Logged);
        let alone = alone.map_err(Error::client)?;
        let output_topic = settings.output_topic.as_str().into();
        let dead_letter_topic = settings.dead_letter_topic.as_str().into();
        let shared =
            Publishing { producer, alone, output_topic, dead_letter_topic, labelling, settled, health, metrics };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Publishes until `outcomes` closes and everything is delivered.
    ///
    /// # Errors
    /// The first outcome that cannot be published at all: the worker must stop, with that record uncommitted.
    pub async fn run(self, mut outcomes: Receiver<Outcome>) -> Result<(), Error> {
        let mut deliveries = JoinSet::new();
        loop {
            tokio::select! {
                outcome = outcomes.recv() => match outcome {
                    Some(outcome) => self.start(outcome, &mut deliveries).await?,
                    None => break,
                },
                Some(delivered) = deliveries.join_next() => joined(delivered)?,
            }
            self.shared.show_depth(deliveries.len());
        }
        while let Some(delivered) = deliveries.join_next().await {
            joined(delivered)?;
        }
        Ok(())
    }

    /// Enqueues in order; only the wait for delivery is concurrent.
    async fn start(&self, outcome: Outcome, deliveries: &mut JoinSet<Result<(), Error>>) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        if outcome.record.position.assignment.is_revoked() {
            // Its next owner publishes it.
            shared.metrics.outcomes.with_label_values(&["dropped", ""]).inc();
            return Ok(());
        }
        let started = Instant::now();
        let letter = shared.letter(&outcome);
        let delivery = shared.enqueue(&shared.producer, &letter, &outcome.record).await;
        deliveries.spawn(async move { shared.deliver(outcome, letter, delivery, started).await });
        Ok(())
    }
}

fn joined(delivered: Result<Result<(), Error>, tokio::task::JoinError>) -> Result<(), Error> {
    delivered.unwrap_or_else(|error| Err(Error::Fatal(format!("a delivery panicked: {error}"))))
}

impl Publishing {
    async fn deliver(
        &self,
        outcome: Outcome,
        mut letter: Letter,
        mut delivery: Result<DeliveryFuture, KafkaError>,
        started: Instant,
    ) -> Result<(), Error> {
        let mut alone = false;
        loop {
            match delivered(delivery).await {
                Ok(()) => break,
                Err(error)
                    if error.rdkafka_error_code().is_some_and(is_refusal) && !(alone && letter.is_last_resort()) =>
                {
                    if alone {
                        letter = self.reduced(&letter, &outcome, &error);
                    }
                    alone = true;
                    delivery = self.enqueue(&self.alone, &letter, &outcome.record).await;
                }
                Err(source) => return Err(Error::Publish { topic: letter.topic.to_string(), source }),
            }
        }
        self.settle(&outcome, &letter, started);
        Ok(())
    }

    fn settle(&self, outcome: &Outcome, letter: &Letter, started: Instant) {
        let position = &outcome.record.position;
        self.metrics.outcomes.with_label_values(&[letter.kind, letter.reason]).inc();
        self.metrics.stage_seconds.with_label_values(&["publish"]).observe(started.elapsed().as_secs_f64());
        self.metrics.post_seconds.observe(position.pulled_at.elapsed().as_secs_f64());
        self.health.progress();
        // Fails only once the source has given up waiting.
        let _ = self.settled.send(Settled::of(&position.origin, &position.assignment, position.sequence));
    }

    async fn enqueue(
        &self,
        producer: &FutureProducer<Logged>,
        letter: &Letter,
        record: &Record,
    ) -> Result<DeliveryFuture, KafkaError> {
        loop {
            let mut message = FutureRecord::<[u8], [u8]>::to(&letter.topic).headers(letter.headers.clone());
            message.key = record.key.as_deref();
            message.payload = letter.value.as_deref();
            match producer.send_result(message) {
                Ok(delivery) => return Ok(delivery),
                Err((error, _)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) => {
                    tokio::time::sleep(QUEUE_FULL_PAUSE).await;
                }
                Err((error, _)) => return Err(error),
            }
        }
    }

    fn letter(&self, outcome: &Outcome) -> Letter {
        let to_output = |kind, value| Letter {
            kind,
            reason: "",
            topic: Arc::clone(&self.output_topic),
            value,
            headers: OwnedHeaders::new(),
        };
        match &outcome.verdict {
            Verdict::Tombstone => to_output("tombstone", None),
            Verdict::Refused { refusal, stage } => self.dead_letter(&outcome.record, refusal, *stage),
            Verdict::Scored(scored) => {
                let result = self.labelling.result(scored, &outcome.record.position.origin, Timestamp::now());
                match serde_json::to_vec(&result) {
                    Ok(json) => to_output("result", Some(json)),
                    Err(error) => {
                        let refusal = Refusal::new(Reason::InferenceFailed, format!("result is no JSON: {error}"));
                        self.dead_letter(&outcome.record, &refusal, Stage::Publish)
                    }
                }
            }
        }
    }

    /// The original record, byte for byte, with the reason in headers of our own.
    fn dead_letter(&self, record: &Record, refusal: &Refusal, stage: Stage) -> Letter {
        let origin = &record.position.origin;
        tracing::debug!(%origin, reason = %refusal.reason, detail = refusal.detail, "dead letter");
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len() + 8);
        for header in record.headers.iter().filter(|header| !header.key.starts_with("dlq.")) {
            headers = headers.insert(KafkaHeader { key: &header.key, value: header.value.as_deref() });
        }
        for (key, value) in &dead_letter_headers(refusal, stage, origin, Timestamp::now()) {
            headers = headers.insert(KafkaHeader { key, value: Some(value) });
        }
        Letter {
            kind: "dead_letter",
            reason: refusal.reason.as_str(),
            topic: Arc::clone(&self.dead_letter_topic),
            value: record.value.as_ref().map(|value| value.to_vec()),
            headers,
        }
    }

    /// What the broker refused, in another form: a result becomes a dead letter, a dead letter loses its value.
    fn reduced(&self, letter: &Letter, outcome: &Outcome, error: &KafkaError) -> Letter {
        if letter.kind != "dead_letter" {
            let refusal = if error.rdkafka_error_code() == Some(RDKafkaErrorCode::InvalidRecord) {
                let why = "the output topic refused the result; a compacted topic takes no record without a key";
                Refusal::new(Reason::BadField, format!("{why}: {error}"))
            } else {
                Refusal::new(Reason::ResultTooLarge, format!("the broker refused the result: {error}"))
            };
            return self.dead_letter(&outcome.record, &refusal, Stage::Publish);
        }
        let digest = Sha256::digest(letter.value.as_deref().unwrap_or_default());
        let digest = hex::encode(digest);
        let headers = letter
            .headers
            .clone()
            .insert(KafkaHeader { key: "dlq.truncated", value: Some("true") })
            .insert(KafkaHeader { key: "dlq.sha256", value: Some(&digest) });
        Letter { kind: letter.kind, reason: letter.reason, topic: Arc::clone(&letter.topic), value: None, headers }
    }

    fn show_depth(&self, deliveries: usize) {
        self.metrics.queue_depth.with_label_values(&["publish"]).set(i64::try_from(deliveries).unwrap_or(i64::MAX));
    }
}

impl Letter {
    fn is_last_resort(&self) -> bool {
        self.kind == "dead_letter" && self.value.is_none()
    }
}

/// The broker will never take this message as it is.
const fn is_refusal(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{InvalidMessageSize, InvalidRecord, MessageSizeTooLarge};
    matches!(code, MessageSizeTooLarge | InvalidMessageSize | InvalidRecord)
}

async fn delivered(delivery: Result<DeliveryFuture, KafkaError>) -> Result<(), KafkaError> {
    match delivery?.await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err((error, _))) => Err(error),
        Err(_) => Err(KafkaError::Canceled),
    }
}
