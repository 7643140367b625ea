//! Topics of a test's own on the real broker, written to and read with plain clients rather than with the code under test.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use sentistream::settings::{self, Settings};
use serde_json::Value;

use super::PATIENCE;
use super::photos::TestPost;

/// Three topics and a group that no other test knows.
pub struct Topics {
    pub brokers: String,
    pub name: String,
    pub partitions: i32,
    /// librdkafka options of the test's own clients.
    options: Vec<(String, String)>,
}

/// A record read back.
#[derive(Debug, Clone)]
pub struct Read {
    pub key: Option<String>,
    pub value: Option<Vec<u8>>,
    pub headers: BTreeMap<String, Vec<u8>>,
    pub partition: i32,
    pub offset: i64,
}

impl Read {
    pub fn json(&self) -> Value {
        serde_json::from_slice(self.value.as_deref().expect("a value")).expect("JSON")
    }

    pub fn header(&self, key: &str) -> String {
        let value = self.headers.get(key).unwrap_or_else(|| panic!("header {key} in {:?}", self.headers.keys()));
        String::from_utf8(value.clone()).expect("UTF-8")
    }
}

impl Topics {
    /// Creates the topics on the broker of `SENTISTREAM_TEST_BROKERS`.
    pub async fn create(test: &str, partitions: i32) -> Self {
        Self::create_with(test, partitions, &[]).await
    }

    /// As [`Self::create`], with settings for the input topic.
    pub async fn create_with(test: &str, partitions: i32, input_settings: &[(&str, &str)]) -> Self {
        let brokers = std::env::var("SENTISTREAM_TEST_BROKERS")
            .expect("SENTISTREAM_TEST_BROKERS names a Kafka broker; `make test` starts one");
        Self::create_on(brokers, test, partitions, input_settings, &[]).await
    }

    /// As [`Self::create_with`], on a broker of the test's own; results and dead letters have their copies on `replicas`,
    /// by default on any broker.
    pub async fn create_on(
        brokers: String,
        test: &str,
        partitions: i32,
        input_settings: &[(&str, &str)],
        replicas: &[i32],
    ) -> Self {
        Self::named(vec![], brokers, test, partitions).made(input_settings, replicas).await
    }

    /// Topics that are there already.
    pub fn of(brokers: String, name: String, partitions: i32) -> Self {
        Self { brokers, name, partitions, options: vec![] }
    }

    /// As [`Self::create_on`], by clients with these librdkafka options.
    pub async fn create_as(options: Vec<(String, String)>, brokers: String, test: &str, partitions: i32) -> Self {
        Self::named(options, brokers, test, partitions).made(&[], &[]).await
    }

    fn named(options: Vec<(String, String)>, brokers: String, test: &str, partitions: i32) -> Self {
        let nanoseconds = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos();
        Self { brokers, name: format!("{test}-{}-{nanoseconds}", std::process::id()), partitions, options }
    }

    async fn made(self, input_settings: &[(&str, &str)], replicas: &[i32]) -> Self {
        let partitions = self.partitions;
        let topics = self;
        let mut input = NewTopic::new(&topics.name, partitions, TopicReplication::Fixed(1));
        for (key, value) in input_settings {
            input = input.set(key, value);
        }
        let (output, dead) = (topics.output(), topics.dead_letters());
        let assignment = vec![replicas; usize::try_from(partitions).expect("few")];
        let placed = || {
            if replicas.is_empty() { TopicReplication::Fixed(1) } else { TopicReplication::Variable(&assignment) }
        };
        let others = [&output, &dead].map(|name| NewTopic::new(name, partitions, placed()));
        let admin = topics.admin();
        let made =
            admin.create_topics([input].iter().chain(&others), &AdminOptions::new()).await.expect("broker answers");
        for topic in made {
            topic.expect("topic created");
        }
        topics
    }

    pub fn output(&self) -> String {
        format!("{}-out", self.name)
    }

