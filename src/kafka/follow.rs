//! Reads a topic for ever and outside any group: all its partitions, each from the offset that it is told, as far as transactions are
//! committed. What the caller does with the records and where it keeps the positions is its own business; both belong together.
//!
//! Brokers that are away, a topic that is not there yet, new partitions: it says so, waits, and goes on. A topic that was made anew is
//! known by its records: with every position go some records that were read before it (anchors), and where another record stands at the
//! offset of one, or none at all, and not a look later either, the partition is read from its beginning. That is looked at when a partition is
//! first read, every few seconds while records come, and where a topic ends before the position. Only anchors that were read before the
//! last look are relied on: a topic that is deleted and refilled beyond the position meanwhile has other records at their offsets. Reading
//! from the beginning for no reason - compaction took all anchors - does no harm to a caller that counts nothing twice.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::metadata::MetadataPartition;
use rdkafka::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};

use super::Settings;
use super::client::{self, Error, Logged};
use super::security::acls::{Operation, Resource};
use super::source::headers;
use crate::message::Header;

mod anchors;

/// Between two looks at the topic's partitions and ends, and at the anchors of those that give a reason.
const LOOK: Duration = Duration::from_secs(3);
/// How long brokers may take to answer.
const ANSWER: Duration = Duration::from_secs(3);
/// Anchors of a partition.
const ANCHORS: usize = 8;

/// How far a partition has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// The offset to read next.
    pub next: i64,
    /// Records read before it.
    pub anchors: Vec<Anchor>,
}

/// A record that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// Its offset.
    pub offset: i64,
    /// Hash of what it said.
    pub fingerprint: i64,
}

/// A record as it was read.
#[derive(Debug)]
pub struct Read {
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Key.
    pub key: Option<Bytes>,
    /// `None` is a tombstone; also where values are not asked for.
    pub value: Option<Bytes>,
    /// Headers.
    pub headers: Vec<Header>,
    /// Milliseconds since 1970.
    pub timestamp: Option<i64>,
}

impl Read {
    /// Bytes that it takes.
    #[must_use]
    pub fn size(&self) -> usize {
        let bytes = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let headers = self.headers.iter().map(|header| header.key.len() + bytes(&header.value)).sum::<usize>();
        bytes(&self.key) + bytes(&self.value) + headers
    }
}

/// How reading goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// Whether the brokers answer.
    pub connected: bool,
    /// What is in the way.
    pub error: Option<String>,
    /// Records not read yet, in offsets; `None` until the brokers told where the topic ends.
    pub behind: Option<i64>,
}

#[derive(Debug, Default)]
struct Partition {
    is_assigned: bool,
    next: i64,
    /// Read before the last look, or the first ones read.
    anchors: Vec<Anchor>,
    /// Read since.
    recent: VecDeque<Anchor>,
    end: Option<i64>,
    is_at_end: bool,
    is_changed: bool,
    look: Look,
}

/// What the last look at the anchors found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Look {
    /// None since the partition was assigned.
    #[default]
    Never,
    /// What was read.
    Same,
    /// Something else, or nothing.
    Another,
}

impl Partition {
    fn of(position: Position) -> Self {
        Self { next: position.next, anchors: position.anchors, ..Self::default() }
    }

    /// Without an anchor the position is worth nothing.
    fn start(&self) -> Offset {
        if self.anchors.is_empty() { Offset::Beginning } else { Offset::Offset(self.next) }
    }

    /// Whether it may be another than the one that was read. One where nothing happens is not looked at.
    fn is_to_be_looked_at(&self) -> bool {
        let is_shorter = self.end.is_some_and(|end| end < self.next);
        let has_reason = self.look != Look::Same || is_shorter || !self.recent.is_empty();
        self.is_assigned && !self.anchors.is_empty() && has_reason
    }

    fn forget(&mut self) {
        *self = Self { is_assigned: self.is_assigned, is_changed: true, ..Self::default() };
    }

    fn note(&mut self, read: Anchor) {
        if read.offset < self.next {
            // The broker has no record at the old position: the client began again by itself.
            self.forget();
        }
        self.next = read.offset + 1;
        self.is_changed = true;
        self.is_at_end = false;
        if self.anchors.len() < ANCHORS && self.recent.is_empty() {
            self.anchors.push(read);
        } else {
            self.recent.push_back(read);
            if self.recent.len() > ANCHORS {
                self.recent.pop_front();
            }
        }
    }
}

/// Follows one topic.
pub struct Follower {
    consumer: BaseConsumer<Logged>,
    /// Looks anchors up.
    checker: BaseConsumer<Logged>,
    topic: Arc<str>,
    with_values: bool,
    partitions: BTreeMap<i32, Partition>,
    looked: Option<Instant>,
    state: State,
}

