//! Pulls records on a thread of its own: rebalance callbacks block, so no async task could run this loop.
//!
//! Backpressure is not polling: a record is only pulled when the budget has room for it. When none comes for a thirtieth of
//! `max.poll.interval.ms` the partitions are paused and polling goes on, so that the group never evicts a busy worker;
//! pausing throws away what was prefetched, so it is the exception, and no batch may take long enough for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};
use jiff::Timestamp;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};

use super::Settings;
use super::backfill::{Progress, Window};
use super::client::{self, Error, Telling as _};
use super::group::{Group, Settling};
use super::membership::Membership;
use super::security::acls::{Operation, Resource};
use crate::budget::{Budget, Limits};
use crate::health::Health;
use crate::message::{Header, Headers, Origin, Position, Record, replayed_origin};
use crate::metrics::Metrics;
use crate::offsets::{Partition, Settled};
use crate::traces::Tracer;

/// How long one wait for room or one poll takes at most: how soon a stop or a commit is noticed.
const TICK: Duration = Duration::from_millis(100);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What a source is given by whoever builds the worker.
#[derive(Debug)]
pub struct Wiring {
    /// Where records go; its capacity is the record limit, so sending never blocks for long.
    pub records: Sender<Record>,
    /// Word of acknowledged outcomes.
    pub settled: Receiver<Settled>,
    /// What may be in flight.
    pub budget: Arc<Budget>,
    /// Set when the worker should drain.
    pub stop: Arc<AtomicBool>,
    /// How long draining may take.
    pub grace: Duration,
    /// Shows that the loop runs.
    pub health: Arc<Health>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Traces, where that is asked for.
    pub tracer: Option<Arc<Tracer>>,
    /// What of the topic is read, where that is not all: the source stops by itself once the group has done it.
    pub window: Option<Arc<Window>>,
}

/// The puller; see [`Source::run`].
pub struct Source {
    consumer: Arc<BaseConsumer<Group>>,
    topic: Arc<str>,
    group_name: String,
    instance: Option<String>,
    commit_interval: Duration,
    uncommitted_records: usize,
    committed_at: Instant,
    /// How long it waits for room before it pauses the partitions.
    patience: Duration,
    without_room_since: Option<Instant>,
    /// Set while the partitions are paused: up to when that is counted.
    paused_since: Option<Instant>,
    progress: Option<Progress>,
    wiring: Wiring,
}

/// How a source ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Records pulled whose outcome was not acknowledged within the grace period; they are read again by the group.
    pub unsettled: usize,
    /// A backfill was stopped before its group had done the window.
    pub cut_short: bool,
}

impl Source {
    /// Connects, checks that the three topics are there and joins the group.
    pub fn connect(settings: &Settings, limits: Limits, wiring: Wiring) -> Result<Self, Error> {
        let window = &wiring.window;
        let group = Group::new(settings, wiring.settled.clone(), Arc::clone(&wiring.metrics), window.clone());
        let mut settings = settings.clone();
        if window.is_some() {
            // A share may end with what is no record: transaction markers, or what compaction removed.
            settings.consumer.insert("enable.partition.eof".into(), "true".into());
        }
        let settings = &settings;
        let consumer = client::consumer(settings, limits, group)?;
        client::check_topics(&consumer, settings)?;
        consumer.subscribe(&[&settings.input_topic]).map_err(Error::client)?;
        Ok(Self {
            consumer: Arc::new(consumer),
            topic: settings.input_topic.as_str().into(),
            group_name: settings.group.clone(),
            instance: settings.instance.clone(),
            commit_interval: Duration::from_millis(settings.commit_interval_ms),
            uncommitted_records: settings.uncommitted_records,
            committed_at: Instant::now(),
            patience: settings.patience(),
            without_room_since: None,
            paused_since: None,
            progress: wiring.window.clone().map(Progress::new),
            wiring,
        })
    }

    /// The membership, for transactions.
    pub fn membership(&self) -> Membership {
        Membership::of(&self.consumer)
    }

    /// Pulls until told to stop, then drains: waits for what is in flight, commits and leaves the group.
    pub fn run(mut self) -> Result<Drained, Error> {
        if let Err(error) = self.pull_until_stopped() {
            // Leaving revokes everything, and nothing that is on its way can be settled any more.
            self.group().wait_no_more();
            return Err(error);
        }
        self.drain()
    }

    fn pull_until_stopped(&mut self) -> Result<(), Error> {
        while !self.wiring.stop.load(Ordering::Relaxed) {
            self.wiring.health.poll_loop_runs(self.wiring.budget.records());
            if self.group().settle() == Settling::Closed {
                break;
            }
            self.commit_now_and_then();
            if self.is_done() {
                tracing::info!("backfill: the group has done the window");
                self.wiring.stop.store(true, Ordering::Relaxed);
                self.progress = None;
                break;
            }
            if self.group().take_broken() {
                self.join_anew()?;
            }
            let asked = Instant::now();
            let has_room = self.wait_for_room();
            self.wiring.metrics.room_wait_seconds.inc_by(asked.elapsed().as_secs_f64());
            if has_room {
                self.resume();
                self.poll(TICK)?;
            } else {
                self.hold()?;
            }
        }
        Ok(())
    }

