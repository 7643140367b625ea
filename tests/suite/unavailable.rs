//! A topic that takes nothing for a while: what waits for it holds up what is behind it, within a limit, and nothing is
//! committed beyond it.

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
