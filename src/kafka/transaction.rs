//! Exactly once: outcomes and the offsets behind them in one Kafka transaction (KIP-98, KIP-447). Whoever reads with
//! `isolation.level=read_committed` sees every outcome once, whatever crashes.
//!
//! One producer on one thread. It gathers outcomes - for `commit_interval_ms`, or until nothing else is in flight - and then
//! publishes them in one go, so that a transaction is open only for as long as the broker takes. What is gathered is held
//! until the transaction is committed: after an abort the same outcomes are published again, nothing is computed again.
//!
//! Nothing comes twice, since
//! - the group's metadata is asked for first and the assignments are looked at after it: where a partition is taken away
//!   later, the group has moved on by the time somebody else reads it, and the broker refuses our offsets;
//! - a new owner waits for the offsets of open transactions (`read_committed`);
//! - a producer that is fenced is made anew, which ends its last transaction one way or the other; then what the group has
//!   committed meanwhile is settled, and only the rest is published again.

mod failure;

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout_at;

pub(super) use self::failure::is_denied;
use self::failure::{Deliveries, Failure, STUCK, is_retriable, sorted};
use super::Settings;
use super::client::{self, Error, Logged};
use super::letter::{Letter, Letters};
use super::membership::Membership;
use super::requests::STATISTICS_MS;
use super::security::acls::{Operation, Resource};
use super::settle::Settler;
use crate::message::Outcome;
use crate::metrics::Metrics;
use crate::offsets::{NextOffset, Partition};
use crate::retry;

/// How long one call of a transaction may take before it is made again.
const CALL: Duration = Duration::from_secs(10);
/// How long the transactional id may take to be ours at the start.
const FIRST_CALL: Duration = Duration::from_secs(30);
/// How soon a failed delivery is noticed.
const TICK: Duration = Duration::from_millis(100);
/// Producers whose calls may never come back.
const MOST_LEFT_BEHIND: usize = 8;
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(10);

type Transactional = ThreadedProducer<Deliveries>;

/// The publishing stage.
pub struct Transactions {
    settings: Settings,
    transactional_id: String,
    producer: Arc<Transactional>,
    letters: Letters,
    settler: Settler,
    membership: Membership,
    left_behind: usize,
}

/// An outcome that is not committed yet.
struct Held {
    outcome: Outcome,
    letter: Letter,
    since: Instant,
    /// It was in a batch that the broker refused: sent alone, to see whether it is to blame.
    suspect: bool,
}

impl Transactions {
    /// Makes the producer and takes hold of its transactional id, which ends whatever an earlier owner left open.
    ///
    /// # Errors
    /// A broker that does not answer, knows no transactions, or does not permit them.
    pub fn new(settings: &Settings, letters: Letters, settler: Settler, membership: Membership) -> Result<Self, Error> {
        let transactional_id = client::transactional_id(settings);
        let producer = Arc::new(connect(settings, &transactional_id, &settler.metrics, FIRST_CALL)?);
        Ok(Self {
            settings: settings.clone(),
            transactional_id,
            producer,
            letters,
            settler,
            membership,
            left_behind: 0,
        })
    }

    /// Publishes until `outcomes` closes, on a thread of a tokio runtime that may block.
    ///
    /// # Errors
    /// What makes it impossible to publish: the worker must stop, with what was held uncommitted.
    pub fn run(mut self, mut outcomes: Receiver<Outcome>) -> Result<(), Error> {
        while let Some(first) = outcomes.blocking_recv() {
            let mut held = self.gather(first, &mut outcomes);
            self.settler.show_depth(held.len());
            self.publish(&mut held)?;
            self.settler.show_depth(0);
        }
        Ok(())
    }

