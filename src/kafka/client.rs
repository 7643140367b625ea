//! librdkafka clients as delivery needs them: what is set here cannot be set by users (see `PROTECTED`).

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataPartition;

use super::{Delivery, GroupProtocol, Settings};
use crate::budget::Limits;

/// How long a broker may take to answer the first question.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Room beside a record for the headers of a dead letter and the framing of a request.
const FRAMING_BYTES: usize = 64 * 1024;
/// What is fetched ahead where a topic is read from end to end.
const READER_BYTES: usize = 16 << 20;
/// A broker sends one batch at least, whatever its size; librdkafka takes no smaller limit.
pub(super) const LEAST_FETCH: usize = 1000;
/// librdkafka takes no more for any of its sizes.
const MOST_BYTES: usize = 1_000_000_000;

/// What can go wrong with a broker.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// librdkafka refused an option or could not make a client.
    #[error("cannot make a Kafka client: {0}; look at kafka.options, kafka.consumer and kafka.producer")]
    Client(String),
    /// No broker answered.
    #[error("no answer from Kafka at {brokers} within {} s: {source}; is kafka.brokers right, and is the broker up?", CONNECT_TIMEOUT.as_secs())]
    NoAnswer {
        /// `kafka.brokers`.
        brokers: String,
        /// What librdkafka says.
        source: KafkaError,
    },
    /// A topic is missing.
    #[error(
        "topic {topic} cannot be used at {brokers}: {why}; create it, for instance with: kafka-topics.sh --bootstrap-server {brokers} --create --topic {topic} --partitions 6"
    )]
    Topic {
        /// The topic.
        topic: String,
        /// `kafka.brokers`.
        brokers: String,
        /// What the broker says.
        why: String,
    },
    /// The broker does not answer the first question of a transaction.
    #[error(
        "no transaction can be started at {brokers}: {source}; is the broker's transaction log in order (transaction.state.log.replication.factor is at most the number of brokers)? kafka.delivery at_least_once needs no transactions"
    )]
    NoTransactions {
        /// `kafka.brokers`.
        brokers: String,
        /// What librdkafka says.
        source: KafkaError,
    },
    /// The broker knows or permits no transactions.
    #[error(
        "the broker at {brokers} takes no transactions of {transactional_id}: {source}; kafka.delivery exactly_once needs Kafka 2.5 or newer and, where there are ACLs, Write and Describe on that transactional id; set kafka.delivery to at_least_once otherwise"
    )]
    Transactions {
        /// `kafka.brokers`.
        brokers: String,
        /// Made of `kafka.group` and `kafka.instance`.
        transactional_id: String,
        /// What librdkafka says.
        source: Box<KafkaError>,
    },
    /// Another worker has the name of this one.
    #[error(
        "another worker of the group runs under kafka.instance {0} and has taken its place; give every worker a name of its own. Where none does, the broker did not answer for longer than session.timeout.ms and took this worker's return for another's: start it again"
    )]
    Replaced(String),
    /// The client cannot go on (fenced, not authorised …).
    #[error("Kafka client failed: {0}")]
    Fatal(String),
    /// A record could not be published, and trying again will not help.
    #[error("cannot publish to {topic}: {source}")]
    Publish {
        /// Where to.
        topic: String,
        /// What librdkafka says.
        source: KafkaError,
    },
}

impl Error {
    /// Whether trying again does not help, since somebody has to mend the broker's topics or permissions.
    pub(super) fn is_denied(&self) -> bool {
        let Self::Transactions { source, .. } = self else { return false };
        source.rdkafka_error_code().is_some_and(super::transaction::is_denied)
    }

    /// A client that cannot be made. The value of a refused option may be a password: it is not told.
    pub(super) fn client(error: KafkaError) -> Self {
        Self::Client(match error {
            KafkaError::ClientConfig(_, problem, key, _) => format!("option {key}: {problem}"),
            other => other.to_string(),
        })
    }
}

