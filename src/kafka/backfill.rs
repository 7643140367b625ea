//! A past window of the input topic, scored once: which offsets it is, and how far its group has come.
//!
//! A partition's share begins with its first record of `from` or later and ends before its first record of `to` or later, as
//! Kafka looks timestamps up; where none is as late, it ends with what the partition holds now. Every worker of the group works
//! the window out by itself: the same times give the same offsets, unless older records are added behind it.
//!
//! How far the group has come is what it has committed, so that a worker without work knows when all is done, and takes over
//! until then. Whoever reads a partition to the end of its share commits that end ([`super::group`]).

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};

use super::Settings;
use super::client::{self, Error, Logged};
use crate::offsets::{NextOffset, Partition};
use crate::retry;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the group's progress is asked for and told while this worker reads, and while it waits for others.
const TELL: Duration = Duration::from_secs(10);
const WAIT: Duration = Duration::from_secs(1);

/// A window that cannot be scored.
#[derive(Debug, thiserror::Error)]
pub enum WindowError {
    /// A broker or topic that cannot be used.
    #[error(transparent)]
    Broker(#[from] Error),
    /// The group has committed what lies behind the window.
    #[error(
        "group {group} has gone beyond this window (it is at {committed} of {topic}/{partition}, where the window ends at {end}): it reads the topic, or has done another window; give this one a group of its own, or the --to that it had"
    )]
    BeyondIt {
        /// The group.
        group: String,
        /// The topic.
        topic: String,
        /// A partition.
        partition: i32,
        /// Where the group is.
        committed: i64,
        /// Where the window ends.
        end: i64,
    },
}

/// What of the input topic is scored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    topic: String,
    /// By partition, the offsets from the first on, before the last.
    shares: BTreeMap<i32, Range<i64>>,
    /// Offsets of it that the group had done when it was opened.
    pub done_before: i64,
}

impl Window {
    /// Works the window out and looks how far the group has come. Blocks.
    ///
    /// # Errors
    /// A broker or topic that cannot be used, or a group that has gone beyond the window.
    pub fn open(settings: &Settings, times: &Range<Timestamp>) -> Result<Self, WindowError> {
        let consumer = client::reader(settings)?;
        let numbers = client::partitions(&consumer, settings, &settings.input_topic)?;
        let no_answer = |source| Error::NoAnswer { brokers: settings.brokers.clone(), source };
        let asked = Asked { consumer: &consumer, topic: &settings.input_topic, numbers: &numbers };
        // In this order: what comes meanwhile is either behind the window, or found by its time.
        let held = insist(|| asked.held()).map_err(no_answer)?;
        let [starts, ends] = [times.start, times.end].map(|time| insist(|| asked.first_of(time)));
        let (starts, ends) = (starts.map_err(no_answer)?, ends.map_err(no_answer)?);
        let mut window = Self { topic: settings.input_topic.clone(), shares: BTreeMap::new(), done_before: 0 };
        for (number, held) in &held {
            let end = ends.get(number).copied().unwrap_or(held.end);
            let start = starts.get(number).copied().unwrap_or(held.end).min(end);
            window.shares.insert(*number, start..end);
        }
        // A worker that died may have left a transaction open, whose offsets are waited for.
        let patience = ANSWER_TIMEOUT * 2 + settings.transaction_timeout().unwrap_or_default();
        let committed = insist(|| window.committed(&consumer, patience)).map_err(no_answer)?;
        window.refuse_beyond(&settings.group, &committed)?;
        window.tell_removed(&held, &committed);
        window.done_before = window.done(&committed);
        Ok(window)
    }

    /// Offsets in it; compaction and transaction markers make the records fewer.
    #[must_use]
    pub fn offsets(&self) -> i64 {
        self.shares.values().map(|share| share.end - share.start).sum()
    }

    /// What of a partition is in it.
    pub(super) fn share(&self, partition: i32) -> Range<i64> {
        // A partition that was added later: a worker that starts anew sees it.
        self.shares.get(&partition).cloned().unwrap_or_default()
    }

