//! The dashboard's page in a real browser: what it shows is what the results topic says, it stays alive, and it can be used by
//! whoever looks at it, with whatever strangers wrote into their posts.

mod known_feed;
mod reading;
mod screenshots;
mod states;
mod strangers;
mod streaming;
mod vendored;

use serde_json::{Value, json};

use crate::support::browser::Browser;

/// The number of posts that the page tells is so many.
fn shows(posts: usize) -> String {
    format!(
        "document.body.dataset.mode === 'shown' && document.getElementById('total-posts').textContent.replace(/\\D/g, '') === '{posts}'"
    )
}

/// As the page writes polarities.
fn signed(polarity: f64) -> String {
    let text = format!("{polarity:+.2}").replace('-', "−");
    if text.ends_with("0.00") { "0.00".into() } else { text }
}

/// What every test looks at in the end: nothing complained, and nobody else was asked for anything.
async fn assert_quiet(browser: &Browser, address: &str) {
    assert_eq!(browser.complaints().await, Vec::<String>::new(), "the console is quiet");
    let elsewhere = browser.requests().await.into_iter().filter(|url| {
        let asked = format!("{}:{}", url.host_str().unwrap_or_default(), url.port().unwrap_or_default());
        // The browser's own empty page.
        asked != address && url.scheme() != "data"
    });
    assert_eq!(elsewhere.collect::<Vec<_>>(), vec![], "no request to another host");
}

/// The body of what an address answers, asked for by the page.
async fn fetched(browser: &Browser, address: &str) -> String {
    let body = browser.run_async("return await (await fetch(arguments[0])).text()", &[json!(address)]).await;
    body.as_str().expect("text").to_owned()
}

async fn fetched_json(browser: &Browser, address: &str) -> Value {
    serde_json::from_str(&fetched(browser, address).await).expect("JSON")
}

/// Where a link leads.
async fn link(browser: &Browser, selector: &str) -> String {
    let href = browser.run("return document.querySelector(arguments[0]).href", &[json!(selector)]).await;
    href.as_str().expect("a link").to_owned()
}

/// The texts of all that a selector finds.
async fn texts(browser: &Browser, selector: &str) -> Vec<String> {
    let texts = "return [...document.querySelectorAll(arguments[0])].map((found) => found.textContent.trim().replace(/\\s+/g, ' '))";
    let texts = browser.run(texts, &[json!(selector)]).await;
    texts.as_array().expect("a list").iter().map(|text| text.as_str().unwrap_or_default().to_owned()).collect()
}
