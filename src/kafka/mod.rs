//! Everything that speaks to Kafka, and the only place that names `rdkafka`.
//!
//! [`source`] pulls records as a member of a consumer group ([`group`] answers its rebalances), [`publish`] publishes
//! outcomes and waits for their delivery, [`client`] makes the clients, [`embedded`] is a broker inside this process.

pub mod client;
pub mod embedded;
pub mod feed;
pub mod group;
pub mod publish;
pub mod source;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

/// Options that delivery depends on or that are derived from other settings, and what to do instead of setting them.
const PROTECTED: &[(&str, &str)] = &[
    ("bootstrap.servers", "set kafka.brokers"),
    ("metadata.broker.list", "set kafka.brokers"),
    ("group.id", "set kafka.group"),
    ("group.protocol", "it is not supported yet"),
    ("auto.offset.reset", "it is always `earliest`: a new group reads the whole topic"),
    ("enable.auto.commit", "offsets are committed when outcomes are acknowledged"),
    ("auto.commit.enable", "offsets are committed when outcomes are acknowledged"),
    ("auto.commit.interval.ms", "set kafka.commit_interval_ms"),
    ("enable.auto.offset.store", "offsets are committed when outcomes are acknowledged"),
    ("enable.partition.eof", "nothing needs it"),
    ("queued.max.messages.kbytes", "it is derived from limits.in_flight_bytes"),
    ("queued.min.messages", "it is derived from limits.in_flight_records"),
    ("fetch.max.bytes", "it is derived from limits.in_flight_bytes"),
    ("max.partition.fetch.bytes", "it is derived from limits.record_bytes"),
    ("fetch.message.max.bytes", "it is derived from limits.record_bytes"),
    ("message.max.bytes", "it is derived from limits.record_bytes"),
    ("receive.message.max.bytes", "a record that the broker took must come through"),
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
    ("transactional.id", "it is not supported yet"),
];

/// The broker, the group and the topics.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `host:port,host:port`.
    pub brokers: String,
    /// Consumer group; workers of one group share the input topic.
    pub group: String,
    /// Topic the posts come from.
    pub input_topic: String,
    /// Topic the results go to.
    pub output_topic: String,
    /// Topic of the dead letters.
    pub dead_letter_topic: String,
    /// How often settled positions are committed.
    pub commit_interval_ms: u64,
    /// How long a revoked partition's records in flight may take to finish before they are dropped.
    pub revoke_deadline_seconds: u64,
    /// librdkafka options of both clients.
    pub options: BTreeMap<String, String>,
    /// librdkafka options of the consumer alone.
    pub consumer: BTreeMap<String, String>,
    /// librdkafka options of the producer alone.
    pub producer: BTreeMap<String, String>,
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
        self.validate_options()?;
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
        for (section, options) in
            [("options", &self.options), ("consumer", &self.consumer), ("producer", &self.producer)]
        {
            for key in options.keys() {
                if let Some((_, instead)) = PROTECTED.iter().find(|(protected, _)| protected == key) {
                    return Err(format!("kafka.{section}: {key} may not be set, delivery depends on it; {instead}"));
                }
            }
        }
        Ok(())
    }

    /// Time for a revoked partition's records to finish.
    #[must_use]
    pub const fn revoke_deadline(&self) -> Duration {
        Duration::from_secs(self.revoke_deadline_seconds)
    }

    /// How long the group lets a worker go without polling (librdkafka's default: 300 s).
    fn max_poll_interval(&self) -> Result<Duration, String> {
        let set = self.consumer.get("max.poll.interval.ms").or_else(|| self.options.get("max.poll.interval.ms"));
        let milliseconds = set.map_or("300000", String::as_str);
        milliseconds
            .parse()
            .map(Duration::from_millis)
            .map_err(|_| format!("kafka.consumer: max.poll.interval.ms is {milliseconds}; give milliseconds"))
    }
}
