//! The section `kafka` of the settings. What librdkafka would refuse, or take and break delivery with, is refused here
//! first, by its key and with the reason.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use serde::Deserialize;

use super::security::Security;

/// Options that delivery depends on or that are derived from other settings, and what to do instead of setting them.
const PROTECTED: &[(&str, &str)] = &[
    ("bootstrap.servers", "set kafka.brokers"),
    ("metadata.broker.list", "set kafka.brokers"),
    ("group.id", "set kafka.group"),
    ("group.instance.id", "set kafka.instance"),
    ("group.protocol", "set kafka.group_protocol"),
    ("auto.offset.reset", "it is always `earliest`: a new group reads the whole topic"),
    ("enable.auto.commit", "offsets are committed when outcomes are acknowledged"),
    ("auto.commit.enable", "offsets are committed when outcomes are acknowledged"),
    ("auto.commit.interval.ms", "set kafka.commit_interval_ms"),
    ("enable.auto.offset.store", "offsets are committed when outcomes are acknowledged"),
    ("enable.partition.eof", "a backfill sets it"),
    ("queued.max.messages.kbytes", "it is derived from limits.in_flight_bytes"),
    ("queued.min.messages", "it is derived from limits.in_flight_records"),
    ("fetch.max.bytes", "it is derived from limits.in_flight_bytes"),
    ("max.partition.fetch.bytes", "it is derived from limits.in_flight_bytes"),
    ("fetch.message.max.bytes", "it is derived from limits.in_flight_bytes"),
    ("message.max.bytes", "it is derived from limits.record_bytes"),
    ("receive.message.max.bytes", "a record that the broker took must come through"),
    ("allow.auto.create.topics", "topics are made on purpose, never by asking for them"),
    ("statistics.interval.ms", "the lag is read off the statistics"),
    ("acks", "the producer is idempotent"),
    ("request.required.acks", "the producer is idempotent"),
    ("enable.idempotence", "the producer is idempotent"),
    ("enable.gapless.guarantee", "the producer is idempotent"),
    ("retries", "the producer is idempotent"),
    ("message.send.max.retries", "the producer is idempotent"),
    ("max.in.flight", "the producer is idempotent"),
    ("max.in.flight.requests.per.connection", "the producer is idempotent"),
    ("message.timeout.ms", "an outcome is retried until it is delivered"),
    ("delivery.timeout.ms", "an outcome is retried until it is delivered"),
    ("transactional.id", "it is made of kafka.group and kafka.instance"),
];

/// What the broker decides under the consumer protocol (KIP-848), by its own names for it.
const DECIDED_BY_BROKER: &[(&str, &str)] = &[
    ("session.timeout.ms", "the broker's group.consumer.session.timeout.ms"),
    ("heartbeat.interval.ms", "the broker's group.consumer.heartbeat.interval.ms"),
    ("partition.assignment.strategy", "group.remote.assignor"),
    ("group.protocol.type", "nothing: leave it out"),
];

/// The longest name of an instance: with the group before it, a transactional id.
const MOST_INSTANCE_CHARS: usize = 128;

/// What is promised about outcomes (`docs/guarantees.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Every record has an outcome; some may come twice after a crash, with the same `result_id`.
    AtLeastOnce,
    /// Outcomes and offsets in one Kafka transaction: who reads with `read_committed` sees every outcome once.
    ExactlyOnce,
}

/// How a worker is a member of its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupProtocol {
    /// The members agree among themselves; any broker.
    Classic,
    /// The broker assigns (KIP-848); Kafka 4.0 or newer.
    Consumer,
}

impl fmt::Display for GroupProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Classic => "classic",
            Self::Consumer => "consumer",
        })
    }
}

/// librdkafka options. Some are secrets: none is told.
#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct Options(BTreeMap<String, String>);

impl Deref for Options {
    type Target = BTreeMap<String, String>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Options {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.keys()).finish()
    }
}

