//! Topics of a command's own (`sentistream bench`): made, counted and deleted.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use super::Settings;
use super::client::{self, Error, Logged};

/// How long the broker may take to make topics, and to tell their ends.
const TIMEOUT: Duration = Duration::from_secs(30);
/// As many copies as the broker makes by default.
const DEFAULT_REPLICATION: TopicReplication<'static> = TopicReplication::Fixed(-1);

/// A topic: its name and how many partitions it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Name.
    pub name: String,
    /// Partitions.
    pub partitions: i32,
}

/// Makes, counts and deletes topics.
pub struct Topics {
    admin: AdminClient<Logged>,
    consumer: BaseConsumer<Logged>,
    brokers: String,
}

impl Topics {
    /// On the brokers of `settings`.
    ///
    /// # Errors
    /// Options that make no client.
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        let admin = client::producer(settings)?.create_with_context(Logged::new(settings)).map_err(Error::client)?;
        Ok(Self { admin, consumer: client::reader(settings)?, brokers: settings.brokers.clone() })
    }

    /// Makes a topic with some settings.
    ///
    /// # Errors
    /// No broker, or one that makes no such topic.
    pub async fn create(&self, topic: &Topic, options: &[(&str, &str)]) -> Result<(), Error> {
        let new = NewTopic::new(&topic.name, topic.partitions, DEFAULT_REPLICATION);
        let new = options.iter().fold(new, |new, (key, value)| new.set(key, value));
        let made = self.admin.create_topics([&new], &timeouts()).await.map_err(|source| self.no_answer(source))?;
        match made.into_iter().next() {
            Some(Err((_, why))) => Err(self.unusable(&topic.name, &why.to_string())),
            _ => self.wait_for(topic).await,
        }
    }

    /// Waits until the broker tells of every partition: right after a topic was made it may not know it yet.
    async fn wait_for(&self, topic: &Topic) -> Result<(), Error> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            // Asked for outright: the client remembers for half a minute that it did not find a topic.
            let known = self.consumer.fetch_metadata(Some(&topic.name), TIMEOUT);
            match known.map_err(|source| self.no_answer(source)).and_then(|_| self.ends(&[topic])) {
                Err(_) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(50)).await,
                ended => return ended.map(drop),
            }
        }
    }

    /// Deletes topics; those that are not there are no fault.
    ///
    /// # Errors
    /// No broker.
    pub async fn delete(&self, names: &[String]) -> Result<(), Error> {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.admin.delete_topics(&names, &timeouts()).await.map_err(|source| self.no_answer(source))?;
        Ok(())
    }

    /// Deletes consumer groups without members; those that are not there are no fault.
    ///
    /// # Errors
    /// No broker.
    pub async fn delete_groups(&self, names: &[String]) -> Result<(), Error> {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.admin.delete_groups(&names, &timeouts()).await.map_err(|source| self.no_answer(source))?;
        Ok(())
    }

    /// Offsets used so far, summed over all partitions of some topics: one question for all of them. Without transactions and
    /// compaction these are records.
    ///
    /// # Errors
    /// No broker, or a topic that is not there.
    pub fn ends(&self, topics: &[&Topic]) -> Result<u64, Error> {
        let mut ends = TopicPartitionList::new();
        for topic in topics {
            for partition in 0..topic.partitions {
                ends.add_partition_offset(&topic.name, partition, Offset::End).map_err(Error::client)?;
            }
        }
        let ends = self.consumer.offsets_for_times(ends, TIMEOUT).map_err(|source| self.no_answer(source))?;
        let mut sum = 0;
        for end in ends.elements() {
            end.error().map_err(|why| self.unusable(end.topic(), &why.to_string()))?;
            // Of a partition without records the broker tells none.
            if let Offset::Offset(offset) = end.offset() {
                sum += u64::try_from(offset).unwrap_or(0);
            }
        }
        Ok(sum)
    }

    fn no_answer(&self, source: rdkafka::error::KafkaError) -> Error {
        self.consumer.context().no_answer(source)
    }

    fn unusable(&self, topic: &str, why: &str) -> Error {
        Error::Topic { topic: topic.to_owned(), brokers: self.brokers.clone(), why: why.to_owned() }
    }
}

fn timeouts() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(TIMEOUT)).request_timeout(Some(TIMEOUT))
}
