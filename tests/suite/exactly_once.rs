//! `kafka.delivery: exactly_once`: whoever reads with `read_committed` sees each outcome once, whatever happens to the
//! transactions. What a crash does is the chaos suite's.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::{DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use sentistream::kafka::{Delivery, GroupProtocol};
use sentistream::settings::Settings;
use sentistream::worker::Worker;

use crate::end_to_end::{assert_in_order, joined_with, stop};
use crate::support::kafka::{Read, Topics};
use crate::support::photos::{TestPost, posts, samples};
use crate::support::wait_until_async;

/// Settings of a worker, under a name of its own.
fn settings(topics: &Topics, instance: &str) -> Settings {
    let mut settings = topics.settings();
    settings.kafka.delivery = Delivery::ExactlyOnce;
    settings.kafka.instance = Some(instance.to_owned());
    // So that many transactions are made of few posts.
    settings.kafka.commit_interval_ms = 100;
    settings
}

fn assert_each_once(topics: &Topics, fed: &[TestPost]) -> (Vec<Read>, Vec<Read>) {
    let (published, dead) = (topics.read_all(&topics.output()), topics.read_all(&topics.dead_letters()));
    let keys: Vec<_> = published.iter().chain(&dead).map(|read| read.key.clone().expect("a key")).collect();
    assert_eq!(keys.len(), fed.len(), "none twice");
    let (keys, ids): (BTreeSet<_>, BTreeSet<_>) =
        (keys.into_iter().collect(), fed.iter().map(|post| post.id.clone()).collect());
    assert_eq!(keys, ids, "every post has its outcome");
    assert_eq!(topics.committed(), i64::try_from(fed.len()).expect("few"), "everything is committed");
    (published, dead)
}

/// 120 good posts, with bad ones and tombstones among them.
fn mixed() -> Vec<TestPost> {
    let mut fed = posts("post", 120);
    for number in 0..6 {
        fed.insert(number * 20, TestPost::raw(&format!("bad-{number}"), b"{ not json"));
        fed.insert(number * 20 + 7, TestPost::tombstone(&format!("gone-{number}")));
    }
    fed
}

