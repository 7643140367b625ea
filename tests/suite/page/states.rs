//! What the page says while there is nothing to show: a token is missing, nothing has come yet, and then it comes.

use jiff::Timestamp;
use serde_json::json;

use super::{shows, texts};
use crate::support::browser::Browser;
use crate::support::kafka::Topics;
use crate::support::served::Served;
use crate::support::story::result;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka and a browser: make test"]
async fn a_token_opens_a_page_that_fills_by_itself() {
    let topics = Topics::create("page-states", 1).await;
    let dashboard = Served::start(&topics, &[("TOKEN", "a-token-of-this-test")]);
    let browser = Browser::start().await;
    browser.goto(&dashboard.page("?range=7d")).await;
    browser.wait_for("a token is asked for", "document.body.dataset.mode === 'unauthorised'").await;
    assert_eq!(browser.accessibility().await, Vec::<String>::new(), "the token");
    browser.click("#token").await;
    browser.press("a-token-of-this-test\u{e007}").await;
    browser.wait_for("it is open, and empty", "document.body.dataset.mode === 'empty'").await;
    let address = browser.client.current_url().await.expect("an address");
    assert_eq!(
        address.query(),
        Some("range=7d"),
        "what was asked for is kept, and nobody shares the token with the address"
    );
    assert!(texts(&browser, ".notice:not([hidden])").await[0].contains("sentistream run"), "it says what to do");
    assert_eq!(browser.accessibility().await, Vec::<String>::new(), "empty");

    topics
        .publish(&topics.output(), &[result("first", 0, Timestamp::now(), 0.8, &json!({"source": "instagram/acme"}))]);
    browser.wait_for("the first result is there", &shows(1)).await;
    assert_eq!(browser.text("#total-polarity").await, "+0.80");
    browser.close().await;
}
