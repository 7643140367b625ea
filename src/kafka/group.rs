//! Membership of the consumer group: what happens when partitions come and go, and the consumer lag.
//!
//! librdkafka calls back on the thread that polls, so the ledger needs no other lock than one that is never contended.

use std::collections::HashMap;
use std::ffi::CStr;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use jiff::Timestamp;
use rdkafka::bindings::{rd_kafka_mem_free, rd_kafka_memberid};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use rdkafka::{Offset, TopicPartitionList};

use super::backfill::Window;
use super::client::{Logged, Telling};
use super::lag::{Lag, Seen};
use super::requests::Requests;
use super::{Delivery, Settings};
use crate::metrics::Metrics;
use crate::offsets::{Ledger, NextOffset, Partition, Settled};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The member's state, which the poll loop and the callbacks share.
#[derive(Debug)]
pub struct Group {
    topic: String,
    state: Mutex<State>,
    settled: Receiver<Settled>,
    revoke_deadline: Duration,
    /// Whether offsets are committed here, and not within transactions.
    commits: bool,
    leaving: AtomicBool,
    /// What is read; `None` is all.
    window: Option<Arc<Window>>,
    requests: Requests,
    logged: Logged,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct State {
    ledger: Ledger,
    /// The offset each partition should deliver next; absent where the group has no position yet.
    expected: HashMap<Partition, i64>,
    lags: HashMap<Partition, Lag>,
    /// Set by a rebalance: a partition that came is not paused yet.
    assignment_changed: bool,
    /// The id under which the present assignments were made.
    member: String,
    /// Set where the group had given the member up while librdkafka kept its partitions.
    is_broken: bool,
    /// Where the partition ended that is told next to be at its end.
    ended_at: Option<i64>,
}

/// Why nothing more is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settling {
    /// Everything there was has been entered.
    UpToDate,
    /// The publisher is gone.
    Closed,
}