    /// Where the partitions of a list begin whose position, if they have one, is before that.
    pub(super) fn starts(&self, committed: &TopicPartitionList) -> Vec<(Partition, NextOffset)> {
        let start = |element: &TopicPartitionListElem<'_>| {
            let start = self.share(element.partition()).start;
            let has_begun = matches!(element.offset(), Offset::Offset(offset) if offset >= start);
            let partition = Partition { topic: element.topic().into(), number: element.partition() };
            (element.error().is_ok() && !has_begun).then_some((partition, NextOffset(start)))
        };
        committed.elements().iter().filter_map(start).collect()
    }

    fn done(&self, committed: &BTreeMap<i32, i64>) -> i64 {
        let done = |(number, share): (&i32, &Range<i64>)| {
            committed.get(number).map_or(0, |committed| committed.clamp(&share.start, &share.end) - share.start)
        };
        self.shares.iter().map(done).sum()
    }

    /// What the group has committed, once no transaction over it is open.
    fn committed<C: ConsumerContext>(
        &self,
        consumer: &BaseConsumer<C>,
        timeout: Duration,
    ) -> Result<BTreeMap<i32, i64>, KafkaError> {
        let mut asked = TopicPartitionList::with_capacity(self.shares.len());
        for number in self.shares.keys() {
            asked.add_partition(&self.topic, *number);
        }
        offsets(&consumer.committed_offsets(asked, timeout)?)
    }

    fn refuse_beyond(&self, group: &str, committed: &BTreeMap<i32, i64>) -> Result<(), WindowError> {
        let beyond = committed.iter().find(|(number, committed)| **committed > self.share(**number).end);
        beyond.map_or(Ok(()), |(partition, committed)| {
            Err(WindowError::BeyondIt {
                group: group.to_owned(),
                topic: self.topic.clone(),
                partition: *partition,
                committed: *committed,
                end: self.share(*partition).end,
            })
        })
    }

    /// Which of what was removed stood in the window nobody can say, but how much it is at most. (What is removed from where the
    /// group has come to is counted when it is read.)
    fn tell_removed(&self, held: &BTreeMap<i32, Range<i64>>, committed: &BTreeMap<i32, i64>) {
        for (partition, Range { start: first, .. }) in held {
            let is_new = !committed.contains_key(partition);
            if is_new && *first > 0 && self.share(*partition).start == *first {
                tracing::warn!(
                    topic = self.topic,
                    partition,
                    first_held = first,
                    removed_at_most = first,
                    "the window may begin before what this partition still holds: retention removed the records before its first"
                );
            }
        }
    }
}

/// Asks again while leaders and coordinators are not known yet, or are moving.
fn insist<T>(ask: impl Fn() -> Result<T, KafkaError>) -> Result<T, KafkaError> {
    let (begun, mut pauses) = (Instant::now(), retry::pauses());
    loop {
        match ask() {
            Err(error) if begun.elapsed() < ANSWER_TIMEOUT => {
                tracing::warn!(%error, "cannot work the window out yet");
                retry::rest(&mut pauses);
            }
            answer => return answer,
        }
    }
}

/// Questions about all partitions of a topic.
struct Asked<'a> {
    consumer: &'a BaseConsumer<Logged>,
    topic: &'a str,
    numbers: &'a [i32],
}

impl Asked<'_> {
    fn held(&self) -> Result<BTreeMap<i32, Range<i64>>, KafkaError> {
        let held = |number: &i32| {
            let (low, high) = self.consumer.fetch_watermarks(self.topic, *number, ANSWER_TIMEOUT)?;
            Ok((*number, low..high))
        };
        self.numbers.iter().map(held).collect()
    }

    /// The first record of `time` or later, of the partitions that have one.
    fn first_of(&self, time: Timestamp) -> Result<BTreeMap<i32, i64>, KafkaError> {
        let mut times = TopicPartitionList::with_capacity(self.numbers.len());
        for number in self.numbers {
            let milliseconds = Offset::Offset(ceiling_milliseconds(time).max(0));
            times.add_partition_offset(self.topic, *number, milliseconds)?;
        }
        offsets(&self.consumer.offsets_for_times(times, ANSWER_TIMEOUT)?)
    }
}

/// Records have whole milliseconds: the first that is not before `time`.
fn ceiling_milliseconds(time: Timestamp) -> i64 {
    let milliseconds = time.as_millisecond();
    let is_whole = Timestamp::from_millisecond(milliseconds).is_ok_and(|whole| whole >= time);
    if is_whole { milliseconds } else { milliseconds + 1 }
}