async fn two_workers_score_everything_once(test: &str, protocol: GroupProtocol) {
    let topics = Topics::create(test, 4).await;
    let mut both = vec![settings(&topics, "one"), settings(&topics, "two")];
    for settings in &mut both {
        settings.kafka.group_protocol = protocol;
    }
    let workers = joined_with(&topics, both).await;
    let fed = mixed();
    topics.feed(&fed);
    topics.wait_for_committed_outcomes(fed.len()).await;
    let count =
        |outcome| workers.iter().map(|w| w.metrics.transactions.with_label_values(&[outcome]).get()).sum::<u64>();
    let (committed, aborted) = (count("committed"), count("aborted"));
    stop(workers).await;
    let (published, dead) = assert_each_once(&topics, &fed);
    assert_eq!(dead.len(), 6);
    let results: Vec<Read> = published.into_iter().filter(|read| read.value.is_some()).collect();
    assert_in_order(&results);
    assert!(
        committed > 1 && usize::try_from(committed).expect("few") < fed.len(),
        "{committed} transactions, {aborted} aborted"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn every_outcome_is_committed_once_with_its_offset() {
    two_workers_score_everything_once("exactly-once", GroupProtocol::Classic).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn the_consumer_protocol_serves_transactions_too() {
    two_workers_score_everything_once("exactly-once-848", GroupProtocol::Consumer).await;
}

/// Somebody takes the transactional id, as the broker does by itself when a transaction outlasts its timeout.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn a_fenced_producer_is_made_anew_and_nothing_comes_twice() {
    let topics = Topics::create("fenced", 2).await;
    let workers = joined_with(&topics, vec![settings(&topics, "one")]).await;
    let fed = mixed();
    let fence = || {
        let mut config = topics.config();
        let usurper = config.set("transactional.id", format!("{}-one", topics.name)).create();
        let usurper: ThreadedProducer<DefaultProducerContext> = usurper.expect("producer");
        usurper.init_transactions(Duration::from_secs(30)).expect("fences");
    };
    for (number, some) in fed.chunks(30).enumerate() {
        topics.feed(some);
        topics.wait_for_committed_outcomes(number * 30 + 3).await;
        tokio::task::block_in_place(fence);
    }
    topics.wait_for_committed_outcomes(fed.len()).await;
    let fenced = workers[0].metrics.transactions.with_label_values(&["fenced"]).get();
    stop(workers).await;
    assert!(fenced > 0, "the producer was fenced while it had work");
    assert_each_once(&topics, &fed);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn what_the_broker_refuses_within_a_transaction_leaves_smaller() {
    let topics = Topics::create("exactly-too-large", 1).await;
    topics.alter(&topics.output(), "max.message.bytes", "1500").await;
    topics.alter(&topics.dead_letters(), "max.message.bytes", "5000").await;
    let (_, image, metadata) = samples().remove(0);
    let good = |id: &str| TestPost::binary(id, "image/jpeg", &image, &metadata);
    // A result carries its source: this one is larger than the output topic takes, its dead letter larger than that takes.
    let mut large = good("large");
    large.headers.iter_mut().filter(|(key, _)| key == "ce_source").for_each(|(_, value)| *value = unlike_itself(6_000));
    let fed = [good("before"), large, good("behind"), TestPost::tombstone("gone")];
    let workers = joined_with(&topics, vec![settings(&topics, "one")]).await;
    topics.feed(&fed);
    topics.wait_for_committed_outcomes(fed.len()).await;
    stop(workers).await;
    let (published, dead) = assert_each_once(&topics, &fed);
    let keys: Vec<_> = published.iter().map(|read| read.key.as_deref().expect("a key")).collect();
    assert_eq!(keys, ["before", "behind", "gone"]);
    assert_eq!(dead[0].header("dlq.reason"), "result_too_large");
    assert_eq!((dead[0].value.as_ref(), dead[0].header("dlq.truncated")), (None, "true".into()));
    assert!(!dead[0].headers.contains_key("ce_source"), "its headers alone were too large");
    assert_eq!(dead[0].key.as_deref(), Some("large"));
}

/// A text that no compression makes much shorter.
fn unlike_itself(chars: u64) -> Vec<u8> {
    let mut state = 7_u64;
    let letter = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        b'a' + u8::try_from((state >> 33) % 26).expect("a letter")
    };
    (0..chars).map(letter).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn a_second_worker_of_the_same_name_takes_the_place_of_the_first() {
    let topics = Topics::create("same-name", 2).await;
    let mut first = joined_with(&topics, vec![settings(&topics, "one")]).await;
    let second = joined_with(&topics, vec![settings(&topics, "one")]).await;
    let ended = first.remove(0).drained().await.expect_err("replaced");
    assert!(format!("{ended:#}").contains("another worker of the group runs under kafka.instance one"), "{ended:#}");
    let fed = mixed();
    topics.feed(&fed);
    topics.wait_for_committed_outcomes(fed.len()).await;
    stop(second).await;
    assert_each_once(&topics, &fed);
}

/// librdkafka's own broker, since no Kafka of today lacks transactions.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_without_transactions_is_told_with_the_fix() {
    let broker = MockCluster::new(1).expect("a broker");
    let topics = Topics::of(broker.bootstrap_servers(), "posts".into(), 1);
    for topic in [topics.name.clone(), topics.output(), topics.dead_letters()] {
        broker.create_topic(&topic, 1, 1).expect("created");
    }
    broker.apiversion(RDKafkaApiKey::InitProducerId, None, None).expect("disabled");
    let error = Worker::start(&settings(&topics, "one")).await.err().expect("refused");
    let told = format!("{error:#}");
    assert!(told.contains("kafka.delivery") && told.contains("at_least_once"), "{told}");
}

/// A group that has forgotten a named worker lets it in again under another id; meanwhile its partitions may have been
/// anybody's. librdkafka's own broker, which can be told to answer so.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_its_group_had_forgotten_joins_anew() {
    let broker = MockCluster::new(1).expect("a broker");
    let topics = Topics::of(broker.bootstrap_servers(), "posts".into(), 4);
    for topic in [topics.name.clone(), topics.output(), topics.dead_letters()] {
        broker.create_topic(&topic, 4, 1).expect("created");
    }
    let mut settings = settings(&topics, "one");
    settings.kafka.delivery = Delivery::AtLeastOnce;
    // What this broker waits for before it lets a group go on.
    settings.kafka.consumer.insert("session.timeout.ms".into(), "6000".into());
    settings.kafka.consumer.insert("heartbeat.interval.ms".into(), "500".into());
    let workers = joined_with(&topics, vec![settings]).await;
    broker.request_errors(RDKafkaApiKey::JoinGroup, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID]);
    broker.request_errors(RDKafkaApiKey::Heartbeat, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS]);
    let metrics = &workers[0].metrics;
    wait_until_async("it is noticed, and the partitions are assigned anew", || {
        let noticed = metrics.rebalances.with_label_values(&["broken"]).get();
        let assigned = metrics.rebalances.with_label_values(&["assign"]).get();
        noticed > 0 && assigned > 1 && metrics.assigned_partitions.get() == 4
    })
    .await;
    stop(workers).await;
}
