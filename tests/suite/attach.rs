//! Feeds of other shapes are attached as docs/attach.md says, by the settings and the record that stand there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::kafka::Topics;
use crate::support::photos::{TestPost, samples};
use crate::support::process::WorkerProcess;
use crate::support::repository;

/// The first block of this language after a heading.
pub fn block(heading: &str, language: &str) -> String {
    nth_block(heading, language, 0)
}

/// One of the blocks of this language after a heading.
pub fn nth_block(heading: &str, language: &str, number: usize) -> String {
    let text = std::fs::read_to_string(repository("docs/attach.md")).expect("docs/attach.md");
    let section = text.split(heading).nth(1).expect(heading);
    let block = section.split(&format!("```{language}\n")).nth(number + 1).and_then(|rest| rest.split("```").next());
    block.expect(language).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn a_feed_of_its_own_shape_gives_the_results_of_the_documented_one() {
    let topics = Topics::create("mapping", 1).await;
    let heading = "## A feed whose JSON has a shape of its own";
    let (_, image, _) = samples().remove(0);
    let image = STANDARD.encode(image);
    let own = block(heading, "json").replace("<base64>", &image);
    let refused = own.replace("\"first day at the beach #summer\"", "[]");
    let settings = tempfile::NamedTempFile::with_suffix(".yaml").expect("temporary file");
    std::fs::write(settings.path(), block(heading, "yaml")).expect("written");
    let mut environment = topics.environment();
    environment.push(("SENTISTREAM_TEST_CONFIG".into(), settings.path().to_string_lossy().into_owned()));
    topics.feed(&[TestPost::raw("a", own.as_bytes()), TestPost::raw("b", refused.as_bytes())]);
    let worker = WorkerProcess::start(&environment);
    topics.wait_for_outcomes(2).await;
    let mapped = topics.read_all(&topics.output()).remove(0).json();
    let letter = topics.read_all(&topics.dead_letters()).remove(0);
    assert_eq!(letter.header("dlq.detail"), "/status/text must be a string", "{}", worker.log());
    drop(worker);

    let metadata = serde_json::json!({
        "caption": "first day at the beach #summer", "tags": ["summer", "friends"], "scene": "beach",
        "objects": [{"label": "dog", "score": 0.93}]
    });
    let plain = Topics::create("mapping-plain", 1).await;
    let post = serde_json::json!({"image": {"data": image}, "metadata": metadata});
    plain.feed(&[TestPost::raw("a", post.to_string().as_bytes())]);
    let _worker = WorkerProcess::start(&plain.environment());
    plain.wait_for_outcomes(1).await;
    let documented = plain.read_all(&plain.output()).remove(0).json();
    for key in ["sentiment", "relevance", "effects", "tags", "flags"] {
        assert_eq!(mapped[key], documented[key], "{key}");
    }
    assert_eq!((&mapped["id"], &mapped["source"]), (&"117".into(), &"acme".into()));
    assert_eq!(mapped["published_at"], "2026-11-27T09:00:00Z");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn cloud_events_give_the_results_of_the_posts_in_them() {
    let heading = "## A feed of CloudEvents";
    let (_, image, _) = samples().remove(0);
    let image = STANDARD.encode(image);
    let event = |number| nth_block(heading, "json", number).replace("<base64>", &image);
    let structured = |key: &str, value: &str| {
        let content_type = ("content-type".to_owned(), b"application/cloudevents+json; charset=utf-8".to_vec());
        TestPost { headers: vec![content_type], ..TestPost::raw(key, value.as_bytes()) }
    };
    let mut batch = structured("batch", &format!("[{}]", event(0)));
    batch.headers[0].1 = b"application/cloudevents-batch+json".to_vec();
    let metadata = serde_json::json!({"caption": "first day at the beach #summer", "tags": ["summer", "friends"]});
    let mut plain =
        TestPost::raw("c", serde_json::json!({"image": {"data": image}, "metadata": metadata}).to_string().as_bytes());
    let attributes = [("ce_id", "A234-1234-1236"), ("ce_source", "/feeds/acme"), ("ce_time", "2026-11-27T09:00:00Z")];
    plain.headers.extend(attributes.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec())));

    let topics = Topics::create("cloudevents", 1).await;
    topics.feed(&[structured("a", &event(0)), structured("b", &event(1)), plain, batch]);
    let worker = WorkerProcess::start(&topics.environment());
    topics.wait_for_outcomes(4).await;
    let letters = topics.read_all(&topics.dead_letters());
    assert_eq!(letters.len(), 1, "{}", worker.log());
    assert_eq!(letters[0].header("dlq.reason"), "unsupported_content_type");
    let results: Vec<_> = topics.read_all(&topics.output()).iter().map(crate::support::kafka::Read::json).collect();
    for (number, result) in results.iter().enumerate() {
        for key in ["sentiment", "relevance", "effects", "tags", "flags"] {
            assert_eq!(result[key], results[2][key], "{key}");
        }
        assert_eq!(result["id"], format!("A234-1234-123{}", number + 4));
        assert_eq!(
            (&result["source"], &result["published_at"]),
            (&"/feeds/acme".into(), &"2026-11-27T09:00:00Z".into())
        );
    }
}
