//! librdkafka clients as delivery needs them: what is set here cannot be set by users (see `PROTECTED`).

use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use rdkafka::client::{Client, ClientContext};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::{Metadata, MetadataPartition};

use super::security::acls::{Operation, Resource};
pub use super::told::{Logged, Telling};
use super::{Delivery, GroupProtocol, Settings};
use crate::budget::Limits;

/// How long a broker may take to answer the first question.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How soon it is looked at why there is no answer yet; then twice as long, and so on, since a question that is asked again is
/// asked from the beginning.
const FIRST_LOOK: Duration = Duration::from_millis(250);
/// How long what librdkafka has to tell is listened to.
const LISTENING: Duration = Duration::from_millis(20);
/// Room beside a record for the headers of a dead letter and the framing of a request.
const FRAMING_BYTES: usize = 64 * 1024;
/// What is fetched ahead where a topic is read from end to end.
pub(super) const READER_BYTES: usize = 16 << 20;
/// A broker sends one batch at least, whatever its size; librdkafka takes no smaller limit.
pub(super) const LEAST_FETCH: usize = 1000;
/// librdkafka takes no more for any of its sizes.
const MOST_BYTES: usize = 1_000_000_000;

/// What can go wrong with a broker.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// librdkafka refused an option or could not make a client.
    #[error("cannot make a Kafka client: {0}")]
    Client(String),
    /// What `kafka.security` names cannot be used.
    #[error("settings: {0}")]
    Security(String),
    /// No broker answered.
    #[error("no answer from Kafka at {brokers} within {} s: {source}; is kafka.brokers right, and is the broker up?", CONNECT_TIMEOUT.as_secs())]
    NoAnswer {
        /// `kafka.brokers`.
        brokers: String,
        /// What librdkafka says.
        source: KafkaError,
    },
    /// None can be reached.
    #[error("no answer from Kafka at {brokers} within {} s: {why}; is kafka.brokers right, and is the broker up?", CONNECT_TIMEOUT.as_secs())]
    Unreached {
        /// `kafka.brokers`.
        brokers: String,
        /// What librdkafka says.
        why: String,
    },
    /// This client is not let in.
    #[error("{0}")]
    Refused(String),
    /// It is, but may not do what it has to.
    #[error("{0}")]
    Denied(String),
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
        "the broker at {brokers} takes no transactions of {transactional_id}: {source}; kafka.delivery exactly_once needs Kafka 2.5 or newer; set kafka.delivery to at_least_once otherwise"
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
        match self {
            Self::Transactions { source, .. } => source.rdkafka_error_code().is_some_and(super::transaction::is_denied),
            Self::Denied(_) => true,
            _ => false,
        }
    }

    /// A client that cannot be made. The value of a refused option may be a password: it is not told.
    pub(super) fn client(error: KafkaError) -> Self {
        Self::Client(match error {
            KafkaError::ClientConfig(_, problem, key, _) => {
                format!("option {key}: {problem}; look at kafka.options, kafka.consumer and kafka.producer")
            }
            KafkaError::ClientCreation(problem) => {
                // By then the files are known to be PEM files.
                let key = match problem.as_str() {
                    text if text.contains("ssl.ca.") => "kafka.security.ca_file",
                    text if text.contains("ssl.certificate") => "kafka.security.certificate_file",
                    text if text.contains("ssl.key") || text.contains("rivate key") => {
                        "kafka.security.key_file and kafka.security.key_password_file: is it the key of kafka.security.certificate_file, and the password its own?"
                    }
                    _ => "kafka.security, kafka.options, kafka.consumer and kafka.producer",
                };
                format!("{problem}; look at {key}")
            }
            other => format!("{other}; look at kafka.options, kafka.consumer and kafka.producer"),
        })
    }
}

fn common(settings: &Settings) -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::new();
    config.set("client.id", "sentistream");
    // A broker that is back is found within a second; by default it may take ten.
    config.set("reconnect.backoff.max.ms", "1000");
    for (key, value) in settings.options.iter() {
        config.set(key, value);
    }
    for (key, value) in settings.security.options().map_err(Error::Security)? {
        config.set(key, value);
    }
    config.set("bootstrap.servers", &settings.brokers);
    // A connection that is closed at once is told as information.
    let debugs = settings.options.contains_key("debug");
    config.set_log_level(if debugs { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Info });
    Ok(config)
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
    let mut config = common(settings)?;
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
    for (key, value) in settings.consumer.iter() {
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
    reading(settings, READER_BYTES)?.create_with_context(Logged::new(settings)).map_err(Error::client)
}

/// A consumer of single records here and there: it fetches hardly more than it is asked for.
pub fn peeker(settings: &Settings) -> Result<BaseConsumer<Logged>, Error> {
    let mut config = reading(settings, LEAST_FETCH)?;
    config.set("queued.min.messages", "1").set("max.partition.fetch.bytes", LEAST_FETCH.to_string());
    config.create_with_context(Logged::new(settings)).map_err(Error::client)
}