/// The offsets of a list, where there are any.
fn offsets(list: &TopicPartitionList) -> Result<BTreeMap<i32, i64>, KafkaError> {
    let mut offsets = BTreeMap::new();
    for element in list.elements() {
        element.error()?;
        if let Offset::Offset(offset) = element.offset() {
            offsets.insert(element.partition(), offset);
        }
    }
    Ok(offsets)
}

/// How far the group has come, asked for now and then.
#[derive(Debug)]
pub(super) struct Progress {
    window: Arc<Window>,
    asked_at: Instant,
    told_at: Instant,
    told: i64,
}

impl Progress {
    pub(super) fn new(window: Arc<Window>) -> Self {
        let (now, told) = (Instant::now(), window.done_before);
        Self { window, asked_at: now, told_at: now, told }
    }

    /// Whether it is time to ask; a worker that `waits` for others asks more often.
    pub(super) fn is_due(&self, waits: bool) -> bool {
        self.asked_at.elapsed() >= if waits { WAIT } else { TELL }
    }

    /// Asks; whether the group has done the whole window.
    pub(super) fn is_done<C: ConsumerContext>(&mut self, consumer: &BaseConsumer<C>) -> bool {
        let committed = self.window.committed(consumer, ANSWER_TIMEOUT);
        self.asked_at = Instant::now();
        let done = match committed {
            Ok(committed) => self.window.done(&committed),
            Err(error) => {
                tracing::warn!(%error, "cannot read how far the group has come");
                return false;
            }
        };
        let offsets = self.window.offsets();
        if done < offsets && self.told_at.elapsed() >= TELL {
            self.tell(done, offsets);
        }
        done >= offsets
    }

    #[expect(clippy::cast_precision_loss, reason = "for people")]
    fn tell(&mut self, done: i64, offsets: i64) {
        let rate = (done - self.told).max(0) as f64 / self.told_at.elapsed().as_secs_f64();
        let left = (offsets - done) as f64;
        let seconds_left = if rate > 0.0 { format!("{:.0}", left / rate) } else { "unknown".into() };
        let (percent, per_second) = (100.0 * done as f64 / offsets as f64, format!("{rate:.1}"));
        tracing::info!(done, offsets, per_second, seconds_left, "backfill: the group has done {percent:.0}%");
        (self.told, self.told_at) = (done, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window() -> Window {
        let shares = BTreeMap::from([(0, 10..20), (1, 5..5), (2, 0..7)]);
        Window { topic: "posts".into(), shares, done_before: 0 }
    }

    #[test]
    fn what_is_done_is_what_is_committed_within_the_window() {
        let window = window();
        let done = |committed: &[(i32, i64)]| window.done(&committed.iter().copied().collect());
        assert_eq!(window.offsets(), 17);
        assert_eq!(done(&[]), 0, "a partition without a position has not begun, whatever its share");
        assert_eq!(done(&[(0, 10), (2, 3)]), 3);
        assert_eq!(done(&[(0, 4), (2, 7)]), 7, "a position before the window is none of it");
        assert_eq!(done(&[(0, 20), (2, 7)]), 17, "a partition of nothing is done");
        assert_eq!(done(&[(0, 99), (2, 7), (3, 8)]), 17);
    }

    #[test]
    fn a_group_that_has_gone_beyond_the_window_is_refused() {
        let window = window();
        assert!(window.refuse_beyond("g", &BTreeMap::from([(0, 20), (1, 5)])).is_ok());
        let refused = window.refuse_beyond("g", &BTreeMap::from([(0, 21)])).expect_err("beyond");
        assert!(
            refused.to_string().contains("group g has gone beyond this window (it is at 21 of posts/0"),
            "{refused}"
        );
    }

    #[test]
    fn a_partition_added_later_has_no_share() {
        assert_eq!((window().share(2), window().share(3)), (0..7, 0..0));
    }

    #[test]
    fn a_time_between_milliseconds_is_the_later_one() {
        let at = |text: &str| ceiling_milliseconds(text.parse().expect("a time"));
        assert_eq!(at("1970-01-01T00:00:01.5Z"), 1500);
        assert_eq!(at("1970-01-01T00:00:01.500000001Z"), 1501);
    }
}