impl Group {
    /// A member of no partition yet; word of settled records comes by `settled`. Of a `window` nothing else is read.
    pub fn new(
        settings: &Settings,
        settled: Receiver<Settled>,
        metrics: Arc<Metrics>,
        window: Option<Arc<Window>>,
    ) -> Self {
        Self {
            topic: settings.input_topic.clone(),
            state: Mutex::default(),
            settled,
            revoke_deadline: settings.revoke_deadline(),
            commits: settings.delivery == Delivery::AtLeastOnce,
            leaving: AtomicBool::new(false),
            window,
            requests: Requests::new("consumer", &metrics),
            logged: Logged::new(settings),
            metrics,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `f` on the ledger.
    pub fn with_ledger<T>(&self, f: impl FnOnce(&mut Ledger) -> T) -> T {
        f(&mut self.state().ledger)
    }

    /// Enters what was settled since the last call.
    pub fn settle(&self) -> Settling {
        loop {
            match self.settled.try_recv() {
                Ok(settled) => self.state().ledger.settle(&settled),
                Err(crossbeam_channel::TryRecvError::Empty) => return Settling::UpToDate,
                Err(crossbeam_channel::TryRecvError::Disconnected) => return Settling::Closed,
            }
        }
    }

    /// Enters what is settled within `timeout`, from the first on.
    pub fn settle_within(&self, timeout: Duration) {
        if let Ok(settled) = self.settled.recv_timeout(timeout) {
            self.state().ledger.settle(&settled);
            self.settle();
        }
    }

    /// The grace period is over: leaving the group, which revokes everything, waits for nothing more.
    pub fn wait_no_more(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Whether a rebalance happened since the last call.
    pub fn take_assignment_changed(&self) -> bool {
        std::mem::take(&mut self.state().assignment_changed)
    }

    /// Notes that `offset` was delivered; returns the offset that was expected where records are missing before it.
    pub fn note_gap(&self, partition: &Partition, offset: i64) -> Option<i64> {
        let expected = self.state().expected.insert(partition.clone(), offset + 1)?;
        (offset > expected).then_some(expected)
    }

    /// What of a partition is to be read; `None` is all.
    pub fn share(&self, partition: &Partition) -> Option<Range<i64>> {
        self.window.as_ref().map(|window| window.share(partition.number))
    }

    /// Nothing of the partition is read from `end` on, which is committed once all before it is settled. False where that
    /// was said before.
    pub fn read_until(&self, partition: &Partition, end: i64) -> bool {
        let state = &mut *self.state();
        // What a worker of a longer window has committed is not taken back.
        let end = state.expected.get(partition).map_or(end, |expected| end.max(*expected));
        state.ledger.finish(partition, NextOffset(end))
    }

    /// Where the partition ended whose end the consumer was just told of.
    pub fn take_end(&self) -> Option<i64> {
        self.state().ended_at.take()
    }

    /// Whether the member is still the one that its partitions were assigned to. A group that misses a member forgets its id;
    /// the member comes back under another, and others may have had its partitions meanwhile. librdkafka then revokes them
    /// as lost, but keeps those of a static member that hears of it by the answer to its `JoinGroup`: so the ids are compared
    /// here, and what was assigned under an earlier one is dropped.
    pub fn is_unbroken(&self, consumer: &BaseConsumer<Self>) -> bool {
        let member = member_id(consumer);
        let keeps_partitions = consumer.assignment().is_ok_and(|assignment| assignment.count() > 0);
        self.is_still(&mut self.state(), member, keeps_partitions)
    }

    fn is_still(&self, state: &mut State, member: String, keeps_partitions: bool) -> bool {
        if member == state.member {
            return true;
        }
        for partition in state.ledger.partitions().cloned().collect::<Vec<_>>() {
            self.drop_partition(state, &partition);
        }
        // Without an id it has not come back yet: it may still be told that all is lost.
        if !member.is_empty() {
            state.is_broken |= keeps_partitions;
            state.member = member;
        }
        if state.is_broken {
            self.rebalanced(state, "broken");
        }
        false
    }

    /// Whether the group must be joined anew, since partitions are kept that were assigned to an earlier member.
    pub fn take_broken(&self) -> bool {
        std::mem::take(&mut self.state().is_broken)
    }

    /// Commits the positions that moved; waits for the broker's answer.
    pub fn commit(&self, consumer: &BaseConsumer<Self>) {
        // Within transactions go the positions behind outcomes, not those where nothing more is read.
        let positions = self.with_ledger(|ledger| if self.commits { ledger.committable() } else { ledger.finished() });
        if positions.is_empty() || !self.is_unbroken(consumer) {
            return;
        }
        let committed = list(&positions).and_then(|list| consumer.commit(&list, CommitMode::Sync));
        let outcome = match committed {
            Ok(()) => {
                self.with_ledger(|ledger| ledger.committed(&positions));
                "ok"
            }
            // Not lost: the same positions are committed next time, or read again by whoever gets the partitions.
            Err(error) => {
                tracing::warn!(%error, "offset commit failed");
                "failed"
            }
        };
        self.metrics.commits.with_label_values(&[outcome]).inc();
    }

    fn assign(&self, consumer: &BaseConsumer<Self>, assigned: &TopicPartitionList) {
        self.show_partitions(consumer);
        let ask = || {
            let committed = consumer.committed_offsets(assigned.clone(), ANSWER_TIMEOUT);
            committed.inspect_err(|error| tracing::warn!(%error, "cannot read committed offsets")).ok()
        };
        let mut committed = ask();
        if self.begin(consumer, committed.as_ref()) {
            committed = ask();
        }
        // What it keeps from before; what comes is not in it yet.
        let keeps_partitions = consumer.assignment().is_ok_and(|assignment| assignment.count() > 0);
        let member = member_id(consumer);
        let mut state = self.state();
        self.is_still(&mut state, member, keeps_partitions);
        for partition in partitions(assigned) {
            tracing::info!(topic = %partition.topic, partition = partition.number, "assigned");
            let position = committed.as_ref().and_then(|list| list.find_partition(&partition.topic, partition.number));
            match position.map(|element| element.offset()) {
                Some(Offset::Offset(offset)) => state.expected.insert(partition.clone(), offset),
                _ => state.expected.remove(&partition),
            };
            state.lags.insert(partition.clone(), Lag::new(now()));
            state.ledger.assign(partition);
        }
        self.rebalanced(&mut state, "assign");
    }

    /// Commits where the window begins for the partitions that its group has not come to yet, so that reading starts there.
    /// Their owner does, and the broker takes it from no one else: nobody's progress is overwritten. Whether there were any.
    fn begin(&self, consumer: &BaseConsumer<Self>, committed: Option<&TopicPartitionList>) -> bool {
        let starts = self.window.as_ref().zip(committed).map(|(window, committed)| window.starts(committed));
        let starts = starts.unwrap_or_default();
        if starts.is_empty() {
            return false;
        }
        let begun = list(&starts).and_then(|list| consumer.commit(&list, CommitMode::Sync));
        let left_out = "cannot commit where the window begins; what is before it is read and left out";
        begun.inspect_err(|error| tracing::warn!(%error, "{left_out}")).is_ok()
    }

    fn revoke(&self, consumer: &BaseConsumer<Self>, taken: &TopicPartitionList) {
        let revoked = partitions(taken);
        let lost = consumer.assignment_lost();
        if !lost {
            self.finish(&revoked);
            self.commit(consumer);
        }
        let mut state = self.state();
        for partition in &revoked {
            let unfinished = state.ledger.is_unsettled([partition]);
            tracing::info!(topic = %partition.topic, partition = partition.number, lost, unfinished, "revoked");
            self.drop_partition(&mut state, partition);
        }
        self.rebalanced(&mut state, if lost { "lost" } else { "revoke" });
        drop(state);
        // librdkafka remembers a pause beyond the assignment: should the partition come back, nobody would resume it.
        if let Err(error) = consumer.resume(taken) {
            tracing::warn!(%error, "cannot resume what is taken away");
        }
    }

    /// What is on its way for it is dropped, its position forgotten, and its lag is somebody else's to show.
    fn drop_partition(&self, state: &mut State, partition: &Partition) {
        state.ledger.revoke(partition);
        state.expected.remove(partition);
        state.lags.remove(partition);
        let labels = [&*partition.topic, &*partition.number.to_string()];
        // Absent when no statistics came in the meantime.
        let _ = self.metrics.consumer_lag.remove_label_values(&labels);
        let _ = self.metrics.consumer_lag_seconds.remove_label_values(&labels);
    }

    fn rebalanced(&self, state: &mut State, kind: &str) {
        state.assignment_changed = true;
        self.metrics.rebalances.with_label_values(&[kind]).inc();
        self.metrics.assigned_partitions.set(i64::try_from(state.ledger.partitions().count()).unwrap_or(i64::MAX));
    }

    /// Waits until nothing of these partitions is in flight, or the deadline has passed. librdkafka goes on heartbeating.
    fn finish(&self, revoked: &[Partition]) {
        let deadline = Instant::now() + self.revoke_deadline;
        self.settle();
        while !self.leaving.load(Ordering::Relaxed) && self.with_ledger(|ledger| ledger.is_unsettled(revoked)) {
            match self.settled.recv_deadline(deadline) {
                Ok(settled) => self.state().ledger.settle(&settled),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn show_lag(&self, statistics: &Statistics) {
        let (state, pulled) = (&mut *self.state(), self.metrics.records.get());
        for (name, topic) in &statistics.topics {
            for (number, figures) in topic.partitions.iter().filter(|(_, figures)| figures.hi_offset >= 0) {
                let partition = Partition { topic: name.as_str().into(), number: *number };
                let Some(lag) = state.lags.get_mut(&partition) else { continue };
                let settled = state.ledger.position(&partition).map(|NextOffset(offset)| offset);
                let (oldest_unsettled, newest_settled) = state.ledger.published(&partition);
                let seen = Seen {
                    high: figures.hi_offset,
                    position: settled.unwrap_or_else(|| figures.committed_offset.max(figures.lo_offset).max(0)),
                    fetched: figures.next_offset,
                    queued: u64::try_from(figures.fetchq_cnt).unwrap_or(0),
                    pulled,
                    oldest_unsettled,
                    newest_settled,
                };
                let (records, seconds) = lag.of(&seen, now());
                let labels = [name, &*number.to_string()];
                self.metrics.consumer_lag.with_label_values(&labels).set(records);
                self.metrics.consumer_lag_seconds.with_label_values(&labels).set(seconds);
            }
        }
    }

    /// Asks for it anew: partitions that were added to the topic are why a group rebalances.
    fn show_partitions(&self, consumer: &BaseConsumer<Self>) {
        match consumer.fetch_metadata(Some(&self.topic), ANSWER_TIMEOUT) {
            Ok(metadata) => {
                let count = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
                let gauge = self.metrics.topic_partitions.with_label_values(&[&self.topic]);
                gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
            }
            Err(error) => tracing::warn!(%error, "cannot read the topic's partitions"),
        }
    }
}

impl Telling for Group {
    fn logged(&self) -> &Logged {
        &self.logged
    }
}

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.logged.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // Called on the thread that polls, right before the poll returns the end without its offset.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            self.state().ended_at = end_told(reason);
        } else {
            self.logged.error(error, reason);
        }
    }

    fn stats(&self, statistics: Statistics) {
        // Both only grow: there is one consumer in a process.
        let fetched = u64::try_from(statistics.rx_bytes).unwrap_or(0);
        self.metrics.fetched_bytes.inc_by(fetched.saturating_sub(self.metrics.fetched_bytes.get()));
        self.requests.count(&statistics);
        self.show_lag(&statistics);
    }
}

impl ConsumerContext for Group {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(assigned) => self.assign(consumer, assigned),
            Rebalance::Revoke(revoked) => self.revoke(consumer, revoked),
            Rebalance::Error(error) => tracing::error!(%error, "rebalance failed"),
        }
    }
}

/// The id that the group knows the member by; empty while it knows none.
#[expect(unsafe_code, reason = "rust-rdkafka tells it only within opaque metadata")]
fn member_id(consumer: &BaseConsumer<Group>) -> String {
    let client = consumer.client().native_ptr();
    // SAFETY: the client lives for as long as it is borrowed. The text is ours until it is freed, which is done once.
    unsafe {
        let id = rd_kafka_memberid(client);
        if id.is_null() {
            return String::new();
        }
        let member = CStr::from_ptr(id).to_string_lossy().into_owned();
        rd_kafka_mem_free(client, id.cast());
        member
    }
}

/// The offset in librdkafka's words for the end of a partition; nothing else tells it.
fn end_told(reason: &str) -> Option<i64> {
    let (_, from) = reason.split_once(" at offset ")?;
    from.split(' ').next()?.parse().ok()
}

fn partitions(list: &TopicPartitionList) -> Vec<Partition> {
    list.elements()
        .iter()
        .map(|element| Partition { topic: element.topic().into(), number: element.partition() })
        .collect()
}

/// Milliseconds since 1970.
fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

/// Positions as librdkafka takes them.
pub(super) fn list(positions: &[(Partition, NextOffset)]) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(positions.len());
    for (partition, NextOffset(offset)) in positions {
        list.add_partition_offset(&partition.topic, partition.number, Offset::Offset(*offset))?;
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As librdkafka 2.12 tells it.
    #[test]
    fn the_end_of_a_partition_is_told_with_its_offset() {
        let told = "Fetch from broker 1 reached end of partition at offset 92 (HighwaterMark 95)";
        assert_eq!(end_told(told), Some(92));
        assert_eq!(end_told("Fetch from broker 1 failed: no"), None);
    }
}