/// Of a consumer outside any group.
pub(super) fn reading(settings: &Settings, bytes: usize) -> Result<ClientConfig, Error> {
    let mut config = common(settings)?;
    for (key, value) in settings.consumer.iter() {
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
    Ok(config)
}

/// Settings of the producer of results and dead letters: idempotent, and retrying until delivered. Results are placed as
/// Java producers place them, so that a key finds the same partition number.
pub fn producer(settings: &Settings) -> Result<ClientConfig, Error> {
    let mut config = common(settings)?;
    config.set("partitioner", "murmur2_random").set("compression.type", "lz4");
    for (key, value) in settings.producer.iter() {
        config.set(key, value);
    }
    config
        .set("enable.idempotence", "true")
        .set("message.timeout.ms", "0")
        // The broker decides what is too large, not this client: a dead letter may be any record the broker once took.
        .set("message.max.bytes", MOST_BYTES.to_string());
    Ok(config)
}

/// Settings of the producer of transactions. A message that is not delivered within its transaction fails with it.
pub fn transactional_producer(settings: &Settings, transactional_id: &str) -> Result<ClientConfig, Error> {
    let mut config = producer(settings)?;
    // Validated with the settings.
    let timeout = settings.transaction_timeout().unwrap_or(Duration::from_secs(10)).as_millis().to_string();
    config
        .set("transactional.id", transactional_id)
        .set("transaction.timeout.ms", &timeout)
        .set("message.timeout.ms", &timeout);
    Ok(config)
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
pub fn check_topics<C>(consumer: &BaseConsumer<C>, settings: &Settings) -> Result<(), Error>
where
    C: ConsumerContext + Telling,
{
    partitions_for(consumer, settings, Operation::Read, &settings.input_topic)?;
    for topic in [&settings.output_topic, &settings.dead_letter_topic] {
        partitions_for(consumer, settings, Operation::Write, topic)?;
    }
    let logged = consumer.context().logged();
    if logged.is_group_denied() {
        return Err(logged.denied(Operation::Read, Resource::Group(&settings.group)));
    }
    Ok(())
}

/// The partitions of a topic to be read; an error that says what to do where it cannot be used.
pub fn partitions<C>(consumer: &BaseConsumer<C>, settings: &Settings, topic: &str) -> Result<Vec<i32>, Error>
where
    C: ConsumerContext + Telling,
{
    partitions_for(consumer, settings, Operation::Read, topic)
}

fn partitions_for<C>(
    consumer: &BaseConsumer<C>,
    settings: &Settings,
    operation: Operation,
    topic: &str,
) -> Result<Vec<i32>, Error>
where
    C: ConsumerContext + Telling,
{
    // A consumer tells only whoever polls it.
    let listen = || while consumer.poll(LISTENING).is_some() {};
    ask(consumer.client(), consumer.context().logged(), settings, operation, topic, listen)
}

/// Asks for the partitions of a topic that is to be read or written, and gives up as soon as it is certain that no broker
/// lets this client in.
pub fn ask<C: ClientContext>(
    client: &Client<C>,
    logged: &Logged,
    settings: &Settings,
    operation: Operation,
    topic: &str,
    listen: impl Fn(),
) -> Result<Vec<i32>, Error> {
    let metadata = metadata(client, logged, topic, listen)?;
    let unusable = |why| Error::Topic { topic: topic.to_owned(), brokers: settings.brokers.clone(), why };
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
        return Err(unusable("not found".to_owned()));
    };
    match found.error().map(RDKafkaErrorCode::from) {
        None => Ok(found.partitions().iter().map(MetadataPartition::id).collect()),
        Some(RDKafkaErrorCode::TopicAuthorizationFailed) => Err(logged.denied(operation, Resource::Topic(topic))),
        Some(error) => Err(unusable(error.to_string())),
    }
}

fn metadata<C: ClientContext>(
    client: &Client<C>,
    logged: &Logged,
    topic: &str,
    listen: impl Fn(),
) -> Result<Metadata, Error> {
    let (since, mut look) = (Instant::now(), FIRST_LOOK);
    loop {
        let left = CONNECT_TIMEOUT.saturating_sub(since.elapsed());
        let source = match client.fetch_metadata(Some(topic), look.min(left)) {
            Ok(metadata) => return Ok(metadata),
            Err(source) => source,
        };
        std::thread::sleep(LISTENING);
        listen();
        if logged.is_final(since.elapsed()) || left.is_zero() {
            return Err(logged.no_answer(source));
        }
        look *= 2;
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
            consumer(&kafka, limits, Logged::default()).expect("a consumer");
        }
    }

    /// What `docs/security.md` promises is in the library that is linked.
    #[test]
    fn librdkafka_has_tls_every_mechanism_and_token_endpoints() {
        let config = ClientConfig::new().create_native_config().expect("a configuration");
        let features = config.get("builtin.features").expect("features");
        let features: Vec<&str> = features.trim_end_matches('\0').split(',').collect();
        for needed in ["ssl", "sasl_plain", "sasl_scram", "sasl_oauthbearer", "oidc", "zstd"] {
            assert!(features.contains(&needed), "{needed} is not in {features:?}");
        }
    }
}
