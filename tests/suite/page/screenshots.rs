//! `make screenshots`: the pictures of `docs/images`, of a made-up story.

use std::path::Path;

use super::shows;
use crate::support::browser::{Browser, DESKTOP, PHONE};
use crate::support::repository;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka and a browser, and is asked for: make screenshots"]
async fn screenshots() {
    let Ok(folder) = std::env::var("SENTISTREAM_TEST_SCREENSHOTS") else { return };
    let folder = repository(&folder);
    std::fs::create_dir_all(&folder).expect("folder made");
    let (topics, dashboard, posts) = super::reading::with_story("page-pictures").await;
    topics.commit(0);
    let browser = Browser::start().await;
    let lag = "document.querySelector('#health-lag .figure').textContent === '0 records'";
    for (name, size, dark) in
        [("dashboard", DESKTOP, false), ("dashboard-dark", DESKTOP, true), ("dashboard-phone", PHONE, false)]
    {
        browser.looks_like(size, dark).await;
        browser.goto(&dashboard.page("?range=3d")).await;
        browser.wait_for("all is there", &shows(posts)).await;
        browser.wait_for("the workers' lag is known", lag).await;
        save(&browser, &folder.join(format!("{name}.png"))).await;
    }
    browser.looks_like(DESKTOP, false).await;
    browser.goto(&dashboard.page("?range=3d&label=negative")).await;
    browser.wait_for("all is there", &shows(posts)).await;
    browser.click("#shifts li.fell .posts").await;
    browser.wait_for("the posts are there", "document.querySelectorAll('#posts-list .id').length > 0").await;
    save(&browser, &folder.join("dashboard-posts.png")).await;
    browser.close().await;
}

async fn save(browser: &Browser, path: &Path) {
    std::fs::write(path, browser.picture().await).expect("written");
}