impl Follower {
    /// Follows `topic` from these positions on, and from the beginning where there are none. Values may be left out. No broker is
    /// asked yet.
    ///
    /// # Errors
    /// Options that make no client.
    pub fn new(settings: &Settings, topic: &str, positions: Vec<Position>, with_values: bool) -> Result<Self, Error> {
        let ours = positions.into_iter().filter(|position| position.topic == topic);
        Ok(Self {
            consumer: client::reader(settings)?,
            checker: client::peeker(settings)?,
            topic: topic.into(),
            with_values,
            partitions: ours.map(|position| (position.partition, Partition::of(position))).collect(),
            looked: None,
            state: State::default(),
        })
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The next record, if one comes within `wait`. Blocks, for a few seconds where brokers do not answer.
    pub fn next(&mut self, wait: Duration) -> Option<Read> {
        if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
            self.look();
            self.looked = Some(Instant::now());
        }
        match self.consumer.poll(wait)? {
            Ok(message) => {
                let anchor = Anchor { offset: message.offset(), fingerprint: anchors::fingerprint(&message) };
                let read = read(&message, self.with_values);
                self.partitions.entry(read.partition).or_default().note(anchor);
                Some(read)
            }
            Err(KafkaError::PartitionEOF(number)) => {
                if let Some(partition) = self.partitions.get_mut(&number) {
                    partition.is_at_end = true;
                }
                None
            }
            Err(error) => {
                // librdkafka goes on by itself; the next look says whether the topic is there.
                tracing::debug!(topic = &*self.topic, %error, "following");
                None
            }
        }
    }

    /// Positions that changed since they were last asked for.
    pub fn changed(&mut self) -> Vec<Position> {
        let position = |(number, partition): (&i32, &mut Partition)| {
            std::mem::take(&mut partition.is_changed).then(|| Position {
                topic: self.topic.to_string(),
                partition: *number,
                next: partition.next,
                anchors: partition.anchors.clone(),
            })
        };
        self.partitions.iter_mut().filter_map(position).collect()
    }

    /// How it goes.
    #[must_use]
    pub fn state(&self) -> State {
        let assigned = self.partitions.values().filter(|partition| partition.is_assigned);
        let behind = assigned.map(|partition| {
            if partition.is_at_end { Some(0) } else { partition.end.map(|end| (end - partition.next).max(0)) }
        });
        let behind = if self.state.error.is_some() { None } else { behind.sum() };
        State { behind, ..self.state.clone() }
    }

    /// Looks at the topic's partitions, where they end, and whether they are those that were read.
    fn look(&mut self) {
        self.state = match self.partitions_there() {
            Ok(numbers) => match self.assign(&numbers).and_then(|()| self.look_at_ends()) {
                Ok(()) => State { connected: true, ..State::default() },
                Err(error) => State { connected: true, error: Some(error.to_string()), ..State::default() },
            },
            Err(state) => state,
        };
        if self.state.connected && self.state.error.is_none() {
            self.look_at_anchors();
        }
    }

