//! Bad input becomes a dead letter with its stable reason, and the stream goes on.

use std::collections::BTreeMap;

use serde_json::json;

use crate::end_to_end::{joined, stop};
use crate::support::kafka::Topics;
use crate::support::photos::{TestPost, samples};
use crate::support::repository;

/// What a feed may bring, and the reason each is refused with.
fn bad_posts() -> Vec<(&'static str, TestPost)> {
    let jpeg = samples().into_iter().find(|(name, ..)| name == "cat.jpg").expect("sample").1;
    let huge = std::fs::read(repository("tests/fixtures/hostile/30000x30000.png")).expect("fixture");
    let none = json!({});
    let text = |id: &str, value: &str| TestPost::raw(id, value.as_bytes());
    let mut wrong_type = TestPost::raw("content-type", b"x");
    wrong_type.headers.push(("content-type".into(), b"video/mp4".to_vec()));
    let mut many_headers = TestPost::json("headers", &jpeg, &none);
    many_headers.headers.extend((0..100).map(|number| (format!("h{number}"), vec![])));
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    vec![
        ("empty", TestPost::raw("empty", b"")),
        ("unsupported_content_type", wrong_type),
        ("not_json", text("no-json", "hello")),
        ("not_json", TestPost::raw("no-utf8", b"{\"id\": \"\xff\"}")),
        ("too_deep", text("deep", &deep)),
        ("bad_field", TestPost::json("wrong-type", &jpeg, &json!({"caption": 7}))),
        ("bad_field", TestPost::json(&"i".repeat(300), &jpeg, &none)),
        ("text_too_long", TestPost::json("long-text", &jpeg, &json!({"caption": "a".repeat(20_000)}))),
        ("too_many_headers", many_headers),
        ("no_image", text("no-image", r#"{"id": "no-image", "metadata": {"caption": "hi"}}"#)),
        ("bad_base64", text("no-base64", r#"{"id": "no-base64", "image": {"data": "%%%"}}"#)),
        ("fetch_refused", text("url", r#"{"id": "url", "image": {"url": "https://example.com/a.jpg"}}"#)),
        ("unsupported_format", TestPost::json("a-text", b"this is no image, only text that says so", &none)),
        ("corrupt_image", TestPost::binary("cut", "image/jpeg", &jpeg[..jpeg.len() / 2], &none)),
        ("too_many_pixels", TestPost::binary("huge", "image/png", &huge, &none)),
        ("too_large", TestPost::raw("fat", &vec![b' '; 700_000])),
    ]
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn every_bad_input_has_its_reason_and_the_stream_goes_on() {
    let topics = Topics::create("hostile", 1).await;
    let mut settings = topics.settings();
    settings.limits.record_bytes = 600_000;
    let good = samples().remove(0);
    let mut fed = Vec::new();
    for (number, (_, bad)) in bad_posts().into_iter().enumerate() {
        fed.push(bad);
        fed.push(TestPost::binary(&format!("good-{number}"), "image/jpeg", &good.1, &good.2));
    }
    let worker = sentistream::worker::Worker::start(&settings).await.expect("starts");
    topics.feed(&fed);
    topics.wait_for_outcomes(fed.len()).await;
    stop(vec![worker]).await;

    let dead: BTreeMap<String, _> = topics
        .read_all(&topics.dead_letters())
        .into_iter()
        .map(|read| (read.key.clone().unwrap_or_default(), read))
        .collect();
    for (reason, post) in bad_posts() {
        let letter = dead.get(&post.id).unwrap_or_else(|| panic!("{} has no dead letter", post.id));
        assert_eq!(letter.header("dlq.reason"), reason, "{}: {}", post.id, letter.header("dlq.detail"));
        assert_eq!(letter.value, post.value, "{}: byte for byte", post.id);
        for (key, value) in &post.headers {
            assert_eq!(letter.headers.get(key), Some(value), "{}: header {key}", post.id);
        }
        assert!(letter.header("dlq.origin").starts_with(&format!("{}/0/", topics.name)));
        assert!(!letter.header("dlq.detail").contains('\n') && !letter.header("dlq.at").is_empty());
    }
    assert_eq!(dead.len(), bad_posts().len());
    assert_eq!(
        topics.count(&topics.output()),
        i64::try_from(bad_posts().len()).expect("few"),
        "every good post between"
    );
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
