//! Somebody reads a story of three days: what happened and why, the posts behind it, closer and back, by pointer and by keys.

use jiff::Timestamp;
use serde_json::json;

use super::{assert_quiet, shows, texts};
use crate::support::browser::{Browser, DESKTOP, PHONE};
use crate::support::kafka::Topics;
use crate::support::served::Served;
use crate::support::story::{SOUR_SOURCE, SOUR_TAG, told};

const NO_OVERFLOW: &str = "document.documentElement.scrollWidth <= innerWidth";

/// A dashboard that has read the whole story.
pub async fn with_story(test: &str) -> (Topics, Served, usize) {
    let topics = Topics::create(test, 1).await;
    let story = told(Timestamp::now());
    topics.publish(&topics.output(), &story);
    let dashboard = Served::start(&topics, &[]);
    (topics, dashboard, story.len())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka and a browser: make test"]
async fn a_stranger_sees_what_happened_and_the_posts_behind_it() {
    let (_topics, dashboard, posts) = with_story("page-story").await;
    let browser = Browser::start().await;
    browser.goto(&dashboard.page("?range=3d")).await;
    browser.wait_for("the story is there", &shows(posts)).await;

    let sentences = texts(&browser, "#shifts li").await;
    let fall = sentences
        .iter()
        .find(|sentence| sentence.contains("fell from"))
        .unwrap_or_else(|| panic!("a fall: {sentences:?}"));
    assert!(fall.contains(&format!("#{SOUR_TAG}")) && fall.contains(SOUR_SOURCE), "{fall}");
    assert!(sentences.iter().any(|sentence| sentence.contains("rose from")), "{sentences:?}");
    assert!(texts(&browser, "#tags-negative li").await[0].contains(SOUR_TAG));
    assert_eq!(texts(&browser, ".chip.bundle").await, ["◆ default 0.2.0"], "where the bundle changed");
    assert_accessible(&browser).await;

    browser.click("#shifts li.fell .posts").await;
    browser.wait_for("the posts behind it", "document.querySelectorAll('#posts-list .id').length === 50").await;
    let negative = texts(&browser, "#posts-list .head b").await.iter().filter(|label| *label == "negative").count();
    assert!(negative > 20, "{negative} of 50 are negative");
    assert!(texts(&browser, "#posts-list .tag").await.contains(&format!("#{SOUR_TAG}")));
    assert_eq!(
        browser.run("return document.querySelectorAll('#posts-list .card:first-child .weights dt').length", &[]).await,
        json!(4)
    );
    assert_eq!(browser.accessibility().await, Vec::<String>::new(), "the posts");
    browser.click("#posts-more").await;
    // How many there are depends on where the steps begin today.
    browser.wait_for("more of them", "document.querySelectorAll('#posts-list .id').length > 50").await;
    let shared = browser.client.current_url().await.expect("an address");
    browser.click("#posts-close").await;
    browser.wait_for("they are closed", "!document.getElementById('posts').open").await;
    browser.goto(shared.as_str()).await;
    browser
        .wait_for("who opens the address sees them", "document.querySelectorAll('#posts-list .id').length === 50")
        .await;
    browser.press("\u{e00c}").await;
    browser.wait_for("they are closed", "!document.getElementById('posts').open").await;

    assert_pointer(&browser, posts).await;
    assert_keys(&browser, posts).await;
    assert_choices(&browser, posts).await;
    assert_quiet(&browser, &dashboard.address).await;
    browser.close().await;
}

/// axe is content in light, dark and on a phone, where nothing is wider than the screen.
async fn assert_accessible(browser: &Browser) {
    for (size, dark) in [(PHONE, false), (PHONE, true), (DESKTOP, true), (DESKTOP, false)] {
        browser.looks_like(size, dark).await;
        browser.wait_for("nothing is wider than the screen", NO_OVERFLOW).await;
        assert_eq!(browser.accessibility().await, Vec::<String>::new(), "{size:?}, dark: {dark}");
    }
}

/// Dragging looks closer, a click opens the posts of a step, and one click goes back.
async fn assert_pointer(browser: &Browser, posts: usize) {
    browser.drag("#polarity .u-over", 0.3, 0.5).await;
    browser
        .wait_for("it is zoomed", "location.search.includes('from=') && !document.body.classList.contains('stale')")
        .await;
    let fewer = browser.text("#total-posts").await.replace(',', "").parse::<usize>().expect("a number");
    assert!(fewer < posts / 2, "{fewer} of {posts}");
    browser.click("#zoom-back").await;
    browser.wait_for("it is back", &shows(posts)).await;
    assert!(
        browser.run("return location.search", &[]).await.as_str().is_some_and(|search| search.contains("range=3d"))
    );

    browser.drag("#labels .u-over", 0.75, 0.75).await;
    browser.wait_for("the posts of a step", "document.querySelectorAll('#posts-list .id').length > 0").await;
    browser.press("\u{e00c}").await;
    browser.wait_for("they are closed", "!document.getElementById('posts').open").await;
}

/// The same without a pointer: a chart has the focus, and what is under its cursor is said.
async fn assert_keys(browser: &Browser, posts: usize) {
    let valuetext = "return document.activeElement.getAttribute('aria-valuetext')";
    browser.run("document.querySelector('#polarity .target').focus()", &[]).await;
    let last = browser.run(valuetext, &[]).await;
    browser.press("\u{e012}").await;
    let before = browser.run(valuetext, &[]).await;
    assert!(before.as_str().is_some_and(|text| text.contains("mean polarity") && text.contains("posts")), "{before}");
    assert_ne!(last, before);
    browser.press("\u{e007}").await;
    browser.wait_for("Enter opens the posts", "document.querySelectorAll('#posts-list .id').length > 0").await;
    browser.press("\u{e00c}").await;
    browser
        .wait_for(
            "and Escape closes them, back to the chart",
            "!document.getElementById('posts').open && document.activeElement.matches('#polarity .target')",
        )
        .await;
    browser.press("+").await;
    browser
        .wait_for(
            "plus looks closer",
            "location.search.includes('from=') && !document.body.classList.contains('stale')",
        )
        .await;
    browser.press("\u{e003}").await;
    browser.wait_for("and backspace goes back", &shows(posts)).await;
    let select = "const target = document.activeElement; for (let at = 0; at < 4; at++) target.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowLeft', shiftKey: true, bubbles: true}))";
    browser.run(select, &[]).await;
    browser.press("\u{e007}").await;
    browser.wait_for("Enter zooms into what is selected", "location.search.includes('from=')").await;
    browser.press("\u{e003}").await;
    browser.wait_for("and back", &shows(posts)).await;
}

/// Label, counts, a range of one's own, colours that are kept, and the numbers as a table.
async fn assert_choices(browser: &Browser, posts: usize) {
    browser.click("#labels .legend button").await;
    browser.wait_for("the address has the label", "location.search.includes('label=negative')").await;
    let exported = "document.getElementById('export-posts-csv').href.includes('label=negative')";
    browser.wait_for("what is saved has it too", exported).await;
    browser.click("#view-count").await;
    browser.wait_for("counts", "location.search.includes('view=count')").await;
    browser.click("#labels details.table summary").await;
    let table = texts(browser, "#labels tbody td:nth-of-type(1)").await;
    let sum: usize = table.iter().map(|cell| cell.parse::<usize>().expect("a count")).sum();
    assert_eq!(sum, posts, "the table has every post");

    browser.click("#custom-menu summary").await;
    let set = "for (const [id, value] of [['from', '2020-01-01T00:00'], ['to', '2020-01-02T00:00']]) document.getElementById(id).value = value";
    browser.run(set, &[]).await;
    browser.click("#custom .primary").await;
    browser.wait_for("nothing was there then", "document.body.dataset.mode === 'unmatched'").await;
    assert_eq!(browser.accessibility().await, Vec::<String>::new(), "no match");
    browser.click("#clear").await;
    browser.click("#widen").await;
    browser.wait_for("90 days", &shows(posts)).await;

    browser.click("#theme").await;
    browser.client.refresh().await.expect("loaded again");
    browser.wait_for("the colours are kept", "document.documentElement.dataset.theme === 'dark'").await;
    browser.wait_for("all is there", &shows(posts)).await;
}