    fn partitions_there(&mut self) -> Result<Vec<i32>, State> {
        let metadata = self.consumer.fetch_metadata(Some(&self.topic), ANSWER).map_err(|error| State {
            connected: false,
            error: Some(format!("the brokers do not answer: {}", self.consumer.context().why(error))),
            behind: None,
        })?;
        let found = metadata.topics().iter().find(|found| found.name() == &*self.topic);
        let code = found.and_then(rdkafka::metadata::MetadataTopic::error).map(RDKafkaErrorCode::from);
        let why = match (found, code) {
            (Some(found), None) => return Ok(found.partitions().iter().map(MetadataPartition::id).collect()),
            (None, _) | (_, Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)) => {
                // It may come back as another.
                if let Err(error) = self.assign(&[]) {
                    tracing::warn!(topic = &*self.topic, %error, "cannot let go of a topic that is gone");
                }
                format!("topic {} is not there yet; it is waited for", self.topic)
            }
            (_, Some(RDKafkaErrorCode::TopicAuthorizationFailed)) => {
                self.consumer.context().denied(Operation::Read, Resource::Topic(&self.topic)).to_string()
            }
            (_, Some(code)) => format!("topic {} cannot be read: {code}", self.topic),
        };
        Err(State { connected: true, error: Some(why), behind: None })
    }

    /// Reads these partitions and no other.
    fn assign(&mut self, numbers: &[i32]) -> Result<(), KafkaError> {
        let (mut new, mut gone) = (TopicPartitionList::new(), TopicPartitionList::new());
        for number in numbers {
            let partition = self.partitions.entry(*number).or_default();
            if !partition.is_assigned {
                new.add_partition_offset(&self.topic, *number, partition.start())?;
            }
        }
        for (number, partition) in &self.partitions {
            if partition.is_assigned && !numbers.contains(number) {
                gone.add_partition(&self.topic, *number);
            }
        }
        if gone.count() > 0 {
            self.consumer.incremental_unassign(&gone)?;
        }
        if new.count() > 0 {
            self.consumer.incremental_assign(&new)?;
        }
        for (number, partition) in &mut self.partitions {
            let is_assigned = numbers.contains(number);
            if is_assigned && !partition.is_assigned {
                partition.look = Look::Never;
            }
            partition.is_assigned = is_assigned;
        }
        Ok(())
    }

    fn look_at_ends(&mut self) -> Result<(), KafkaError> {
        let mut ends = TopicPartitionList::new();
        for number in self.partitions.iter().filter(|(_, partition)| partition.is_assigned).map(|(number, _)| number) {
            ends.add_partition_offset(&self.topic, *number, Offset::End)?;
        }
        let ends = self.consumer.offsets_for_times(ends, ANSWER)?;
        for end in ends.elements() {
            if let Some(partition) = self.partitions.get_mut(&end.partition()) {
                // Of a partition that never had a record the broker tells none.
                partition.end =
                    if let Offset::Offset(offset) = end.offset() { Some(offset) } else { Some(partition.next) };
            }
        }
        Ok(())
    }

    /// Reads partitions from their beginning that are not those that were read.
    fn look_at_anchors(&mut self) {
        let known = self.partitions.iter().filter(|(_, partition)| partition.is_to_be_looked_at());
        let anchors: BTreeMap<_, _> = known.map(|(number, partition)| (*number, partition.anchors.clone())).collect();
        for (number, found) in anchors::look_up(&self.checker, &self.topic, &anchors) {
            let Some(partition) = self.partitions.get_mut(&number) else { continue };
            match found {
                anchors::Found::Same => {
                    partition.look = Look::Same;
                    if !partition.recent.is_empty() {
                        // Read before this look, which found what it was read after.
                        partition.anchors = std::mem::take(&mut partition.recent).into();
                        partition.is_changed = true;
                    }
                }
                // A new leader may not have all of it for a moment.
                anchors::Found::Another if partition.look != Look::Another => partition.look = Look::Another,
                anchors::Found::Another => {
                    tracing::warn!(
                        topic = &*self.topic,
                        partition = number,
                        "what was read there is gone (a topic made anew, or compacted): it is read from its beginning"
                    );
                    self.begin_again(number);
                }
            }
        }
    }

    fn begin_again(&mut self, number: i32) {
        let Some(partition) = self.partitions.get_mut(&number) else { return };
        partition.forget();
        let list = || {
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(&self.topic, number, Offset::Beginning).map(|()| list)
        };
        let begun = list().and_then(|list| {
            self.consumer.incremental_unassign(&list)?;
            self.consumer.incremental_assign(&list)
        });
        if let Err(error) = begun {
            tracing::warn!(topic = &*self.topic, partition = number, %error, "cannot be read from its beginning yet");
            // The next look assigns it.
            partition.is_assigned = false;
        }
    }
}

fn read(message: &BorrowedMessage<'_>, with_value: bool) -> Read {
    Read {
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(Bytes::copy_from_slice),
        value: message.payload().filter(|_| with_value).map(Bytes::copy_from_slice),
        headers: headers(message),
        timestamp: message.timestamp().to_millis(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anchor(offset: i64) -> Anchor {
        Anchor { offset, fingerprint: offset * 7 }
    }

    #[test]
    fn the_first_records_are_anchors_and_later_ones_wait_for_a_look() {
        let mut partition = Partition::default();
        assert_eq!(partition.start(), Offset::Beginning);
        (0..20).for_each(|offset| partition.note(anchor(offset)));
        assert_eq!(partition.anchors, (0..8).map(anchor).collect::<Vec<_>>());
        assert_eq!(partition.recent, (12..20).map(anchor).collect::<Vec<_>>());
        assert_eq!(partition.start(), Offset::Offset(20));
    }

    #[test]
    fn an_offset_further_back_begins_again() {
        let mut partition = Partition::default();
        (0..20).for_each(|offset| partition.note(anchor(offset)));
        partition.note(Anchor { offset: 0, fingerprint: 1 });
        assert_eq!((partition.next, partition.anchors.len(), partition.recent.len()), (1, 1, 0));
    }
}
