//! A topic that takes nothing for a while: what waits for it holds up what is behind it, within a limit, and nothing is
//! committed beyond it.

use sentistream::worker::Worker;

use crate::end_to_end::{joined_with, stop};
use crate::support::broker::{Broker, REPLICAS};
use crate::support::kafka::Topics;
use crate::support::photos::{TestPost, posts};
use crate::support::wait_until_async;

/// Most records between what is committed and what is pulled.
const CAP: usize = 40;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn a_dead_letter_that_cannot_leave_holds_its_partition_up_and_no_more_than_the_cap_is_pulled() {
    let folder = tempfile::tempdir().expect("folder");
    let broker = Broker::start(folder.path(), None);
    let topics = Topics::create_on(broker.address().to_owned(), "unavailable", 1, &[], REPLICAS).await;
    // One of the two copies is away for good: with two demanded the topic takes no record, and says that it may later.
    topics.alter(&topics.dead_letters(), "min.insync.replicas", "2").await;
    let mut settings = topics.settings();
    settings.kafka.uncommitted_records = CAP;
    // The source holds for a thirtieth of it before it shows that it does.
    settings.kafka.consumer.insert("max.poll.interval.ms".into(), "60000".into());
    let workers = joined_with(&topics, vec![settings]).await;
    let mut fed = posts("post", 3 * CAP);
    fed.insert(0, TestPost::raw("bad", b"{ not json"));
    topics.feed(&fed);
    let metrics = &workers[0].metrics;
    let results = || metrics.outcomes.with_label_values(&["result", ""]).get();
    wait_until_async("all results but those behind the cap are published, and the source holds", || {
        results() == CAP as u64 - 1 && metrics.pauses.get() > 0
    })
    .await;
    assert_eq!(metrics.records.get(), CAP as u64, "nothing more is pulled");
    assert_eq!(topics.committed(), 0, "what is behind the dead letter is not committed");
    topics.alter(&topics.dead_letters(), "min.insync.replicas", "1").await;
    topics.wait_for_outcomes(fed.len()).await;
    stop(workers).await;
    assert_eq!(topics.committed(), i64::try_from(fed.len()).expect("few"));
    assert_eq!(topics.read_all(&topics.output()).len(), 3 * CAP, "no result comes twice");
    assert_eq!(topics.read_all(&topics.dead_letters()).len(), 1);
}

/// librdkafka remembers a pause beyond the assignment, and a worker pauses while nothing leaves it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn a_partition_that_is_taken_away_while_paused_is_read_when_it_comes_back() {
    let folder = tempfile::tempdir().expect("folder");
    let broker = Broker::start(folder.path(), None);
    let topics = Topics::create_on(broker.address().to_owned(), "paused", 4, &[], REPLICAS).await;
    topics.alter(&topics.output(), "min.insync.replicas", "2").await;
    let mut settings = topics.settings();
    settings.limits.records = 32;
    settings.kafka.revoke_deadline_seconds = 1;
    settings.kafka.consumer.insert("max.poll.interval.ms".into(), "60000".into());
    let workers = joined_with(&topics, vec![settings.clone()]).await;
    let fed = posts("post", 200);
    topics.feed(&fed);
    wait_until_async("it pauses", || workers[0].metrics.pauses.get() > 0).await;
    let second = Worker::start(&settings).await.expect("starts");
    let shares = |first: i64, second: &Worker| {
        workers[0].metrics.assigned_partitions.get() == first && second.metrics.assigned_partitions.get() == 4 - first
    };
    wait_until_async("a second worker takes half of the partitions", || shares(2, &second)).await;
    topics.alter(&topics.output(), "min.insync.replicas", "1").await;
    // What was in flight when its partition went comes twice, so outcomes do not count here.
    let committed =
        |records: usize| tokio::task::block_in_place(|| topics.committed()) == i64::try_from(records).expect("few");
    wait_until_async("both finish", || committed(fed.len())).await;
    second.stopper().stop();
    second.drained().await.expect("leaves");
    wait_until_async("the first has them all again", || workers[0].metrics.assigned_partitions.get() == 4).await;
    let more = posts("more", 80);
    topics.feed(&more);
    wait_until_async("it reads all of them", || committed(fed.len() + more.len())).await;
    stop(workers).await;
}