/// The broker, the group and the topics.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `host:port,host:port`.
    pub brokers: String,
    /// How they are reached, where they do not let everybody in.
    pub security: Security,
    /// Consumer group; workers of one group share the input topic.
    pub group: String,
    /// Topic the posts come from.
    pub input_topic: String,
    /// Topic the results go to.
    pub output_topic: String,
    /// Topic of the dead letters.
    pub dead_letter_topic: String,
    /// What is promised about outcomes.
    pub delivery: Delivery,
    /// Name of this worker within its group: static membership, and its transactional id.
    pub instance: Option<String>,
    /// How the worker is a member of its group.
    pub group_protocol: GroupProtocol,
    /// How often settled positions are committed; how long a transaction gathers outcomes at most.
    pub commit_interval_ms: u64,
    /// Most records of a partition between its committed position and its newest record pulled.
    pub uncommitted_records: usize,
    /// How long a revoked partition's records in flight may take to finish before they are dropped.
    pub revoke_deadline_seconds: u64,
    /// librdkafka options of both clients.
    pub options: Options,
    /// librdkafka options of the consumer alone.
    pub consumer: Options,
    /// librdkafka options of the producer alone.
    pub producer: Options,
}

impl Settings {
    /// # Errors
    /// What is wrong, with the key and the fix.
    pub fn validate(&self) -> Result<(), String> {
        let named = [
            ("kafka.brokers", &self.brokers),
            ("kafka.group", &self.group),
            ("kafka.input_topic", &self.input_topic),
            ("kafka.output_topic", &self.output_topic),
            ("kafka.dead_letter_topic", &self.dead_letter_topic),
        ];
        if let Some((key, _)) = named.iter().find(|(_, value)| value.trim().is_empty()) {
            return Err(format!("{key} is empty; give it a value"));
        }
        let topics = [&self.input_topic, &self.output_topic, &self.dead_letter_topic];
        if topics[0] == topics[1] || topics[0] == topics[2] || topics[1] == topics[2] {
            return Err("kafka.input_topic, kafka.output_topic and kafka.dead_letter_topic must be three topics".into());
        }
        if !(1..=3_600_000).contains(&self.commit_interval_ms) {
            return Err(format!(
                "kafka.commit_interval_ms is {}; set it between 1 and 3600000",
                self.commit_interval_ms
            ));
        }
        if !(1..=10_000_000).contains(&self.uncommitted_records) {
            return Err(format!(
                "kafka.uncommitted_records is {}; set it between 1 and 10000000",
                self.uncommitted_records
            ));
        }
        self.validate_instance()?;
        self.validate_options()?;
        self.validate_group_protocol()?;
        self.validate_delivery()?;
        let deadline = self.revoke_deadline();
        if deadline > self.max_poll_interval()? / 2 {
            return Err(format!(
                "kafka.revoke_deadline_seconds is {}; set it to at most half of max.poll.interval.ms ({} s)",
                deadline.as_secs(),
                self.max_poll_interval()?.as_secs()
            ));
        }
        Ok(())
    }

    fn validate_options(&self) -> Result<(), String> {
        let sections = [("options", &self.options), ("consumer", &self.consumer), ("producer", &self.producer)];
        self.security.validate(&sections)?;
        for (section, options) in sections {
            for key in options.keys() {
                if let Some((_, instead)) = PROTECTED.iter().find(|(protected, _)| protected == key) {
                    return Err(format!("kafka.{section}: {key} may not be set, delivery depends on it; {instead}"));
                }
            }
        }
        Ok(())
    }

    fn validate_instance(&self) -> Result<(), String> {
        let Some(instance) = &self.instance else { return Ok(()) };
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if (1..=MOST_INSTANCE_CHARS).contains(&instance.len()) && instance.bytes().all(legal) {
            return Ok(());
        }
        Err(format!(
            "kafka.instance is {instance:?}; give 1 to {MOST_INSTANCE_CHARS} letters, digits, dots, underscores or hyphens, or null"
        ))
    }

    fn validate_group_protocol(&self) -> Result<(), String> {
        match self.group_protocol {
            GroupProtocol::Consumer => {
                match DECIDED_BY_BROKER.iter().find(|(key, _)| self.consumer_option(key).is_some()) {
                    None => Ok(()),
                    Some((key, instead)) => Err(format!(
                        "kafka.consumer: {key} cannot be set with kafka.group_protocol consumer, the broker decides it; set {instead}"
                    )),
                }
            }
            GroupProtocol::Classic => self.validate_classic(),
        }
    }

