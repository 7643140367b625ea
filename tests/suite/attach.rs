//! Feeds of other shapes are attached as docs/attach.md says, by the settings and the record that stand there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::kafka::Topics;
use crate::support::photos::{TestPost, samples};
use crate::support::process::WorkerProcess;
use crate::support::repository;

/// The first block of this language after a heading.
fn block(heading: &str, language: &str) -> String {
    let text = std::fs::read_to_string(repository("docs/attach.md")).expect("docs/attach.md");
    let section = text.split(heading).nth(1).expect(heading);
    let block = section.split(&format!("```{language}\n")).nth(1).and_then(|rest| rest.split("```").next());
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