    /// More outcomes, until the interval is over or nothing else is in flight that could become one.
    fn gather(&self, first: Outcome, outcomes: &mut Receiver<Outcome>) -> Vec<Held> {
        let deadline = tokio::time::Instant::now() + Duration::from_millis(self.settings.commit_interval_ms);
        let runtime = tokio::runtime::Handle::current();
        let mut in_flight = first.record.position.permit.records_in_flight();
        let mut held = vec![self.hold(first)];
        while held.len() < in_flight {
            let Ok(Some(outcome)) = runtime.block_on(async { timeout_at(deadline, outcomes.recv()).await }) else {
                break;
            };
            in_flight = outcome.record.position.permit.records_in_flight();
            held.push(self.hold(outcome));
        }
        held
    }

    fn hold(&self, outcome: Outcome) -> Held {
        let letter = self.letters.of(&outcome);
        Held { outcome, letter, since: Instant::now(), suspect: false }
    }

    /// Tries until everything held is committed, or dropped because its partition is somebody else's. What did not get through
    /// is tried in smaller shares, since it may be more than a transaction has time for.
    fn publish(&mut self, held: &mut Vec<Held>) -> Result<(), Error> {
        let (mut pauses, mut share) = (retry::pauses(), usize::MAX);
        loop {
            held.retain(|held| !self.settler.is_dropped(&held.outcome));
            if held.is_empty() || self.membership.has_left() {
                return Ok(());
            }
            share = share.clamp(1, held.len());
            let Err(failure) = self.attempt(held.get(..share).unwrap_or_default()) else {
                self.count("committed");
                held.drain(..share).for_each(|held| self.settler.settle(&held.outcome, &held.letter, held.since));
                (pauses, share) = (retry::pauses(), share.saturating_mul(2));
                continue;
            };
            tracing::warn!(outcomes = share, %failure, "a transaction is given up; its outcomes are kept");
            match self.give_up(failure) {
                Failure::Refused(refused) => self.reduce(held, &refused)?,
                Failure::Revoked => {}
                Failure::Passing(_) => {
                    share /= 2;
                    retry::rest(&mut pauses);
                }
                failure @ (Failure::Fenced(_) | Failure::Stuck) => {
                    share /= 2;
                    self.leave_behind(&failure)?;
                    self.start_over(held)?;
                }
                Failure::Permanent(error) => return Err(error),
                Failure::Left => return Ok(()),
            }
        }
    }

    /// Counts the producers that are never heard of again: each has threads and messages of its own.
    fn leave_behind(&mut self, failure: &Failure) -> Result<(), Error> {
        self.left_behind += usize::from(matches!(failure, Failure::Stuck));
        if self.left_behind > MOST_LEFT_BEHIND {
            return Err(Error::Fatal(format!(
                "{MOST_LEFT_BEHIND} transactions in this process got no answer; start it again"
            )));
        }
        Ok(())
    }

    /// One transaction: all of it, or an error and nothing of it.
    fn attempt(&self, held: &[Held]) -> Result<(), Failure> {
        self.producer.context().start_anew();
        self.producer.begin_transaction().map_err(sorted)?;
        for (place, held) in held.iter().enumerate() {
            if held.suspect {
                self.flush()?;
            }
            self.send(place, held)?;
            if held.suspect {
                self.flush()?;
            }
        }
        self.flush()?;
        let metadata = self.membership.metadata().ok_or(Failure::Left)?;
        if !self.membership.is_unbroken()
            || held.iter().any(|held| held.outcome.record.position.assignment.is_revoked())
        {
            return Err(Failure::Revoked);
        }
        let offsets = super::group::list(&offsets(held)).map_err(Failure::Passing)?;
        self.insist(move |producer| producer.send_offsets_to_transaction(&offsets, &metadata, CALL))?;
        self.insist(|producer| producer.commit_transaction(CALL))
    }

