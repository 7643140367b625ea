//! Somebody uses the page while results stream in: what has the focus keeps it, a selection stays, and slow answers are shown.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{sleep, spawn};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::reading::with_story;
use crate::support::browser::Browser;
use crate::support::story::result;

/// Answers take longer than a second, the interval of the stream; `cut` counts those that were not waited for.
const SLOW: &str = "const real = window.fetch; window.cut = 0; window.fetch = async (url, options) => { \
    const answer = await real(url, options); \
    await new Promise((done, fail) => { setTimeout(done, 2500); options?.signal?.addEventListener('abort', () => { window.cut += 1; fail(options.signal.reason); }); }); \
    return answer; }";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka and a browser: make test"]
async fn results_that_stream_in_disturb_nobody() {
    let (topics, dashboard, _) = with_story("page-streaming").await;
    let streaming = Arc::new(AtomicBool::new(true));
    let stream = spawn({
        let streaming = Arc::clone(&streaming);
        move || {
            for number in 0.. {
                if !streaming.load(Ordering::Relaxed) {
                    break;
                }
                let post = result(&format!("streamed-{number}"), 100_000 + number, Timestamp::now(), 0.1, &json!({}));
                topics.publish(&topics.output(), &[post]);
                sleep(Duration::from_millis(200));
            }
        }
    });
    let browser = Browser::start().await;
    browser.goto(&dashboard.page("?range=3d")).await;
    browser
        .wait_for(
            "it is shown",
            "document.body.dataset.mode === 'shown' && document.querySelector('.chip.fell') !== null",
        )
        .await;
    refreshed(&browser, 3).await;

    browser.run("window.chip = document.querySelector('.chip.fell'); window.chip.focus()", &[]).await;
    let key = browser.run("return window.chip.dataset.key", &[]).await;
    refreshed(&browser, 3).await;
    let focused = browser.run("return document.activeElement.dataset.key ?? null", &[]).await;
    assert_eq!(focused, key, "the chip keeps the focus");

    let select = "const target = document.querySelector('#polarity .target'); target.focus(); for (let at = 0; at < 4; at++) target.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowLeft', shiftKey: true, bubbles: true}))";
    browser.run(select, &[]).await;
    refreshed(&browser, 2).await;
    browser.press("\u{e007}").await;
    browser.wait_for("Enter zooms into the selection", "location.search.includes('from=')").await;
    assert_eq!(browser.run("return document.getElementById('posts').open", &[]).await, json!(false));

    browser.goto(&dashboard.page("?range=3d")).await;
    browser.wait_for("it is shown", "document.body.dataset.mode === 'shown'").await;
    browser.run(SLOW, &[]).await;
    refreshed(&browser, 2).await;
    assert_eq!(browser.run("return window.cut", &[]).await, json!(0), "no answer is cut off by news");
    streaming.store(false, Ordering::Relaxed);
    stream.join().expect("streams");
    browser.close().await;
}

/// Waits until newer results are shown, so many times.
async fn refreshed(browser: &Browser, times: usize) {
    for _ in 0..times {
        browser.run("window.seen = document.body.dataset.revision", &[]).await;
        browser.wait_for("newer results are shown", "document.body.dataset.revision !== window.seen").await;
    }
}
