//! Real photographs through the real broker, worker and dashboard: the page's numbers are those of the results topic, they follow
//! what comes, and they are all there again when the dashboard was killed.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{assert_quiet, fetched, fetched_json, link, shows, signed, texts};
use crate::support::browser::Browser;
use crate::support::kafka::Topics;
use crate::support::photos::{TestPost, samples};
use crate::support::process::WorkerProcess;
use crate::support::served::Served;

/// "Within seconds", on two cores that do other things as well.
const SOON: Duration = Duration::from_secs(10);

/// Samples published in steps of 40 minutes up to now, by turns from two sources.
fn feed(prefix: &str, count: usize) -> Vec<TestPost> {
    let samples = samples();
    let post = |number: usize| {
        let (name, image, metadata) = &samples[number % samples.len()];
        let kind = name.rsplit('.').next().expect("a suffix").replace("jpg", "jpeg");
        let id = format!("{prefix}-{number}");
        let mut post = TestPost::binary(&id, &format!("image/{kind}"), image, metadata);
        post.headers.retain(|(key, _)| key != "ce_source");
        let at = Timestamp::now()
            - SignedDuration::from_mins(40 * i64::try_from(number).expect("few"))
            - SignedDuration::from_secs(5);
        let source = if number.is_multiple_of(2) { "instagram/acme" } else { "tiktok/acme" };
        for (key, value) in [("ce_source", source.to_owned()), ("ce_time", at.to_string())] {
            post.headers.push((key.into(), value.into_bytes()));
        }
        post
    };
    (0..count).map(post).collect()
}

/// What the results topic says, counted here.
struct Counted {
    posts: usize,
    mean: f64,
    labels: BTreeMap<String, usize>,
}

fn counted<'r>(results: impl IntoIterator<Item = &'r Value>) -> Counted {
    let mut counted = Counted { posts: 0, mean: 0.0, labels: BTreeMap::new() };
    let mut sum = 0.0;
    for result in results {
        counted.posts += 1;
        sum += result["sentiment"]["polarity"].as_f64().expect("a number");
        *counted.labels.entry(result["sentiment"]["label"].as_str().expect("text").into()).or_default() += 1;
    }
    counted.mean = sum / f64::from(u32::try_from(counted.posts).expect("few"));
    counted
}

/// The results that are on the topic.
fn results(topics: &Topics) -> Vec<Value> {
    tokio::task::block_in_place(|| topics.read_all(&topics.output()))
        .iter()
        .map(crate::support::kafka::Read::json)
        .collect()
}