    fn group(&self) -> &Group {
        self.consumer.context()
    }

    /// Whether a record more may be pulled within a tick: the budget has room, and no partition is too far ahead of what it
    /// may commit.
    fn wait_for_room(&self) -> bool {
        if self.group().with_ledger(|ledger| ledger.widest_span()) >= self.uncommitted_records {
            self.group().settle_within(TICK);
            return false;
        }
        self.wiring.budget.wait_for_room(TICK)
    }

    fn commit_now_and_then(&mut self) {
        if self.committed_at.elapsed() >= self.commit_interval {
            self.group().is_unbroken(&self.consumer);
            self.group().commit(&self.consumer);
            self.committed_at = Instant::now();
        }
    }

    /// Whether the group has done the whole window of a backfill: asked for often once nothing is left to do here.
    fn is_done(&mut self) -> bool {
        let Some(progress) = &mut self.progress else { return false };
        let group = self.consumer.context();
        let waits = group.with_ledger(|ledger| ledger.is_finished());
        if !progress.is_due(waits) {
            return false;
        }
        group.commit(&self.consumer);
        progress.is_done(&self.consumer)
    }

    /// Gives everything up and joins as if for the first time.
    fn join_anew(&self) -> Result<(), Error> {
        tracing::warn!("the group had given this worker up meanwhile; joining anew, since others had its partitions");
        self.consumer.unsubscribe();
        self.consumer.subscribe(&[&self.topic]).map_err(Error::client)
    }

    fn poll(&mut self, timeout: Duration) -> Result<(), Error> {
        match self.consumer.poll(timeout) {
            None => {}
            Some(Ok(message)) => self.pull(&message),
            Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => {
                let (code, reason) = self
                    .consumer
                    .client()
                    .fatal_error()
                    .unwrap_or_else(|| (RDKafkaErrorCode::Fatal, error.to_string()));
                return Err(match &self.instance {
                    Some(instance) if code == RDKafkaErrorCode::FencedInstanceId => Error::Replaced(instance.clone()),
                    _ => Error::Fatal(reason),
                });
            }
            Some(Err(KafkaError::PartitionEOF(number))) => {
                let partition = Partition { topic: Arc::clone(&self.topic), number };
                // It may end before the window does: a broker that is behind the leader does not have all of it yet.
                let Some(end) = self.group().take_end() else {
                    tracing::warn!(topic = %self.topic, partition = number, "librdkafka does not tell where it ends");
                    return Ok(());
                };
                self.is_in_window(&partition, end);
            }
            Some(Err(error)) => return self.cannot_poll(&error),
        }
        Ok(())
    }

