//! How far the workers' group is behind: its committed offsets against the ends of the input topic. It joins nothing.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::Settings;
use super::client::{self, Error, Logged};
use super::security::acls::{Operation, Resource};

const ANSWER: Duration = Duration::from_secs(5);

/// Asks for the lag.
pub struct GroupLag {
    consumer: BaseConsumer<Logged>,
    topic: String,
    group: String,
}

impl GroupLag {
    /// Of `kafka.group` on `kafka.input_topic`. No broker is asked yet.
    ///
    /// # Errors
    /// Options that make no client.
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        Ok(Self {
            consumer: client::reader(settings)?,
            topic: settings.input_topic.clone(),
            group: settings.group.clone(),
        })
    }

    /// Records behind the committed offsets, in offsets; of a partition of which nothing is committed, all it holds. Blocks.
    ///
    /// # Errors
    /// What the brokers say, as a line.
    pub fn read(&self) -> Result<i64, String> {
        let topic = &self.topic;
        let failed = |error: KafkaError| format!("the lag on {topic} cannot be read: {}", self.why(error));
        let metadata = self.consumer.fetch_metadata(Some(topic), ANSWER).map_err(failed)?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let partitions = match found.map(|found| (found.error().map(RDKafkaErrorCode::from), found.partitions())) {
            Some((None, partitions)) => partitions,
            Some((Some(RDKafkaErrorCode::TopicAuthorizationFailed), _)) => {
                return Err(self.denied(Resource::Topic(topic)));
            }
            _ => return Err(format!("topic {topic} is not there")),
        };
        let (mut of_group, mut ends) = (TopicPartitionList::new(), TopicPartitionList::new());
        for partition in partitions {
            of_group.add_partition(topic, partition.id());
            ends.add_partition_offset(topic, partition.id(), Offset::End).map_err(failed)?;
        }
        let committed = self.consumer.committed_offsets(of_group, ANSWER).map_err(failed)?;
        let ends = self.consumer.offsets_for_times(ends, ANSWER).map_err(failed)?;
        let mut lag = 0;
        for end in ends.elements() {
            // Of a partition that never had a record the broker tells none.
            let Offset::Offset(offset) = end.offset() else { continue };
            let committed = committed.find_partition(topic, end.partition()).map(|found| found.offset());
            let read = match committed {
                Some(Offset::Offset(committed)) => committed,
                _ => self.consumer.fetch_watermarks(topic, end.partition(), ANSWER).map_err(failed)?.0,
            };
            lag += (offset - read).max(0);
        }
        Ok(lag)
    }

    fn why(&self, error: KafkaError) -> String {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::GroupAuthorizationFailed) => self.denied(Resource::Group(&self.group)),
            _ => self.consumer.context().why(error),
        }
    }

    fn denied(&self, resource: Resource<'_>) -> String {
        self.consumer.context().denied(Operation::Describe, resource).to_string()
    }
}
