//! Ids, sources, tags and origins are a stranger's: they stay text, and however long or many they are the page holds.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::{assert_quiet, shows, texts};
use crate::support::browser::{Browser, DESKTOP, PHONE};
use crate::support::kafka::Topics;
use crate::support::photos::TestPost;
use crate::support::served::Served;
use crate::support::story::result;

const SCRIPT: &str = "<img src=x onerror=hacked=1><script>hacked=1</script>\"'&amp;";

/// One of 64 labels, all fields, from a source of its own.
fn hostile(number: usize) -> TestPost {
    let minutes = i64::try_from(number).expect("few");
    let weights: Map<String, Value> = (0..64).map(|field| (format!("field-{field}-<b>"), json!(1.0 / 64.0))).collect();
    let more = json!({
        "source": format!("{SCRIPT}{number}{}", "x".repeat(number * 3)),
        "sentiment": {"label": format!("label-{number}-<i>{}", "l".repeat(40)), "polarity": f64::from(u32::try_from(number).expect("few")) / 32.0 - 1.0, "confidence": 0.5, "probabilities": {}},
        "relevance": weights, "effects": {}, "tags": [format!("{SCRIPT}{number}"), "\u{202e}desrever", "w".repeat(64)], "flags": [SCRIPT],
        "model": {"bundle": SCRIPT, "version": "<b>", "digest": SCRIPT},
        "origin": {"topic": SCRIPT, "partition": 0, "offset": number},
    });
    let id = format!("{SCRIPT}{number}{}", "y".repeat(900));
    result(&id, number, Timestamp::now() - SignedDuration::from_mins(minutes), 0.5, &more)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka and a browser: make test"]
async fn what_strangers_wrote_stays_text() {
    let topics = Topics::create("page-strangers", 1).await;
    topics.publish(&topics.output(), &(0..64).map(hostile).collect::<Vec<_>>());
    let dashboard = Served::start(&topics, &[]);
    let browser = Browser::start().await;
    browser.goto(&dashboard.page("")).await;
    browser.wait_for("all are there", &shows(64)).await;
    assert!(texts(&browser, "#sources button").await[0].starts_with(SCRIPT));
    browser.click("#sources button").await;
    browser.wait_for("one source", &shows(1)).await;
    browser.click("#tags-negative button, #tags-positive button").await;
    browser.wait_for("one tag", "location.search.includes('tag=') && !document.body.classList.contains('stale')").await;
    browser.click("#all-posts").await;
    browser.wait_for("its post", "document.querySelectorAll('#posts-list .id').length === 1").await;
    browser.click("#posts-list summary").await;
    assert!(texts(&browser, "#posts-list .facts dd").await.iter().any(|text| text.starts_with(SCRIPT)), "the origin");
    for size in [PHONE, DESKTOP] {
        browser.looks_like(size, false).await;
        browser.wait_for("nothing is wider than the screen", "document.documentElement.scrollWidth <= innerWidth && document.getElementById('posts').scrollWidth <= innerWidth").await;
    }
    assert_eq!(browser.accessibility().await, Vec::<String>::new());
    let found = browser.run("return [window.hacked ?? null, document.querySelectorAll('img').length, document.querySelectorAll('script').length, document.querySelectorAll('i').length]", &[]).await;
    assert_eq!(found, json!([null, 1, 3, 0]), "the logo and the page's own scripts");
    assert_quiet(&browser, &dashboard.address).await;
    browser.close().await;
}