async fn assert_shown(browser: &Browser, counted: &Counted) {
    browser.wait_within(SOON, &format!("{} posts are shown", counted.posts), &shows(counted.posts)).await;
    assert_eq!(browser.text("#total-polarity").await, signed(counted.mean));
    let labels = texts(browser, "#labels .legend .name").await;
    let values = texts(browser, "#labels .legend .value").await;
    let shown: BTreeMap<String, usize> =
        labels.into_iter().zip(values.iter().map(|value| value.parse().expect("a count"))).collect();
    assert_eq!(shown, counted.labels);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka and a browser: make test"]
async fn the_page_tells_what_the_results_topic_says_and_misses_nothing() {
    let topics = Topics::create("page", 2).await;
    let mut dashboard = Served::start(&topics, &[]);
    let _worker = WorkerProcess::start(&topics.environment());
    let browser = Browser::start().await;
    browser.goto(&dashboard.page("?view=count")).await;
    browser.wait_for("it says that nothing is there", "document.body.dataset.mode === 'empty'").await;
    browser.run("window.unbroken = true", &[]).await;

    let mut fed = feed("post", 24);
    fed.push(TestPost::raw("bad", b"{ not json"));
    topics.feed(&fed);
    topics.wait_for_outcomes(fed.len()).await;
    let published = results(&topics);
    assert_shown(&browser, &counted(&published)).await;
    browser.wait_within(SOON, "the dead letter is told", "document.querySelector('#health-letters .figure').textContent === '1' && document.getElementById('health-reasons').textContent.includes('not_json')").await;
    let bundle = format!(
        "{} {}",
        published[0]["model"]["bundle"].as_str().expect("text"),
        published[0]["model"]["version"].as_str().expect("text")
    );
    assert_eq!(browser.text("#health-bundle .figure").await, bundle);
    browser
        .wait_within(
            SOON,
            "the worker has no lag",
            "document.querySelector('#health-lag .figure').textContent === '0 records'",
        )
        .await;

    let more = feed("more", 7);
    topics.feed(&more);
    topics.wait_for_outcomes(fed.len() + more.len()).await;
    let published = results(&topics);
    assert_shown(&browser, &counted(&published)).await;
    assert_eq!(browser.run("return window.unbroken", &[]).await, json!(true), "without being loaded again");

    assert_filters(&browser, &published).await;
    assert_exports(&browser, &published).await;
    assert_quiet(&browser, &dashboard.address).await;

    dashboard.kill();
    browser.wait_for("it says that it is cut off", "!document.getElementById('banner').hidden").await;
    assert!(!browser.complaints().await.is_empty(), "requests that fail are logged by the browser");
    let last = feed("last", 4);
    topics.feed(&last);
    topics.wait_for_outcomes(fed.len() + more.len() + last.len()).await;
    dashboard.start_again();
    browser.wait_for("the banner is gone", "document.getElementById('banner').hidden").await;
    assert_shown(&browser, &counted(&results(&topics))).await;
    assert_eq!(browser.run("return window.unbroken", &[]).await, json!(true), "without being loaded again");
    browser.close().await;
}

/// A click on a source or a tag shows only it, the address says so, and whoever opens the address sees the same.
async fn assert_filters(browser: &Browser, published: &[Value]) {
    let of_source: Vec<&Value> = published.iter().filter(|result| result["source"] == "tiktok/acme").collect();
    browser.click("#sources button[data-key='source tiktok/acme']").await;
    assert_shown(browser, &counted(of_source.iter().copied())).await;
    let tag = of_source.iter().find_map(|result| result["tags"][0].as_str()).expect("a tag");
    let tagged: Vec<&Value> = of_source
        .iter()
        .copied()
        .filter(|result| result["tags"].as_array().is_some_and(|tags| tags.iter().any(|other| other == tag)))
        .collect();
    browser
        .client
        .find(fantoccini::Locator::Css("#tag"))
        .await
        .expect("there")
        .send_keys(&format!("{tag}\u{e007}"))
        .await
        .expect("typed");
    assert_shown(browser, &counted(tagged.iter().copied())).await;

    let address = browser.client.current_url().await.expect("an address");
    assert!(
        address.query().is_some_and(|query| query.contains("source=tiktok/acme") && query.contains("tag=")),
        "{address}"
    );
    browser.client.back().await.expect("back");
    assert_shown(browser, &counted(of_source.iter().copied())).await;
    browser.client.back().await.expect("back");
    assert_shown(browser, &counted(published)).await;
    browser.client.forward().await.expect("forward");
    assert_shown(browser, &counted(of_source.iter().copied())).await;
    browser.click("#chips .filter").await;
    assert_shown(browser, &counted(published)).await;
}

/// All posts, as the list tells them and as they are saved.
async fn assert_exports(browser: &Browser, published: &[Value]) {
    let ids = |posts: &Value| -> Vec<String> {
        let mut ids: Vec<String> = posts
            .as_array()
            .expect("a list")
            .iter()
            .map(|post| post["id"].as_str().expect("text").to_owned())
            .collect();
        ids.sort();
        ids
    };
    let expected = ids(&Value::from(published.to_vec()));
    browser.click("#all-posts").await;
    browser
        .wait_for(
            "the posts are there",
            &format!("document.querySelectorAll('#posts-list .id').length === {}", expected.len()),
        )
        .await;
    let mut shown = texts(browser, "#posts-list .id .wrap").await;
    shown.sort();
    assert_eq!(shown, expected);
    browser.press("\u{e00c}").await;
    browser
        .wait_for("Escape closes them", "!document.getElementById('posts').open && !location.search.includes('posts=')")
        .await;

    let saved = fetched_json(browser, &link(browser, "#export-posts-json").await).await;
    assert_eq!(ids(&saved["posts"]), expected);
    let saved = fetched(browser, &link(browser, "#export-posts-csv").await).await;
    let mut rows = csv::Reader::from_reader(saved.as_bytes());
    assert_eq!(rows.headers().expect("a head").get(0), Some("id"));
    assert_eq!(rows.records().count(), expected.len());
    let series = fetched_json(browser, &link(browser, "#export-series-json").await).await;
    let counts = series["posts"].as_array().expect("a list").iter().filter_map(Value::as_u64);
    assert_eq!(usize::try_from(counts.sum::<u64>()).expect("few"), expected.len());
    let saved = fetched(browser, &link(browser, "#export-series-csv").await).await;
    let steps = series["at"].as_array().expect("a list").len();
    assert_eq!(csv::Reader::from_reader(saved.as_bytes()).records().count(), steps, "a row a step");
}