    pub fn dead_letters(&self) -> String {
        format!("{}-dead", self.name)
    }

    pub fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().expect("admin client")
    }

    /// Changes a setting of a topic.
    pub async fn alter(&self, topic: &str, key: &str, value: &str) {
        let resource = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(key, value);
        let altered = self.admin().alter_configs([&resource], &AdminOptions::new()).await.expect("broker answers");
        for topic in altered {
            topic.expect("altered");
        }
    }

    pub fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        for (key, value) in &self.options {
            config.set(key, value);
        }
        config
    }

    /// What a worker of this test is set by, as environment variables of the binary.
    pub fn environment(&self) -> Vec<(String, String)> {
        let set = |key: &str, value: &str| (format!("SENTISTREAM__{key}"), value.to_owned());
        vec![
            set("KAFKA__BROKERS", &self.brokers),
            set("KAFKA__GROUP", &self.name),
            set("KAFKA__INPUT_TOPIC", &self.name),
            set("KAFKA__OUTPUT_TOPIC", &self.output()),
            set("KAFKA__DEAD_LETTER_TOPIC", &self.dead_letters()),
            set("ADMIN__LISTEN", "127.0.0.1:0"),
        ]
    }

    /// The same for a worker in this process, as small as two cores shared with other tests like it.
    pub fn settings(&self) -> Settings {
        let mut settings = settings::load(None).expect("the defaults are valid");
        settings.kafka.brokers.clone_from(&self.brokers);
        settings.kafka.group.clone_from(&self.name);
        settings.kafka.input_topic.clone_from(&self.name);
        settings.kafka.output_topic = self.output();
        settings.kafka.dead_letter_topic = self.dead_letters();
        settings.model.bundle = super::repository("models/default");
        settings.admin.listen = None;
        settings
    }

    /// Publishes posts and waits for the broker to have them all.
    pub fn feed<'p>(&self, posts: impl IntoIterator<Item = &'p TestPost>) {
        self.publish(&self.name, posts);
    }

    /// As [`Self::feed`], to any topic.
    pub fn publish<'p>(&self, topic: &str, posts: impl IntoIterator<Item = &'p TestPost>) {
        let mut config = self.config();
        // The broker decides what is too large.
        config.set("message.max.bytes", "100000000");
        let producer: ThreadedProducer<DefaultProducerContext> = config.create().expect("producer");
        for post in posts {
            send(&producer, topic, post);
        }
        producer.flush(PATIENCE).expect("delivered");
    }

    /// Publishes each post in a transaction of its own: between them stand markers, which have offsets and are no records.
    pub fn feed_in_transactions(&self, posts: &[TestPost]) {
        self.transact(&self.name, posts, true);
    }

    /// Publishes each post to `topic` in a transaction of its own, which is committed or aborted.
    pub fn transact(&self, topic: &str, posts: &[TestPost], commit: bool) {
        let mut config = self.config();
        let producer: ThreadedProducer<DefaultProducerContext> =
            config.set("transactional.id", &self.name).create().expect("producer");
        producer.init_transactions(PATIENCE).expect("transactions");
        for post in posts {
            producer.begin_transaction().expect("begun");
            send(&producer, topic, post);
            if commit {
                producer.commit_transaction(PATIENCE).expect("committed");
            } else {
                producer.flush(PATIENCE).expect("delivered");
                producer.abort_transaction(PATIENCE).expect("aborted");
            }
        }
    }

    fn reader(&self, topic: &str) -> BaseConsumer {
        let mut config = self.config();
        let consumer: BaseConsumer = config
            .set("group.id", format!("{}-reader", self.name))
            .set("enable.partition.eof", "true")
            .create()
            .expect("consumer");
        let mut assignment = TopicPartitionList::new();
        for partition in 0..self.partitions {
            assignment.add_partition_offset(topic, partition, Offset::Beginning).expect("valid");
        }
        consumer.assign(&assignment).expect("assigned");
        consumer
    }

    /// Everything on the topic up to its present end; of transactions only what is committed.
    pub fn read_all(&self, topic: &str) -> Vec<Read> {
        let consumer = self.reader(topic);
        let mut at_end = BTreeSet::new();
        let mut reads = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while at_end.len() < usize::try_from(self.partitions).expect("few") {
            assert!(Instant::now() < deadline, "{topic} could not be read to its end: {at_end:?}");
            let message = match consumer.poll(Duration::from_millis(200)) {
                None => continue,
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    at_end.insert(partition);
                    continue;
                }
                Some(message) => message.expect("readable"),
            };
            reads.push(read(&message));
        }
        reads
    }

    /// Records on the topic now.
    pub fn count(&self, topic: &str) -> i64 {
        let consumer = self.reader(topic);
        let ends =
            (0..self.partitions).map(|number| consumer.fetch_watermarks(topic, number, PATIENCE).expect("watermarks"));
        ends.map(|(low, high)| high - low).sum()
    }

    /// Waits until results and dead letters together are at least so many.
    pub async fn wait_for_outcomes(&self, at_least: usize) {
        let at_least = i64::try_from(at_least).expect("few");
        let mut outcomes = 0;
        super::wait_until_async(&format!("{at_least} outcomes are published"), || {
            outcomes = tokio::task::block_in_place(|| self.count(&self.output()) + self.count(&self.dead_letters()));
            outcomes >= at_least
        })
        .await;
    }

    /// Waits until results and dead letters together, read as committed, are at least so many.
    pub async fn wait_for_committed_outcomes(&self, at_least: usize) {
        super::wait_until_async(&format!("{at_least} outcomes are committed"), || {
            let read = |topic: &str| tokio::task::block_in_place(|| self.read_all(topic).len());
            read(&self.output()) + read(&self.dead_letters()) >= at_least
        })
        .await;
    }

    /// Commits an offset of each partition of the input topic for the group, as its workers would.
    pub fn commit(&self, offset: i64) {
        let consumer: BaseConsumer = self.config().set("group.id", &self.name).create().expect("consumer");
        let mut offsets = TopicPartitionList::new();
        for partition in 0..self.partitions {
            offsets.add_partition_offset(&self.name, partition, Offset::Offset(offset)).expect("valid");
        }
        consumer.commit(&offsets, CommitMode::Sync).expect("committed");
    }

    /// The group's committed positions, summed over the partitions.
    pub fn committed(&self) -> i64 {
        let consumer: BaseConsumer = self.config().set("group.id", &self.name).create().expect("consumer");
        let mut list = TopicPartitionList::new();
        for partition in 0..self.partitions {
            list.add_partition(&self.name, partition);
        }
        let committed = consumer.committed_offsets(list, PATIENCE).expect("committed offsets");
        committed.elements().iter().map(|element| element.offset().to_raw().unwrap_or(0).max(0)).sum()
    }
}

fn send(producer: &ThreadedProducer<DefaultProducerContext>, topic: &str, post: &TestPost) {
    let mut record = BaseRecord::<[u8], [u8]>::to(topic).headers(owned_headers(post));
    record.key = post.key.as_deref();
    record.payload = post.value.as_deref();
    producer.send(record).map_err(|(error, _)| error).expect("enqueued");
}

/// A post's headers, as a producer takes them.
pub fn owned_headers(post: &TestPost) -> OwnedHeaders {
    post.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(value.as_slice()) })
    })
}

/// A record that a consumer got.
pub fn read<M: Message>(message: &M) -> Read {
    Read {
        key: message.key().map(|key| String::from_utf8_lossy(key).into_owned()),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers(message),
        partition: message.partition(),
        offset: message.offset(),
    }
}

fn headers<M: Message>(message: &M) -> BTreeMap<String, Vec<u8>> {
    let headers = message.headers().into_iter().flat_map(Headers::iter);
    headers.map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec())).collect()
}
