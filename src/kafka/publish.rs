//! At least once: publishes outcomes - results, dead letters, tombstones - and tells the source once the broker has them.
//!
//! Outcomes arrive in the order of their partition and are handed to the producer in it; the idempotent producer keeps it.
//! A record's permit is given back only after delivery, so what is being published counts as in flight.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinSet;

use super::Settings;
use super::client::{self, Error, Logged};
use super::letter::{Letter, Letters, refusal};
use super::requests::{Counted, STATISTICS_MS};
use super::settle::Settler;
use crate::message::Outcome;

/// How long to wait when librdkafka's queue is full.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(10);

/// Shared by the deliveries under way.
struct Publishing {
    producer: FutureProducer<Counted>,
    /// Sends every message by itself. A broker refuses a batch as a whole, so a message that was refused is sent again
    /// alone before the fault is called its own.
    alone: FutureProducer<Counted>,
    letters: Letters,
    settler: Settler,
    logged: Logged,
}

/// The publishing stage.
pub struct Publisher {
    shared: Arc<Publishing>,
}

impl Publisher {
    /// Makes the producer.
    pub fn new(settings: &Settings, letters: Letters, settler: Settler) -> Result<Self, Error> {
        let mut config = client::producer(settings)?;
        config.set("statistics.interval.ms", STATISTICS_MS);
        let logged = Logged::new(settings);
        let counted = || Counted::new("producer", logged.clone(), &settler.metrics);
        let producer = config.create_with_context(counted()).map_err(Error::client)?;
        let alone = config.set("batch.num.messages", "1").create_with_context(counted()).map_err(Error::client)?;
        Ok(Self { shared: Arc::new(Publishing { producer, alone, letters, settler, logged }) })
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
                    Some(outcome) => self.start(outcome, &mut deliveries).await,
                    None => break,
                },
                Some(delivered) = deliveries.join_next() => joined(delivered)?,
            }
            self.shared.settler.show_depth(deliveries.len());
        }
        while let Some(delivered) = deliveries.join_next().await {
            joined(delivered)?;
        }
        Ok(())
    }

    /// Enqueues in order; only the wait for delivery is concurrent.
    async fn start(&self, outcome: Outcome, deliveries: &mut JoinSet<Result<(), Error>>) {
        let shared = Arc::clone(&self.shared);
        if shared.settler.is_dropped(&outcome) {
            return;
        }
        let started = Instant::now();
        let letter = shared.letters.of(&outcome);
        let delivery = enqueue(&shared.producer, &letter).await;
        deliveries.spawn(async move { shared.deliver(outcome, letter, delivery, started).await });
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
        while let Err(source) = delivered(delivery).await {
            let Some(code) = refusal(&source).filter(|_| !(alone && letter.is_last_resort())) else {
                return Err(self.logged.unpublished(&letter.topic, source));
            };
            if alone {
                letter = self.letters.reduced(&letter, &outcome, code);
            }
            alone = true;
            self.settler.metrics.publish_retries.inc();
            delivery = enqueue(&self.alone, &letter).await;
        }
        self.settler.settle(&outcome, &letter, started);
        Ok(())
    }
}

async fn enqueue(producer: &FutureProducer<Counted>, letter: &Letter) -> Result<DeliveryFuture, KafkaError> {
    loop {
        let mut message = FutureRecord::<[u8], [u8]>::to(&letter.topic).headers(letter.headers.clone());
        message.key = letter.key.as_deref();
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

async fn delivered(delivery: Result<DeliveryFuture, KafkaError>) -> Result<(), KafkaError> {
    match delivery?.await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err((error, _))) => Err(error),
        Err(_) => Err(KafkaError::Canceled),
    }
}