    /// librdkafka tries again by itself. What is not permitted ends a worker that never was: nobody relies on it yet, and whoever
    /// starts it should be told. One that has pulled something waits for the permission to come back.
    fn cannot_poll(&self, error: &KafkaError) -> Result<(), Error> {
        let logged = self.group().logged();
        let denied = match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::GroupAuthorizationFailed) => {
                logged.denied(Operation::Read, Resource::Group(&self.group_name))
            }
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                logged.denied(Operation::Read, Resource::Topic(&self.topic))
            }
            // Told by the context already, where it is about the connection.
            _ => {
                tracing::warn!(%error, "cannot poll for now");
                return Ok(());
            }
        };
        if self.wiring.metrics.records.get() == 0 {
            return Err(denied);
        }
        tracing::warn!("{denied}");
        Ok(())
    }

    /// Copies the message out of librdkafka's fetch buffer, which one held message would pin whole.
    fn pull(&self, message: &BorrowedMessage<'_>) {
        let offset = message.offset();
        let partition = Partition { topic: Arc::clone(&self.topic), number: message.partition() };
        if !self.is_in_window(&partition, offset) {
            return;
        }
        self.tell_lost(&partition, offset);
        let timestamp = message.timestamp().to_millis().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let at = timestamp.unwrap_or_else(Timestamp::now).as_millisecond();
        let delivered = self.group().with_ledger(|ledger| ledger.deliver(&partition, offset, at));
        let Some((assignment, sequence)) = delivered else { return };
        let headers = headers(message);
        let payload = [message.key(), message.payload()].into_iter().flatten().map(<[u8]>::len).sum::<usize>();
        let bytes =
            payload + headers.iter().map(|h| h.key.len() + h.value.as_ref().map_or(0, Bytes::len)).sum::<usize>();
        self.wiring.metrics.records.inc();
        self.wiring.metrics.record_bytes.inc_by(bytes as u64);
        let tracer = self.wiring.tracer.as_ref();
        let span = tracer.map(|tracer| tracer.record(&Headers(&headers), &self.topic, partition.number, offset));
        let place = Origin { topic: partition.topic, partition: partition.number, offset };
        let origin = replayed_origin(&headers).unwrap_or_else(|| place.clone());
        let permit = self.wiring.budget.admit(bytes);
        let record = Record {
            position: Position { place, origin, assignment, sequence, permit, pulled_at: Instant::now() },
            key: message.key().map(Bytes::copy_from_slice),
            value: message.payload().map(Bytes::copy_from_slice),
            headers,
            timestamp,
            fetched: None,
            schema: None,
            span,
        };
        // Only fails when the pipeline is gone, which the worker notices by itself.
        let _ = self.wiring.records.send(record);
    }

    /// Whether a record is to be scored. The first one behind a backfill's share of the partition ends that, as does the
    /// partition's own end, where it is not before that of the share.
    fn is_in_window(&self, partition: &Partition, offset: i64) -> bool {
        let Some(share) = self.group().share(partition) else { return true };
        if offset >= share.end {
            if self.group().read_until(partition, share.end) {
                self.tell_lost(partition, share.end);
            }
            let mut finished = TopicPartitionList::new();
            finished.add_partition(&partition.topic, partition.number);
            if let Err(error) = self.consumer.pause(&finished) {
                tracing::warn!(%error, "cannot pause what is done");
            }
        }
        share.contains(&offset)
    }

    /// Counts the records that retention removed between the group's position and the first record still there.
    fn tell_lost(&self, partition: &Partition, offset: i64) {
        let Some(expected) = self.group().note_gap(partition, offset) else { return };
        let Ok((low, _)) = self.consumer.fetch_watermarks(&partition.topic, partition.number, ANSWER_TIMEOUT) else {
            return;
        };
        // Gaps above the low watermark are compaction or transaction markers: no records.
        let lost = u64::try_from(low.min(offset) - expected).unwrap_or(0);
        if lost > 0 {
            self.wiring.metrics.records_lost_to_retention.inc_by(lost);
            tracing::error!(
                topic = %partition.topic, partition = partition.number, lost, expected, found = offset,
                "retention removed records before this group read them; keep them longer or add workers"
            );
        }
    }

    fn hold(&mut self) -> Result<(), Error> {
        let since = *self.without_room_since.get_or_insert_with(Instant::now);
        if since.elapsed() < self.patience {
            return Ok(());
        }
        self.count_pause();
        if self.group().take_assignment_changed() || self.paused_since.is_none() {
            self.wiring.metrics.pauses.inc();
            tracing::info!("pausing: nothing left the pipeline for {} s", self.patience.as_secs());
            self.pause();
        }
        self.poll(Duration::ZERO)
    }

    fn pause(&mut self) {
        let paused = self.consumer.assignment().and_then(|assignment| self.consumer.pause(&assignment));
        match paused {
            Ok(()) => self.paused_since = self.paused_since.or_else(|| Some(Instant::now())),
            Err(error) => tracing::warn!(%error, "cannot pause"),
        }
    }

    fn count_pause(&mut self) {
        if let Some(since) = &mut self.paused_since {
            let now = Instant::now();
            self.wiring.metrics.paused_seconds.inc_by(now.duration_since(*since).as_secs_f64());
            *since = now;
        }
    }

    fn resume(&mut self) {
        self.without_room_since = None;
        self.count_pause();
        if self.paused_since.is_none() {
            return;
        }
        match self.consumer.assignment().and_then(|assignment| self.consumer.resume(&assignment)) {
            Ok(()) => self.paused_since = None,
            Err(error) => tracing::warn!(%error, "cannot resume"),
        }
    }

    /// Pulls nothing more. Polling goes on (paused), since the membership must outlast what is in flight.
    fn drain(mut self) -> Result<Drained, Error> {
        self.pause();
        let deadline = Instant::now() + self.wiring.grace;
        drop(std::mem::replace(&mut self.wiring.records, crossbeam_channel::bounded(0).0));
        loop {
            self.wiring.health.poll_loop_runs(self.wiring.budget.records());
            let closed = self.group().settle() == Settling::Closed;
            let unsettled = self.group().with_ledger(|ledger| ledger.unsettled());
            if unsettled == 0 || closed || Instant::now() >= deadline {
                self.group().commit(&self.consumer);
                self.group().wait_no_more();
                return Ok(Drained { unsettled, cut_short: self.progress.is_some() });
            }
            if self.group().take_assignment_changed() {
                self.pause();
            }
            if let Some(Err(error)) = self.consumer.poll(TICK) {
                tracing::warn!(%error, "cannot poll while draining");
            }
        }
    }
}

pub(super) fn headers(message: &BorrowedMessage<'_>) -> Vec<Header> {
    let headers = message.headers().into_iter().flat_map(rdkafka::message::Headers::iter);
    headers
        .map(|header| Header { key: header.key.to_owned(), value: header.value.map(Bytes::copy_from_slice) })
        .collect()
}
