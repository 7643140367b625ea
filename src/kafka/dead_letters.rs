//! Reads the dead-letter topic back: every letter from its beginning up to the end it had when it was opened, outside any
//! group, so that nobody's position moves. Letters of transactions that were not committed are not seen.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};

use super::Settings;
use super::client::{self, Error, Logged};
use super::source::headers;
use crate::message::{Header, Origin, header, replayed_origin};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_millis(200);
/// How long nothing may come although the topic goes on.
const PATIENCE: Duration = Duration::from_mins(1);

/// Where a letter stands in the dead-letter topic: partition and offset.
pub type Place = (i32, i64);

/// A dead letter as it was read.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// Where it stands.
    pub place: Place,
    /// The original key.
    pub key: Option<Bytes>,
    /// The original value; `None` where the broker refused it for its size.
    pub value: Option<Bytes>,
    /// The original headers, then ours.
    pub headers: Vec<Header>,
    /// When the broker got it.
    pub timestamp: Option<Timestamp>,
}

impl DeadLetter {
    /// A header that is text.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        header(&self.headers, key).and_then(|value| str::from_utf8(value).ok())
    }

    /// Where the original record stood; `None` of a record that no worker put here.
    #[must_use]
    pub fn origin(&self) -> Option<Origin> {
        replayed_origin(&self.headers)
    }

    /// When the record was refused: what the letter says, else the broker.
    #[must_use]
    pub fn at(&self) -> Option<Timestamp> {
        self.text("dlq.at").and_then(|at| at.parse().ok()).or(self.timestamp)
    }

    /// Whether only the digest of the value was kept.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.text("dlq.truncated").is_some()
    }

    /// The headers it goes back to the input topic with: the original ones, and of ours those that say which record it is
    /// and how often it was tried.
    #[must_use]
    pub fn headers_of_replay(&self) -> Vec<Header> {
        let kept = |header: &&Header| {
            !header.key.starts_with("dlq.") || matches!(header.key.as_str(), "dlq.origin" | "dlq.attempts")
        };
        self.headers.iter().filter(kept).cloned().collect()
    }
}

/// Reads the topic; see [`Reader::read`].
pub struct Reader {
    consumer: BaseConsumer<Logged>,
    topic: String,
    /// Where each partition ended when it was opened; what was read to its end is gone.
    ends: BTreeMap<i32, i64>,
    /// What there is to read, in offsets; transaction markers and compaction make the letters fewer.
    pub offsets: u64,
}

impl Reader {
    /// Opens the dead-letter topic of `settings` at its beginning.
    ///
    /// # Errors
    /// A broker or topic that cannot be used.
    pub fn open(settings: &Settings) -> Result<Self, Error> {
        let consumer = client::reader(settings)?;
        let topic = settings.dead_letter_topic.clone();
        let logged = std::sync::Arc::clone(consumer.context());
        let (mut ends, mut offsets) = (BTreeMap::new(), 0);
        let mut assignment = TopicPartitionList::new();
        for partition in client::partitions(&consumer, settings, &topic)? {
            let ends_of_partition = consumer.fetch_watermarks(&topic, partition, ANSWER_TIMEOUT);
            let (low, high) = ends_of_partition.map_err(|source| logged.no_answer(source))?;
            if low < high {
                ends.insert(partition, high);
                offsets += high.abs_diff(low);
                assignment.add_partition_offset(&topic, partition, Offset::Beginning).map_err(Error::client)?;
            }
        }
        consumer.assign(&assignment).map_err(Error::client)?;
        Ok(Self { consumer, topic, ends, offsets })
    }

    /// The next letter; `None` once all that were there are read. Blocks.
    ///
    /// # Errors
    /// When nothing comes for a minute although there is more.
    pub fn read(&mut self) -> Result<Option<DeadLetter>, Error> {
        let mut deadline = Instant::now() + PATIENCE;
        let mut fault = "no answer".to_owned();
        while !self.ends.is_empty() {
            match self.consumer.poll(TICK) {
                Some(Ok(message)) => {
                    let place = (message.partition(), message.offset());
                    if within(&mut self.ends, place) {
                        return Ok(Some(letter(place, &message)));
                    }
                    deadline = Instant::now() + PATIENCE;
                }
                // Behind the last letter there may be markers of transactions, and an open one hides what follows it.
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    self.ends.remove(&partition);
                }
                // librdkafka tries again by itself.
                Some(Err(error)) => fault = error.to_string(),
                None => {}
            }
            if Instant::now() >= deadline {
                return Err(Error::Fatal(format!("{} cannot be read to its end: {fault}", self.topic)));
            }
        }
        Ok(None)
    }
}

/// Whether a record was there when the topic was opened; notes the last of its partition.
fn within(ends: &mut BTreeMap<i32, i64>, (partition, offset): Place) -> bool {
    let Some(end) = ends.get(&partition).copied() else { return false };
    if offset + 1 >= end {
        ends.remove(&partition);
    }
    offset < end
}

fn letter(place: Place, message: &BorrowedMessage<'_>) -> DeadLetter {
    DeadLetter {
        place,
        key: message.key().map(Bytes::copy_from_slice),
        value: message.payload().map(Bytes::copy_from_slice),
        headers: headers(message),
        timestamp: message.timestamp().to_millis().and_then(|ms| Timestamp::from_millisecond(ms).ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(key: &str, value: Option<&'static str>) -> Header {
        Header { key: key.to_owned(), value: value.map(|value| Bytes::from_static(value.as_bytes())) }
    }

    fn dead_letter(headers: Vec<Header>) -> DeadLetter {
        DeadLetter { place: (0, 0), key: None, value: None, headers, timestamp: Some(Timestamp::UNIX_EPOCH) }
    }

    #[test]
    fn a_replay_keeps_the_headers_of_the_post_and_says_which_record_it_is() {
        let letter = dead_letter(vec![
            header("content-type", Some("image/jpeg")),
            header("dlq.at", Some("2026-11-24T09:00:00Z")),
            header("trace", None),
            header("dlq.attempts", Some("2")),
            header("dlq.detail", Some("why")),
            header("trace", Some("again")),
            header("dlq.origin", Some("posts/0/7")),
            header("dlq.reason", Some("not_json")),
            header("dlq.stage", Some("decode")),
            header("dlq.unknown", Some("of a later version")),
        ]);
        let kept = vec![
            header("content-type", Some("image/jpeg")),
            header("trace", None),
            header("dlq.attempts", Some("2")),
            header("trace", Some("again")),
            header("dlq.origin", Some("posts/0/7")),
        ];
        assert_eq!(letter.headers_of_replay(), kept);
    }

    #[test]
    fn a_record_that_no_worker_put_there_has_no_origin_and_the_time_of_its_broker() {
        let letter = dead_letter(vec![header("dlq.origin", Some("somewhere")), header("dlq.at", Some("noon"))]);
        assert_eq!((letter.origin(), letter.at()), (None, Some(Timestamp::UNIX_EPOCH)));
    }

    #[test]
    fn a_partition_ends_with_its_last_record_and_what_comes_later_is_not_read() {
        let mut ends = BTreeMap::from([(0, 3), (1, 2)]);
        assert!(within(&mut ends, (0, 0)) && within(&mut ends, (0, 2)), "1 was a marker");
        assert!(!within(&mut ends, (0, 3)), "it came after");
        assert!(!within(&mut ends, (1, 5)), "the last ones were markers");
        assert!(ends.is_empty());
    }
}
