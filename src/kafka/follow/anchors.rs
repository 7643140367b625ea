//! Whether a topic is the one that was read: by the records at the offsets of anchors.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};

use super::{ANSWER, Anchor};
use crate::kafka::client::Logged;

const TICK: Duration = Duration::from_millis(100);

/// What stands where the anchors stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// One of them.
    Same,
    /// Another record, or none.
    Another,
}

/// What tells a record from others: a hash of key, value and timestamp.
pub fn fingerprint(message: &BorrowedMessage<'_>) -> i64 {
    let mut hasher = blake3::Hasher::new();
    for part in [message.key(), message.payload()] {
        let length = part.map_or(-1, |part| i64::try_from(part.len()).unwrap_or(i64::MAX));
        hasher.update(&length.to_le_bytes()).update(part.unwrap_or_default());
    }
    hasher.update(&message.timestamp().to_millis().unwrap_or(-1).to_le_bytes());
    i64::from_le_bytes(hasher.finalize().as_bytes().first_chunk().copied().unwrap_or_default())
}

/// Looks the anchors of partitions up. What could not be read in time is left out.
pub fn look_up(
    checker: &BaseConsumer<Logged>,
    topic: &str,
    anchors: &BTreeMap<i32, Vec<Anchor>>,
) -> BTreeMap<i32, Found> {
    let mut found = BTreeMap::new();
    let mut list = TopicPartitionList::new();
    for (number, first) in anchors.iter().filter_map(|(number, anchors)| Some((number, anchors.first()?))) {
        // Fails only of offsets that no topic has.
        let _ = list.add_partition_offset(topic, *number, Offset::Offset(first.offset));
    }
    if list.count() == 0 || checker.assign(&list).is_err() {
        return found;
    }
    let deadline = Instant::now() + ANSWER;
    while found.len() < list.count() && Instant::now() < deadline {
        match checker.poll(TICK) {
            Some(Ok(message)) => {
                let read = Anchor { offset: message.offset(), fingerprint: fingerprint(&message) };
                let number = message.partition();
                let told = anchors.get(&number).and_then(|anchors| compare(anchors, read));
                if let (Some(told), false) = (told, found.contains_key(&number)) {
                    found.insert(number, told);
                }
            }
            // Nothing stands there any more, or the topic is shorter than that.
            Some(Err(KafkaError::PartitionEOF(number))) => {
                found.entry(number).or_insert(Found::Another);
            }
            Some(Err(error)) => {
                tracing::debug!(topic, %error, "looking anchors up");
            }
            None => {}
        }
    }
    if let Err(error) = checker.unassign() {
        tracing::warn!(topic, %error, "looking anchors up");
    }
    found
}

/// What a record says of the anchors; `None` where it stands between them.
fn compare(anchors: &[Anchor], read: Anchor) -> Option<Found> {
    let (first, last) = (anchors.first()?, anchors.last()?);
    match anchors.iter().find(|anchor| anchor.offset == read.offset) {
        Some(anchor) if *anchor == read => Some(Found::Same),
        Some(_) => Some(Found::Another),
        // Out of range: the client began at the topic's beginning. Or all of them are gone.
        None if read.offset < first.offset || read.offset > last.offset => Some(Found::Another),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_anchor_found_is_enough_and_another_record_in_its_place_too() {
        let anchor = |offset, fingerprint| Anchor { offset, fingerprint };
        let anchors = [anchor(3, 1), anchor(7, 2)];
        let told = [
            (anchor(3, 1), Some(Found::Same)),
            (anchor(7, 2), Some(Found::Same)),
            (anchor(3, 2), Some(Found::Another)),
            (anchor(5, 1), None),
            (anchor(0, 1), Some(Found::Another)),
            (anchor(8, 2), Some(Found::Another)),
        ];
        for (read, expected) in told {
            assert_eq!(compare(&anchors, read), expected, "{read:?}");
        }
    }
}