    fn send(&self, place: usize, held: &Held) -> Result<(), Failure> {
        let letter = &held.letter;
        loop {
            let mut message = BaseRecord::<[u8], [u8], usize>::with_opaque_to(&letter.topic, place);
            message = message.headers(letter.headers.clone());
            message.key = letter.key.as_deref();
            message.payload = letter.value.as_deref();
            match self.producer.send(message) {
                Ok(()) => return Ok(()),
                Err((error, _)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) => {
                    thread::sleep(QUEUE_FULL_PAUSE);
                }
                Err((error, _)) => return Err(self.producer.context().failure().unwrap_or_else(|| sorted(error))),
            }
        }
    }

    /// Waits until the broker has everything sent so far, or something failed: the rest is then not sent any more.
    fn flush(&self) -> Result<(), Failure> {
        loop {
            let flushed = self.producer.flush(TICK);
            if let Some(failure) = self.producer.context().failure() {
                return Err(failure);
            }
            match flushed {
                Ok(()) => return Ok(()),
                Err(_) if self.membership.has_left() => return Err(Failure::Left),
                Err(KafkaError::Flush(RDKafkaErrorCode::OperationTimedOut)) => {}
                Err(error) => return Err(sorted(error)),
            }
        }
    }

    /// Makes a call again for as long as librdkafka says that it may be made again and the source is in its group.
    fn insist(
        &self,
        call: impl Fn(&Transactional) -> Result<(), KafkaError> + Send + Sync + 'static,
    ) -> Result<(), Failure> {
        let call = Arc::new(call);
        let mut pauses = retry::pauses();
        loop {
            match within(STUCK, &self.producer, &call)? {
                Ok(()) => return Ok(()),
                Err(_) if self.membership.has_left() => return Err(Failure::Left),
                Err(error) if is_retriable(&error) => {
                    tracing::warn!(%error, "a call of a transaction is made again");
                    retry::rest(&mut pauses);
                }
                Err(error) => return Err(sorted(error)),
            }
        }
    }

    /// Aborts what was begun. Returns the failure to mend, which may be the abort's own.
    fn give_up(&self, failure: Failure) -> Failure {
        self.count("aborted");
        if let Failure::Fenced(_) | Failure::Stuck = failure {
            return failure;
        }
        match self.insist(|producer| producer.abort_transaction(CALL)) {
            Err(worse @ (Failure::Fenced(_) | Failure::Stuck | Failure::Left)) => worse,
            // Of a transaction that had not begun there is nothing to abort.
            _ => failure,
        }
    }

    /// What was refused is sent alone next time; what was refused alone leaves in a smaller form.
    fn reduce(&self, held: &mut [Held], refused: &[(usize, RDKafkaErrorCode)]) -> Result<(), Error> {
        for (place, code) in refused {
            let Some(held) = held.get_mut(*place) else { continue };
            self.settler.metrics.publish_retries.inc();
            if !held.suspect {
                held.suspect = true;
            } else if held.letter.is_last_resort() {
                let source = KafkaError::MessageProduction(*code);
                return Err(Error::Publish { topic: held.letter.topic.to_string(), source });
            } else {
                held.letter = self.letters.reduced(&held.letter, &held.outcome, *code);
            }
        }
        Ok(())
    }

    /// Another producer under the same transactional id: its start ends the last transaction, committed or not, so that
    /// the group's committed offsets tell which it was.
    fn start_over(&mut self, held: &mut Vec<Held>) -> Result<(), Error> {
        self.count("fenced");
        let mut pauses = retry::pauses();
        while !self.membership.has_left() {
            match connect(&self.settings, &self.transactional_id, &self.settler.metrics, CALL) {
                Ok(producer) => {
                    self.producer = Arc::new(producer);
                    break;
                }
                Err(error) if error.is_denied() => return Err(error),
                Err(error) => tracing::warn!(%error, "cannot start over yet"),
            }
            retry::rest(&mut pauses);
        }
        let partitions: Vec<Partition> = offsets(held).into_iter().map(|(partition, _)| partition).collect();
        while !self.membership.has_left() {
            if let Some(committed) = self.membership.committed(&partitions) {
                self.settle_committed(held, &committed);
                break;
            }
            retry::rest(&mut pauses);
        }
        Ok(())
    }

