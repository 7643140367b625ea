//! Records that retention removes before they are read are counted and told, not passed over in silence.

use rdkafka::admin::AdminOptions;
use rdkafka::{Offset, TopicPartitionList};
use sentistream::worker::Worker;

use crate::end_to_end::stop;
use crate::support::kafka::Topics;
use crate::support::photos::posts;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn records_removed_between_two_runs_are_counted() {
    let topics = Topics::create("retention", 1).await;
    topics.feed(&posts("first", 5));
    let worker = Worker::start(&topics.settings()).await.expect("starts");
    topics.wait_for_outcomes(5).await;
    assert_eq!(worker.metrics.records_lost_to_retention.get(), 0);
    stop(vec![worker]).await;

    topics.feed(&posts("second", 10));
    let mut removed = TopicPartitionList::new();
    removed.add_partition_offset(&topics.name, 0, Offset::Offset(12)).expect("valid");
    topics.admin().delete_records(&removed, &AdminOptions::new()).await.expect("removed");

    let worker = Worker::start(&topics.settings()).await.expect("starts");
    topics.wait_for_outcomes(8).await;
    assert_eq!(worker.metrics.records_lost_to_retention.get(), 7, "5 to 11 were never read");
    stop(vec![worker]).await;
    assert_eq!(topics.count(&topics.output()), 8);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn gaps_that_are_no_records_are_no_loss() {
    let topics = Topics::create_with("gaps", 1, &[("cleanup.policy", "compact")]).await;
    topics.feed_in_transactions(&posts("post", 6));
    let worker = Worker::start(&topics.settings()).await.expect("starts");
    topics.wait_for_outcomes(6).await;
    assert_eq!(worker.metrics.records_lost_to_retention.get(), 0);
    stop(vec![worker]).await;
    assert_eq!(topics.count(&topics.output()), 6);
}
