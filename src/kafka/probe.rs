//! What brokers say to a client that changes nothing: `sentistream check` asks by it. It joins no group, commits no offset and
//! publishes no record; every question has a deadline ([`STEP`]).
//! [`Access`] is how it finds out what the user may do.

mod access;
mod heard;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::MetadataPartition;
use rdkafka::{Offset, TopicPartitionList};
use tokio::runtime::Handle;

pub use self::access::Access;
use self::access::{access, of_error};
pub use self::heard::Api;
use self::heard::Heard;
use super::Settings;
use super::client::{self, Error};

/// How long the brokers may take to answer a question.
pub const STEP: Duration = Duration::from_secs(10);
/// How long what librdkafka has to tell is listened to.
const LISTENING: Duration = Duration::from_millis(20);
const TICK: Duration = Duration::from_millis(100);
/// One attempt at the first answer; what went wrong meanwhile is heard after it.
const ATTEMPT: Duration = Duration::from_secs(1);

/// Why no broker answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreached {
    /// Somebody is there and does not let this client in: a sentence that ends with the fix.
    Refused(String),
    /// Nobody answers.
    Silent(String),
}

/// A topic as brokers tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Name.
    pub name: String,
    /// In their order.
    pub partitions: Vec<Partition>,
}

/// A partition of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Number.
    pub id: i32,
    /// Whether it has a leader.
    pub is_led: bool,
    /// Its copies.
    pub replicas: usize,
    /// Those that have everything.
    pub in_sync: usize,
}

/// What was found where a topic was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// It is there.
    Found(Topic),
    /// It is not.
    Missing,
    /// The user may not know.
    Denied,
    /// Neither was said.
    Unclear(String),
}

/// A topic's settings, by key.
pub type Configs = BTreeMap<String, String>;

/// A topic to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct New {
    /// Name.
    pub name: String,
    /// Partitions.
    pub partitions: i32,
    /// Copies.
    pub replication: i32,
    /// Its settings.
    pub configs: Vec<(&'static str, String)>,
}

/// Asks brokers.
pub struct Probe {
    settings: Settings,
    heard: Heard,
    consumer: Arc<BaseConsumer<Heard>>,
    admin: AdminClient<Heard>,
}

