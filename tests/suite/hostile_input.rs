//! Bad input becomes a dead letter with its stable reason, and the stream goes on.

use crate::end_to_end::{joined, stop};
use crate::support::hostile::corpus;
use crate::support::kafka::{Read, Topics};
use crate::support::photos::{TestPost, samples};
use crate::support::process::WorkerProcess;

/// The corpus through the real binary, a good post between each two records of it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn every_hostile_record_has_its_outcome_and_the_posts_between_their_results_in_order() {
    const LARGE: &str = "8000000";
    let topics = Topics::create_with("hostile", 1, &[("max.message.bytes", LARGE)]).await;
    topics.alter(&topics.dead_letters(), "max.message.bytes", LARGE).await;
    let (_, image, metadata) = samples().remove(0);
    let (mut fed, mut results, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for (number, hostile) in corpus().into_iter().enumerate() {
        let post = TestPost { headers: hostile.headers(), ..TestPost::raw(&hostile.name, &hostile.value()) };
        let good = TestPost::binary(&format!("good-{number}"), "image/jpeg", &image, &metadata);
        if hostile.ends == "result" {
            results.push(hostile.name);
        } else {
            refused.push((post.clone(), hostile.ends));
        }
        results.push(good.id.clone());
        fed.extend([post, good]);
    }
    let mut environment = topics.environment();
    // A busy machine is not what is tested.
    environment.push(("SENTISTREAM__DECODE__TIMEOUT_MS".into(), "100000".into()));
    let mut worker = WorkerProcess::start(&environment);
    topics.feed(&fed);
    topics.wait_for_outcomes(fed.len()).await;
    worker.signal("TERM");
    assert_eq!(worker.wait().code(), Some(0), "{}", worker.log());

    let published = topics.read_all(&topics.output());
    assert_eq!(published.iter().map(|read| read.key.clone().unwrap_or_default()).collect::<Vec<_>>(), results);
    let dead = topics.read_all(&topics.dead_letters());
    assert_eq!(dead.len(), refused.len(), "one dead letter each");
    for (letter, (post, reason)) in dead.iter().zip(&refused) {
        assert_dead_letter(letter, post, reason, &topics.name);
    }
    assert_eq!(topics.committed(), i64::try_from(fed.len()).expect("few"));
}

/// A dead letter is the record byte for byte, and tells why.
fn assert_dead_letter(letter: &Read, post: &TestPost, reason: &str, topic: &str) {
    assert_eq!(letter.key.as_ref(), Some(&post.id), "in order");
    assert_eq!(letter.header("dlq.reason"), reason, "{}: {}", post.id, letter.header("dlq.detail"));
    assert_eq!(letter.value, post.value, "{}: byte for byte", post.id);
    for (key, value) in &post.headers {
        assert_eq!(letter.headers.get(key), Some(value), "{}: header {key}", post.id);
    }
    assert!(letter.header("dlq.origin").starts_with(&format!("{topic}/0/")));
    assert!(!letter.header("dlq.detail").contains('\n') && !letter.header("dlq.at").is_empty());
}

/// A topic may permit records beyond every limit of ours: they come through, are refused, and what is behind them is read.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn a_record_larger_than_any_fetch_does_not_stall_its_partition() {
    let topics = Topics::create_with("beyond", 1, &[("max.message.bytes", "40000000")]).await;
    let (_, image, metadata) = samples().remove(0);
    let good = |id: &str| TestPost::binary(id, "image/jpeg", &image, &metadata);
    let workers = joined(&topics, 1).await;
    topics.feed(&[good("before"), TestPost::raw("beyond", &vec![b' '; 20_000_000]), good("behind")]);
    topics.wait_for_outcomes(3).await;
    stop(workers).await;
    let dead = topics.read_all(&topics.dead_letters());
    assert_eq!(dead.iter().map(|read| read.header("dlq.reason")).collect::<Vec<_>>(), ["too_large"]);
    // Compressed it is small enough for the dead-letter topic, whole.
    assert_eq!(dead[0].value.as_ref().map(Vec::len), Some(20_000_000));
    assert_eq!(topics.count(&topics.output()), 2);
}

/// What the broker refuses for its size still leaves: a result as a dead letter, a dead letter without its value.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn what_the_broker_finds_too_large_leaves_smaller() {
    let topics = Topics::create("too-large", 1).await;
    topics.alter(&topics.output(), "max.message.bytes", "400").await;
    topics.alter(&topics.dead_letters(), "max.message.bytes", "5000").await;
    let (_, image, metadata) = samples().remove(0);
    let fed = [TestPost::binary("large", "image/jpeg", &image, &metadata), TestPost::tombstone("gone")];
    let workers = joined(&topics, 1).await;
    topics.feed(&fed);
    topics.wait_for_outcomes(2).await;
    stop(workers).await;
    let published = topics.read_all(&topics.output());
    assert_eq!(
        published.iter().map(|read| read.key.as_deref()).collect::<Vec<_>>(),
        [Some("gone")],
        "what is small passes"
    );
    let dead = topics.read_all(&topics.dead_letters());
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].header("dlq.reason"), "result_too_large");
    assert_eq!((dead[0].value.as_ref(), dead[0].header("dlq.truncated")), (None, "true".into()));
    assert_eq!(dead[0].header("dlq.sha256").len(), 64);
    assert_eq!(topics.committed(), 2);
}

/// A compacted topic takes no record without a key; such a post is refused, and its neighbours are not.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn a_post_without_a_key_is_no_end_for_a_compacted_output() {
    let topics = Topics::create("keyless", 1).await;
    topics.alter(&topics.output(), "cleanup.policy", "compact").await;
    let (_, image, metadata) = samples().remove(0);
    let good = |id: &str| TestPost::binary(id, "image/jpeg", &image, &metadata);
    let workers = joined(&topics, 1).await;
    topics.feed(&[good("before"), TestPost { key: None, ..good("keyless") }, good("behind")]);
    topics.wait_for_outcomes(3).await;
    stop(workers).await;
    let dead = topics.read_all(&topics.dead_letters());
    assert_eq!(dead.len(), 1);
    assert_eq!((dead[0].header("dlq.reason"), dead[0].value.as_ref()), ("bad_field".into(), Some(&image)));
    assert!(dead[0].header("dlq.detail").contains("key"), "{}", dead[0].header("dlq.detail"));
    assert_eq!(topics.committed(), 3);
}