    fn validate_classic(&self) -> Result<(), String> {
        let strategies = self.consumer_option("partition.assignment.strategy").unwrap_or("cooperative-sticky");
        let cooperative = strategies.split(',').filter(|name| name.trim() == "cooperative-sticky").count();
        if cooperative > 0 && cooperative < strategies.split(',').count() {
            return Err(format!(
                "kafka.consumer: partition.assignment.strategy is {strategies}; cooperative-sticky cannot be mixed with others, since they take partitions away in different ways"
            ));
        }
        let session = self.milliseconds("session.timeout.ms", "45000")?;
        let poll = self.max_poll_interval()?;
        if poll < session {
            return Err(format!(
                "kafka.consumer: max.poll.interval.ms ({}) is below session.timeout.ms ({}); raise the one or lower the other",
                poll.as_millis(),
                session.as_millis()
            ));
        }
        Ok(())
    }

    fn validate_delivery(&self) -> Result<(), String> {
        if self.delivery == Delivery::AtLeastOnce {
            return Ok(());
        }
        if self.consumer_option("isolation.level").is_some_and(|level| level != "read_committed") {
            return Err("kafka.consumer: isolation.level must be read_committed with kafka.delivery exactly_once: a new owner of a partition waits for the offsets of open transactions by it".into());
        }
        let (transaction, socket) = (self.transaction_timeout()?, self.producer_option("socket.timeout.ms"));
        let socket = socket.and_then(|value| value.parse().ok()).map(Duration::from_millis);
        if socket.is_some_and(|socket| socket > transaction) {
            return Err(format!(
                "kafka.producer: socket.timeout.ms is above transaction.timeout.ms ({}); a request must fit into a transaction",
                transaction.as_millis()
            ));
        }
        if !(Duration::from_secs(1)..=Duration::from_mins(15)).contains(&transaction) {
            return Err(format!(
                "kafka.producer: transaction.timeout.ms is {}; set it between 1000 and 900000",
                transaction.as_millis()
            ));
        }
        Ok(())
    }

    fn consumer_option(&self, key: &str) -> Option<&str> {
        self.consumer.get(key).or_else(|| self.options.get(key)).map(String::as_str)
    }

    fn producer_option(&self, key: &str) -> Option<&str> {
        self.producer.get(key).or_else(|| self.options.get(key)).map(String::as_str)
    }

    /// Time for a revoked partition's records to finish.
    #[must_use]
    pub const fn revoke_deadline(&self) -> Duration {
        Duration::from_secs(self.revoke_deadline_seconds)
    }

    /// How long the group lets a worker go without polling (librdkafka's default: 300 s).
    fn max_poll_interval(&self) -> Result<Duration, String> {
        self.milliseconds("max.poll.interval.ms", "300000")
    }

    /// How long the source may wait for room without polling: the group stays far from missing it and a rebalance waits no
    /// longer, and what was fetched ahead is not thrown away for a batch that takes long.
    pub(super) fn patience(&self) -> Duration {
        // Validated with the settings.
        self.max_poll_interval().unwrap_or_default() / 30
    }

    /// How long a transaction may stay open: short, since readers wait behind the open transaction of a worker that died.
    pub(super) fn transaction_timeout(&self) -> Result<Duration, String> {
        let key = "transaction.timeout.ms";
        milliseconds("producer", key, self.producer_option(key).unwrap_or("10000"))
    }

    fn milliseconds(&self, key: &str, default: &str) -> Result<Duration, String> {
        milliseconds("consumer", key, self.consumer_option(key).unwrap_or(default))
    }
}

fn milliseconds(section: &str, key: &str, set: &str) -> Result<Duration, String> {
    let parsed = set.parse().map(Duration::from_millis);
    parsed.map_err(|_| format!("kafka.{section}: {key} is {set}; give milliseconds"))
}