    fn settle_committed(&self, held: &mut Vec<Held>, committed: &HashMap<Partition, NextOffset>) {
        let is_committed = |held: &Held| {
            let place = &held.outcome.record.position.place;
            committed.get(&Partition::of(place)).is_some_and(|next| NextOffset(place.offset) < *next)
        };
        held.extract_if(.., |held| is_committed(held))
            .for_each(|held| self.settler.settle(&held.outcome, &held.letter, held.since));
    }

    fn count(&self, outcome: &str) {
        self.settler.metrics.transactions.with_label_values(&[outcome]).inc();
    }
}

/// Makes a call on a thread of its own, which is left behind with its producer where the call does not come back.
fn within(
    limit: Duration,
    producer: &Arc<Transactional>,
    call: &Arc<impl Fn(&Transactional) -> Result<(), KafkaError> + Send + Sync + 'static>,
) -> Result<Result<(), KafkaError>, Failure> {
    let (answer, answered) = crossbeam_channel::bounded(1);
    let (producer, call) = (Arc::clone(producer), Arc::clone(call));
    let caller = thread::Builder::new().name("transaction".into()).spawn(move || {
        // Nobody waits any more only where the call took too long.
        let _ = answer.send(call(&producer));
    });
    caller.map_err(|error| Failure::Permanent(Error::Fatal(format!("no thread for a transaction: {error}"))))?;
    answered.recv_timeout(limit).map_err(|_| Failure::Stuck)
}

/// The offset behind the last outcome of each partition: they are held in its order, and none is missing between.
fn offsets(held: &[Held]) -> Vec<(Partition, NextOffset)> {
    let places = held.iter().map(|held| &held.outcome.record.position.place);
    let last: HashMap<Partition, NextOffset> =
        places.map(|place| (Partition::of(place), NextOffset(place.offset + 1))).collect();
    last.into_iter().collect()
}

fn connect(settings: &Settings, id: &str, metrics: &Metrics, timeout: Duration) -> Result<Transactional, Error> {
    let mut config = client::transactional_producer(settings, id)?;
    config.set("statistics.interval.ms", STATISTICS_MS);
    let logged = Logged::new(settings);
    let producer = config.create_with_context(Deliveries::new(logged.clone(), metrics));
    let producer: Transactional = producer.map_err(Error::client)?;
    match producer.init_transactions(timeout) {
        Ok(()) => Ok(producer),
        Err(source) if is_retriable(&source) => {
            Err(Error::NoTransactions { brokers: settings.brokers.clone(), source })
        }
        Err(source) if source.rdkafka_error_code() == Some(RDKafkaErrorCode::TransactionalIdAuthorizationFailed) => {
            Err(logged.denied(Operation::Write, Resource::TransactionalId(id)))
        }
        Err(source) => Err(Error::Transactions {
            brokers: settings.brokers.clone(),
            transactional_id: id.to_owned(),
            source: Box::new(source),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn producer() -> Arc<Transactional> {
        let producer =
            rdkafka::ClientConfig::new().create_with_context(Deliveries::new(Logged::default(), &Metrics::new()));
        Arc::new(producer.expect("a producer without a broker"))
    }

    #[test]
    fn a_call_that_does_not_come_back_is_left_behind() {
        let (release, released) = crossbeam_channel::bounded::<()>(0);
        let call = Arc::new(move |_: &Transactional| {
            let _ = released.recv();
            Ok(())
        });
        let stuck = within(Duration::from_millis(20), &producer(), &call);
        assert!(matches!(stuck, Err(Failure::Stuck)));
        release.send(()).expect("it still waits");
    }

    #[test]
    fn what_a_call_answers_is_passed_on() {
        let call = Arc::new(|_: &Transactional| Err(KafkaError::Canceled));
        let answer = within(Duration::from_mins(1), &producer(), &call).expect("in time");
        assert_eq!(answer, Err(KafkaError::Canceled));
    }
}
