//! Workers come and go under load: nothing is lost, and at most what was in flight comes twice.

use std::collections::{BTreeSet, HashMap};

use sentistream::kafka::Delivery;
use sentistream::settings::Settings;
use sentistream::worker::Worker;

use crate::end_to_end::{joined, joined_with, origin_of, stop};
use crate::support::kafka::Topics;
use crate::support::photos::posts;
use crate::support::{repository, wait_until_async};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn a_worker_that_joins_midway_loses_nothing() {
    let topics = Topics::create("rebalance", 4).await;
    let fed = posts("post", 400);
    let mut workers = joined(&topics, 1).await;
    let (first, rest) = fed.split_at(100);
    topics.feed(first);
    topics.wait_for_outcomes(40).await;

    let before: BTreeSet<(i64, i64)> = topics.read_all(&topics.output()).iter().map(origin_of).collect();
    let second = Worker::start(&topics.settings()).await.expect("starts");
    // Posts keep coming while the partitions move, however fast the machine.
    let mut rest = rest.chunks(4);
    wait_until_async("the second worker has a share", || {
        topics.feed(rest.next().unwrap_or_default());
        second.metrics.assigned_partitions.get() == 2
    })
    .await;
    topics.feed(rest.flatten());
    workers.push(second);
    topics.wait_for_outcomes(fed.len()).await;
    wait_until_async("nothing is in flight", || workers.iter().all(|w| w.metrics.in_flight_records.get() == 0)).await;
    stop(workers).await;

    let results = topics.read_all(&topics.output());
    let mut times: HashMap<(i64, i64), usize> = HashMap::new();
    results.iter().map(origin_of).for_each(|origin| *times.entry(origin).or_default() += 1);
    assert_eq!(times.len(), fed.len(), "every post has a result");
    let doubled: Vec<_> = times.iter().filter(|(_, count)| **count > 1).map(|(origin, _)| *origin).collect();
    println!("{} posts, {} scored before the second worker came, {} doubled", fed.len(), before.len(), doubled.len());
    assert!(
        doubled.iter().all(|origin| !before.contains(origin)),
        "only what was in flight may come twice: {doubled:?}"
    );
    let ids: BTreeSet<String> =
        results.iter().map(|read| read.json()["result_id"].as_str().expect("id").to_owned()).collect();
    assert_eq!(ids.len(), fed.len(), "a doubled result has the same id");
    assert_eq!(topics.committed(), i64::try_from(fed.len()).expect("few"));
}

/// One worker, three, and one again, while posts keep coming.
async fn scaling_loses_nothing(topics: &Topics, settings: impl Fn(usize) -> Settings) {
    let mut fed = posts("post", 360);
    let rest = fed.split_off(60);
    let mut rest = rest.chunks(4);
    let mut feed_some = || {
        let some = rest.next().unwrap_or_default();
        topics.feed(some);
        fed.extend_from_slice(some);
    };
    let mut workers = joined_with(topics, vec![settings(0)]).await;
    topics.feed(&posts("post", 60));
    for number in 1..3 {
        workers.push(Worker::start(&settings(number)).await.expect("starts"));
    }
    wait_until_async("three workers share six partitions", || {
        feed_some();
        workers.iter().all(|worker| worker.metrics.assigned_partitions.get() == 2)
    })
    .await;
    let last = workers.split_off(1);
    for leaving in last {
        leaving.stopper().stop();
        feed_some();
        assert_eq!(leaving.drained().await.expect("drains").unsettled, 0);
    }
    wait_until_async("the first has them all again", || {
        feed_some();
        workers[0].metrics.assigned_partitions.get() == 6
    })
    .await;
    topics.wait_for_committed_outcomes(fed.len()).await;
    stop(workers).await;
    let results = topics.read_all(&topics.output());
    let origins: BTreeSet<(i64, i64)> = results.iter().map(origin_of).collect();
    assert_eq!(origins.len(), fed.len(), "every post has a result");
    assert_eq!(topics.committed(), i64::try_from(fed.len()).expect("few"));
    assert_eq!(results.len(), fed.len(), "whoever leaves in order leaves nothing to do again");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn from_one_worker_to_three_and_back_at_least_once() {
    let topics = Topics::create("scale", 6).await;
    scaling_loses_nothing(&topics, |_| topics.settings()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn from_one_worker_to_three_and_back_exactly_once() {
    let topics = Topics::create("scale-exactly", 6).await;
    scaling_loses_nothing(&topics, |_| {
        let mut settings = topics.settings();
        settings.kafka.delivery = Delivery::ExactlyOnce;
        settings
    })
    .await;
}

/// What `deploy/kubernetes` and `deploy/systemd` build on: a named worker that is stopped and comes back moves no partition.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn a_rollout_of_named_workers_moves_nothing() {
    let topics = Topics::create("rollout", 4).await;
    let deployed =
        sentistream::settings::load(Some(&repository("deploy/kubernetes/base/settings.yaml"))).expect("settings");
    let named = |number: usize| {
        let mut settings = topics.settings();
        settings.kafka.instance = Some(format!("sentistream-worker-{number}"));
        settings.kafka.consumer = deployed.kafka.consumer.clone();
        settings
    };
    let mut workers = joined_with(&topics, vec![named(0), named(1)]).await;
    let seen = |worker: &Worker| {
        ["assign", "revoke", "lost", "broken"].map(|kind| worker.metrics.rebalances.with_label_values(&[kind]).get())
    };
    let fed = posts("post", 80);
    let (first, rest) = fed.split_at(40);
    topics.feed(first);
    topics.wait_for_committed_outcomes(first.len()).await;
    let before = seen(&workers[0]);

    let leaving = workers.pop().expect("the second");
    leaving.stopper().stop();
    assert_eq!(leaving.drained().await.expect("drains").unsettled, 0);
    topics.feed(rest);
    workers.push(Worker::start(&named(1)).await.expect("starts"));
    // Half of the posts are on its partitions: they come only when it has them back.
    topics.wait_for_committed_outcomes(fed.len()).await;
    assert_eq!(workers[1].metrics.assigned_partitions.get(), 2);
    assert_eq!(seen(&workers[0]), before, "the other one sees no rebalance");
    stop(workers).await;
    assert_eq!(topics.read_all(&topics.output()).len(), fed.len(), "nothing is scored twice");
}