fn common(settings: &Settings) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("client.id", "sentistream");
    // A broker that is back is found within a second; by default it may take ten.
    config.set("reconnect.backoff.max.ms", "1000");
    for (key, value) in &settings.options {
        config.set(key, value);
    }
    config.set("bootstrap.servers", &settings.brokers);
    config.set_log_level(RDKafkaLogLevel::Warning);
    config
}

fn size(bytes: usize) -> String {
    bytes.min(MOST_BYTES).to_string()
}

/// The consumer of a worker: cooperative, reads from the earliest record on, commits nothing by itself, and prefetches no
/// more than the pipeline may hold.
pub fn consumer<C: ConsumerContext + 'static>(
    settings: &Settings,
    limits: Limits,
    context: C,
) -> Result<BaseConsumer<C>, Error> {
    let mut config = common(settings);
    match settings.group_protocol {
        GroupProtocol::Classic => config.set("partition.assignment.strategy", "cooperative-sticky"),
        GroupProtocol::Consumer => config.set("group.protocol", settings.group_protocol.to_string()),
    };
    if let Some(instance) = &settings.instance {
        config.set("group.instance.id", instance);
    }
    if settings.delivery == Delivery::ExactlyOnce {
        // What other transactions have not committed is not read, and their offsets are waited for.
        config.set("isolation.level", "read_committed");
    }
    // One fetch may fill the queue, and by default the next is asked for a second after that, whatever was taken out
    // meanwhile: with images of 0.7 MB a worker waited a quarter of its time.
    if !settings.options.contains_key("fetch.queue.backoff.ms") {
        config.set("fetch.queue.backoff.ms", "50");
    }
    for (key, value) in &settings.consumer {
        config.set(key, value);
    }
    // Half of the prefetch waits, half is under way. A fetch cuts its last batch off, which comes again with the next: few
    // large fetches waste little, and one partition may have the whole of one.
    let fetch = size((limits.record_bytes + FRAMING_BYTES).max(limits.bytes / 2));
    config
        .set("group.id", &settings.group)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("queued.max.messages.kbytes", (limits.bytes / 2 / 1024).clamp(64, 2_097_151).to_string())
        .set("queued.min.messages", limits.records.clamp(1, 100_000).to_string())
        .set("message.max.bytes", &fetch)
        .set("fetch.message.max.bytes", &fetch)
        .set("fetch.max.bytes", &fetch)
        // A record that the broker took comes whole, however small the fetch: cut off here, it would stall its partition.
        .set("receive.message.max.bytes", i32::MAX.to_string())
        .set("statistics.interval.ms", "2000");
    config.create_with_context(context).map_err(Error::client)
}

/// A consumer of one topic from end to end, outside any group; reads only what was committed.
pub fn reader(settings: &Settings) -> Result<BaseConsumer<Logged>, Error> {
    reading(settings, READER_BYTES).create_with_context(Logged).map_err(Error::client)
}

/// A consumer of single records here and there: it fetches hardly more than it is asked for.
pub fn peeker(settings: &Settings) -> Result<BaseConsumer<Logged>, Error> {
    let mut config = reading(settings, LEAST_FETCH);
    config.set("queued.min.messages", "1").set("max.partition.fetch.bytes", LEAST_FETCH.to_string());
    config.create_with_context(Logged).map_err(Error::client)
}

/// Of a consumer outside any group.
pub(super) fn reading(settings: &Settings, bytes: usize) -> ClientConfig {
    let mut config = common(settings);
    for (key, value) in &settings.consumer {
        config.set(key, value);
    }
    config
        // It joins no group: librdkafka wants a name, and this is one that its user may read with.
        .set("group.id", &settings.group)
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true")
        .set("queued.max.messages.kbytes", (bytes / 1024).max(1).to_string())
        .set("fetch.max.bytes", bytes.to_string())
        .set("message.max.bytes", bytes.to_string())
        .set("receive.message.max.bytes", i32::MAX.to_string());
    config
}

