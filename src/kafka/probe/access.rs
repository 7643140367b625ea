//! What the user may do, found out by requests that a broker refuses whoever asks, only after it has looked whether the user may:
//! a record with `acks=2`, which no broker takes (Kafka since 0.9), and a commit for a partition that no topic has.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ThreadedProducer};
use rdkafka::{Message, Offset, TopicPartitionList};

use super::heard::Heard;
use super::{ATTEMPT, Probe, STEP, TICK, Topic};
use crate::kafka::client::{self, Error};

/// The key of the record that no broker takes. It has no value: one that took it all the same would hold the tombstone of a post
/// that there never was.
const KEY: &str = "sentistream-check";
/// A partition that no topic has.
const NO_PARTITION: i32 = i32::MAX;

/// Whether the user may do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Yes.
    Granted,
    /// No.
    Denied,
    /// No answer, or none that tells.
    Unclear(String),
}

impl Probe {
    /// Whether every partition can be read, at its end, where hardly anything is fetched.
    pub fn read(&self, topic: &Topic) -> Access {
        let mut ends = TopicPartitionList::new();
        for partition in &topic.partitions {
            if let Err(error) = ends.add_partition_offset(&topic.name, partition.id, Offset::End) {
                return Access::Unclear(error.to_string());
            }
        }
        if let Err(error) = self.consumer.assign(&ends) {
            return Access::Unclear(error.to_string());
        }
        let mut left: Vec<i32> = topic.partitions.iter().map(|partition| partition.id).collect();
        let deadline = Instant::now() + STEP;
        let mut answer = Access::Granted;
        while !left.is_empty() && Instant::now() < deadline {
            match self.consumer.poll(TICK) {
                Some(Ok(message)) => left.retain(|id| *id != message.partition()),
                Some(Err(KafkaError::PartitionEOF(partition))) => left.retain(|id| *id != partition),
                Some(Err(error)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                    answer = Access::Denied;
                    break;
                }
                // librdkafka tries again by itself.
                Some(Err(_)) | None => {}
            }
        }
        // Fails only where the client is gone.
        let _ = self.consumer.unassign();
        match answer {
            Access::Granted if !left.is_empty() => no_answer(&left),
            answer => answer,
        }
    }

    /// Whether every partition can be written to, found out by a record that no broker takes.
    pub fn write(&self, topic: &Topic) -> Access {
        let heard = Heard::default();
        let made = client::producer(&self.settings).and_then(|mut config| {
            config
                .set("enable.idempotence", "false")
                .set("acks", "2")
                .set("message.timeout.ms", STEP.as_millis().to_string())
                .set("message.send.max.retries", "0");
            config.create_with_context(heard.clone()).map_err(Error::client)
        });
        let producer: BaseProducer<Heard> = match made {
            Ok(producer) => producer,
            Err(error) => return Access::Unclear(error.to_string()),
        };
        for (place, partition) in topic.partitions.iter().enumerate() {
            let record = BaseRecord::<str, [u8], usize>::with_opaque_to(&topic.name, place);
            if let Err((error, _)) = producer.send(record.partition(partition.id).key(KEY)) {
                return of_error(&error);
            }
        }
        let deadline = Instant::now() + STEP + ATTEMPT;
        while heard.delivered() < topic.partitions.len() && Instant::now() < deadline {
            producer.poll(TICK);
        }
        heard.written(topic)
    }

    /// Whether the user may be a member of the group and commit for it, found out by a commit for a partition that is none.
    pub fn join(&self) -> Access {
        let mut offsets = TopicPartitionList::new();
        if let Err(error) = offsets.add_partition_offset(&self.settings.input_topic, NO_PARTITION, Offset::Offset(0)) {
            return of_error(&error);
        }
        let (answer, answered) = crossbeam_channel::bounded(1);
        let consumer = Arc::clone(&self.consumer);
        // It waits for the coordinator for as long as that takes, which is left to a thread.
        thread::spawn(move || {
            // Nobody waits any more only where it took too long.
            let _ = answer.send(consumer.commit(&offsets, CommitMode::Sync));
        });
        let deadline = Instant::now() + STEP;
        while Instant::now() < deadline {
            match answered.recv_timeout(TICK) {
                Ok(Ok(())) => return Access::Granted,
                Ok(Err(error)) => return of_commit(&error),
                Err(_) if self.has_heard(RDKafkaErrorCode::GroupAuthorizationFailed) => return Access::Denied,
                Err(_) => {}
            }
        }
        Access::Unclear(format!("no answer from the group's coordinator within {} s", STEP.as_secs()))
    }

    /// Whether the user may see how far the group is.
    pub fn describe_group(&self, topic: &Topic) -> Access {
        let mut offsets = TopicPartitionList::new();
        for partition in &topic.partitions {
            offsets.add_partition(&topic.name, partition.id);
        }
        match self.consumer.committed_offsets(offsets, STEP) {
            Ok(_) => Access::Granted,
            Err(_) if self.has_heard(RDKafkaErrorCode::GroupAuthorizationFailed) => Access::Denied,
            Err(error) => of_error(&error),
        }
    }

    /// Whether transactions can be made under the ids of the group's workers. The id is one that no worker has.
    pub fn transact(&self) -> Access {
        let id = client::transactional_id_of_check(&self.settings);
        let made = client::transactional_producer(&self.settings, &id)
            .and_then(|config| config.create_with_context(Heard::default()).map_err(Error::client));
        let producer: ThreadedProducer<Heard> = match made {
            Ok(producer) => producer,
            Err(error) => return Access::Unclear(error.to_string()),
        };
        match producer.init_transactions(STEP) {
            Ok(()) => Access::Granted,
            Err(error) => of_error(&error),
        }
    }
}

pub(super) fn no_answer(partitions: &[i32]) -> Access {
    let partitions: Vec<String> = partitions.iter().map(i32::to_string).collect();
    Access::Unclear(format!("no answer within {} s for partition {}", STEP.as_secs(), partitions.join(", ")))
}

/// What is refused for its topic or partition was not refused for its group.
fn of_commit(error: &KafkaError) -> Access {
    use RDKafkaErrorCode::{TopicAuthorizationFailed, UnknownPartition, UnknownTopicOrPartition};
    match error.rdkafka_error_code() {
        Some(UnknownTopicOrPartition | UnknownPartition | TopicAuthorizationFailed) => Access::Granted,
        _ => of_error(error),
    }
}

pub(super) fn of_error(error: &KafkaError) -> Access {
    error.rdkafka_error_code().map_or_else(|| Access::Unclear(error.to_string()), access)
}

pub(super) fn access(code: RDKafkaErrorCode) -> Access {
    use RDKafkaErrorCode::{
        ClusterAuthorizationFailed, GroupAuthorizationFailed, TopicAuthorizationFailed,
        TransactionalIdAuthorizationFailed,
    };
    match code {
        ClusterAuthorizationFailed
        | GroupAuthorizationFailed
        | TopicAuthorizationFailed
        | TransactionalIdAuthorizationFailed => Access::Denied,
        code => Access::Unclear(code.to_string()),
    }
}
