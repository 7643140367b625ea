//! A worker's membership of its consumer group, as transactions need it.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata};
use rdkafka::{Offset, TopicPartitionList};

use super::group::Group;
use crate::offsets::{NextOffset, Partition};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What fences the transactions of a worker that is no longer a member. It does not keep the consumer alive.
#[derive(Clone)]
pub struct Membership(Weak<BaseConsumer<Group>>);

impl Membership {
    /// Of a consumer that has subscribed.
    pub fn of(consumer: &Arc<BaseConsumer<Group>>) -> Self {
        Self(Arc::downgrade(consumer))
    }

    /// Whether the consumer is gone.
    pub fn has_left(&self) -> bool {
        self.0.strong_count() == 0
    }

    /// Whether everything assigned now was assigned to the member that it still is. Ask for the metadata before.
    pub fn is_unbroken(&self) -> bool {
        self.0.upgrade().is_some_and(|consumer| consumer.context().is_unbroken(&consumer))
    }

    /// The member's id and generation as of now; `None` once the consumer is gone.
    pub fn metadata(&self) -> Option<ConsumerGroupMetadata> {
        self.0.upgrade()?.group_metadata()
    }

    /// The group's committed positions, once no transaction over them is open; `None` where the broker does not answer.
    pub fn committed(&self, partitions: &[Partition]) -> Option<HashMap<Partition, NextOffset>> {
        let mut asked = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            asked.add_partition(&partition.topic, partition.number);
        }
        let answer = self.0.upgrade()?.committed_offsets(asked, ANSWER_TIMEOUT);
        let answer = answer.inspect_err(|error| tracing::warn!(%error, "cannot read committed offsets")).ok()?;
        let position = |partition: &Partition| match answer.find_partition(&partition.topic, partition.number)?.offset()
        {
            Offset::Offset(offset) => Some((partition.clone(), NextOffset(offset))),
            _ => None,
        };
        Some(partitions.iter().filter_map(position).collect())
    }
}