/// Settings of the producer of results and dead letters: idempotent, and retrying until delivered. Results are placed as
/// Java producers place them, so that a key finds the same partition number.
pub fn producer(settings: &Settings) -> ClientConfig {
    let mut config = common(settings);
    config.set("partitioner", "murmur2_random").set("compression.type", "lz4");
    for (key, value) in &settings.producer {
        config.set(key, value);
    }
    config
        .set("enable.idempotence", "true")
        .set("message.timeout.ms", "0")
        // The broker decides what is too large, not this client: a dead letter may be any record the broker once took.
        .set("message.max.bytes", MOST_BYTES.to_string());
    config
}

/// Settings of the producer of transactions. A message that is not delivered within its transaction fails with it.
pub fn transactional_producer(settings: &Settings, transactional_id: &str) -> ClientConfig {
    let mut config = producer(settings);
    // Validated with the settings.
    let timeout = settings.transaction_timeout().unwrap_or(Duration::from_secs(10)).as_millis().to_string();
    config
        .set("transactional.id", transactional_id)
        .set("transaction.timeout.ms", &timeout)
        .set("message.timeout.ms", &timeout);
    config
}

/// The group and the instance; without an instance a name that no other worker has, and that none has again.
pub fn transactional_id(settings: &Settings) -> String {
    let instance = settings.instance.clone().unwrap_or_else(|| format!("{:016x}", RandomState::new().hash_one(())));
    format!("{}-{instance}", settings.group)
}

/// An id among those of the group's workers that none of them has: an instance has no tilde in its name.
pub(super) fn transactional_id_of_check(settings: &Settings) -> String {
    format!("{}-~check", settings.group)
}

/// Asks the broker for the topics, so that a wrong address or a missing topic is told at start and not by silence.
pub fn check_topics<C: ConsumerContext>(consumer: &BaseConsumer<C>, settings: &Settings) -> Result<(), Error> {
    for topic in [&settings.input_topic, &settings.output_topic, &settings.dead_letter_topic] {
        partitions(consumer, settings, topic)?;
    }
    Ok(())
}

/// The partitions of a topic; an error that says what to do where it cannot be used.
pub fn partitions<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    settings: &Settings,
    topic: &str,
) -> Result<Vec<i32>, Error> {
    let no_answer = |source| Error::NoAnswer { brokers: settings.brokers.clone(), source };
    let metadata = consumer.fetch_metadata(Some(topic), CONNECT_TIMEOUT).map_err(no_answer)?;
    let why = match metadata.topics().iter().find(|found| found.name() == topic) {
        None => "not found".to_owned(),
        Some(found) => match found.error() {
            None => return Ok(found.partitions().iter().map(MetadataPartition::id).collect()),
            Some(error) => RDKafkaErrorCode::from(error).to_string(),
        },
    };
    Err(Error::Topic { topic: topic.to_owned(), brokers: settings.brokers.clone(), why })
}

/// librdkafka's own log lines and errors, in ours.
#[derive(Debug, Default, Clone, Copy)]
pub struct Logged;

impl ConsumerContext for Logged {}

impl ClientContext for Logged {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The end of a partition is no fault, though librdkafka tells it as one.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::PartitionEOF) {
            tracing::warn!(%error, reason, "Kafka client");
        }
    }
}

/// One line of librdkafka's log.
pub fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            tracing::error!(target: "librdkafka", facility, "{message}");
        }
        RDKafkaLogLevel::Warning => tracing::warn!(target: "librdkafka", facility, "{message}"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::info!(target: "librdkafka", facility, "{message}"),
        RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, "{message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn librdkafka_takes_every_limit_that_the_settings_take() {
        let kafka = crate::settings::load(None).expect("the defaults are valid").kafka;
        for (record_bytes, bytes) in [(1024, 1024), (4 << 20, 64 << 20), (1 << 30, 1 << 32), (1 << 40, 1 << 40)] {
            let limits = Limits { records: 1_000_000, bytes, record_bytes };
            consumer(&kafka, limits, Logged).expect("a consumer");
        }
    }
}
