//! The dashboard's page.

use crate::support::browser::Browser;

#[tokio::test(flavor = "multi_thread")]
async fn starts() {
    let browser = Browser::start().await;
    browser.goto("http://127.0.0.1:8801/").await;
    browser.wait_for("it is drawn", "document.body.dataset.mode === 'shown'").await;
    eprintln!("{:?} {:?}", browser.accessibility().await, browser.complaints().await);
    browser.drag("#polarity .u-over", 0.3, 0.6).await;
    browser.wait_for("zoomed", "location.search.includes('from=')").await;
    eprintln!("{:?}", browser.requests().await.len());
    browser.close().await;
}