impl Probe {
    /// Makes the clients; no broker is asked yet.
    ///
    /// # Errors
    /// Options that make no client.
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        let heard = Heard::default();
        let mut config = client::reading(settings, client::LEAST_FETCH)?;
        // What a broker can do is told nowhere else than in this log.
        config.set("debug", "feature").set_log_level(RDKafkaLogLevel::Debug);
        let consumer = config.create_with_context(heard.clone()).map_err(Error::client)?;
        let admin = client::producer(settings)?.create_with_context(heard.clone()).map_err(Error::client)?;
        Ok(Self { settings: settings.clone(), heard, consumer: Arc::new(consumer), admin })
    }

    /// Waits for the first answer; the addresses of all brokers.
    ///
    /// # Errors
    /// Why there is none, as soon as waiting is of no use.
    pub fn reach(&self) -> Result<Vec<String>, Unreached> {
        let started = Instant::now();
        loop {
            let answer = self.consumer.fetch_metadata(Some(&self.settings.input_topic), ATTEMPT);
            self.serve();
            let error = match answer {
                Ok(metadata) => {
                    let address = |host: &str, port| format!("{host}:{port}");
                    return Ok(metadata.brokers().iter().map(|broker| address(broker.host(), broker.port())).collect());
                }
                Err(error) => error,
            };
            if started.elapsed() >= STEP || self.heard.is_final(started.elapsed()) {
                return Err(self.heard.unreached(&self.settings, &error));
            }
        }
    }

    /// Whether the brokers know a request in this version; `None` where that was not heard.
    pub fn knows(&self, api: Api) -> Option<bool> {
        self.serve();
        self.heard.knows(api)
    }

    /// Looks for a topic, which does not make it.
    pub fn topic(&self, name: &str) -> Look {
        let metadata = match self.consumer.fetch_metadata(Some(name), STEP) {
            Ok(metadata) => metadata,
            Err(error) => return Look::Unclear(error.to_string()),
        };
        let Some(found) = metadata.topics().iter().find(|topic| topic.name() == name) else { return Look::Missing };
        match found.error().map(RDKafkaErrorCode::from) {
            None => {
                let mut partitions: Vec<Partition> = found.partitions().iter().map(partition).collect();
                partitions.sort_by_key(|partition| partition.id);
                Look::Found(Topic { name: name.to_owned(), partitions })
            }
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => Look::Missing,
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => Look::Denied,
            Some(code) => Look::Unclear(code.to_string()),
        }
    }

    /// The settings of a topic.
    ///
    /// # Errors
    /// That the user may not see them, or no answer.
    pub fn configs(&self, topic: &str) -> Result<Configs, Access> {
        let resource = ResourceSpecifier::Topic(topic);
        let described = Handle::current().block_on(self.admin.describe_configs([&resource], &deadlines()));
        match described.map(|all| all.into_iter().next()) {
            // The crate drops what the broker says against it. Every topic has settings.
            Ok(Some(Ok(resource))) if resource.entries.is_empty() => Err(Access::Denied),
            Ok(Some(Ok(resource))) => {
                Ok(resource.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect())
            }
            Ok(Some(Err(code))) => Err(access(code)),
            Ok(None) => Err(Access::Unclear("no answer".into())),
            Err(error) => Err(of_error(&error)),
        }
    }

    /// Makes a topic and waits until the brokers tell of it.
    ///
    /// # Errors
    /// What the brokers say against it.
    pub fn create(&self, new: &New) -> Result<(), Access> {
        let topic = NewTopic::new(&new.name, new.partitions, TopicReplication::Fixed(new.replication));
        let topic = new.configs.iter().fold(topic, |topic, (key, value)| topic.set(key, value));
        let made = Handle::current().block_on(self.admin.create_topics([&topic], &deadlines()));
        match made.map(|all| all.into_iter().next()) {
            // Somebody else has made it in this moment.
            Ok(Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists)))) => {}
            Ok(Some(Err((_, code)))) => return Err(access(code)),
            Err(error) => return Err(of_error(&error)),
            Ok(_) => {}
        }
        let deadline = Instant::now() + STEP;
        while Instant::now() < deadline {
            if let Look::Found(topic) = self.topic(&new.name)
                && topic.partitions.iter().all(|partition| partition.is_led)
            {
                return Ok(());
            }
            thread::sleep(TICK);
        }
        Err(Access::Unclear(format!("made, and not there within {} s", STEP.as_secs())))
    }

    /// Offsets that a topic gained in the last so many hours; `None` where that is not told.
    pub fn gained(&self, topic: &Topic, since: Duration) -> Option<u64> {
        let then = jiff::Timestamp::now().as_millisecond().saturating_sub(i64::try_from(since.as_millis()).ok()?);
        let (mut starts, mut ends) = (TopicPartitionList::new(), TopicPartitionList::new());
        for partition in &topic.partitions {
            starts.add_partition_offset(&topic.name, partition.id, Offset::Offset(then)).ok()?;
            ends.add_partition_offset(&topic.name, partition.id, Offset::End).ok()?;
        }
        let starts = self.consumer.offsets_for_times(starts, STEP).ok()?;
        let ends = self.consumer.offsets_for_times(ends, STEP).ok()?;
        let gained = ends.elements().into_iter().map(|end| {
            let start = starts.find_partition(&topic.name, end.partition())?.offset();
            match (start, end.offset()) {
                (Offset::Offset(start), Offset::Offset(end)) => u64::try_from(end - start).ok(),
                // Nothing that young, or nothing at all.
                _ => Some(0),
            }
        });
        gained.sum()
    }

    /// Takes in what librdkafka has to tell.
    fn serve(&self) {
        // A poll that waits takes in all that is there; one that does not, one piece.
        while self.consumer.poll(LISTENING).is_some() {}
    }

    fn has_heard(&self, code: RDKafkaErrorCode) -> bool {
        self.serve();
        self.heard.has(code)
    }
}

fn deadlines() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(STEP)).request_timeout(Some(STEP))
}

fn partition(partition: &MetadataPartition) -> Partition {
    Partition {
        id: partition.id(),
        is_led: partition.leader() >= 0,
        replicas: partition.replicas().len(),
        in_sync: partition.isr().len(),
    }
}
