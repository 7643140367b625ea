//! `sentistream feed` on the real broker: what grows is followed, what was interrupted is gone on with, and nothing is missing.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::support::feeding::Feeding;
use crate::support::kafka::Topics;
use crate::support::process::{WorkerProcess, ended, sentistream};
use crate::support::{repository, wait_until_async};

fn photo(name: &str) -> Vec<u8> {
    fs::read(repository("tests/fixtures/photos").join(name)).expect("a sample photograph")
}

fn fixture(name: &str) -> String {
    fs::read_to_string(repository("tests/fixtures/feeds").join(name)).expect("a fixture")
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// The keys on the input topic, sorted.
fn keys(topics: &Topics) -> Vec<String> {
    let mut keys: Vec<String> = topics.read_all(&topics.name).into_iter().filter_map(|read| read.key).collect();
    keys.sort();
    keys
}

async fn wait_for_keys(topics: &Topics, feeding: &Feeding, expected: &[&str]) {
    let mut found = vec![];
    wait_until_async(&format!("{expected:?} are published: {}", feeding.said()), || {
        found = tokio::task::block_in_place(|| keys(topics));
        found.dedup();
        expected.iter().all(|key| found.iter().any(|found| found == key))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn a_folder_is_followed_as_it_grows_and_no_file_is_taken_half_written() {
    let topics = Topics::create("feed-folder", 1).await;
    let folder = folder();
    let (photos, state) = (folder.path().join("photos"), folder.path().join("state"));
    fs::create_dir_all(photos.join("old")).expect("made");
    fs::write(photos.join("old/cat.jpg"), photo("cat.jpg")).expect("written");
    let arguments = ["photos", "--follow", "--poll-seconds", "0.2", "--state", "state"];
    let mut feeding = Feeding::start(&topics, folder.path(), &arguments, &[]);
    wait_for_keys(&topics, &feeding, &["cat"]).await;

    let image = photo("coffee.jpg");
    let mut half = fs::File::create(photos.join("coffee.jpg")).expect("made");
    half.write_all(&image[..image.len() / 2]).expect("written");
    fs::create_dir(photos.join("new")).expect("made");
    let arriving = folder.path().join("arriving");
    for number in 0..3 {
        // However many looks pass, the half is not taken while its writer holds it.
        fs::write(&arriving, photo("temple.jpg")).expect("written");
        fs::rename(&arriving, photos.join(format!("new/temple-{number}.jpg"))).expect("moved");
        wait_for_keys(&topics, &feeding, &[&format!("temple-{number}")]).await;
    }
    assert!(!keys(&topics).contains(&"coffee".into()), "{}", feeding.said());
    half.write_all(&image[image.len() / 2..]).expect("written");
    drop(half);
    wait_for_keys(&topics, &feeding, &["coffee"]).await;
    let status = feeding.end("TERM");
    assert_eq!(status.code(), Some(0), "{}", feeding.said());
    assert!(
        feeding.said().contains("published 5 posts") && feeding.said().contains("by a signal"),
        "{}",
        feeding.said()
    );
    let all = topics.read_all(&topics.name);
    let coffee: Vec<_> = all.iter().filter(|read| read.key.as_deref() == Some("coffee")).collect();
    assert!(coffee.len() == 1 && coffee[0].value.as_deref() == Some(image.as_slice()), "whole, and once");

    fs::write(photos.join("late.jpg"), &image).expect("written");
    let mut feeding = Feeding::start(&topics, folder.path(), &["photos", "--state", "state"], &[]);
    assert_eq!(feeding.wait().code(), Some(0), "{}", feeding.said());
    assert!(feeding.said().contains("published 1 posts"), "only what is new: {}", feeding.said());
    assert!(fs::metadata(&state).expect("a state").len() < 1000);
}

fn line(number: usize) -> String {
    format!("{}\n", json!({"id": format!("post-{number}"), "image": {"url": "https://a.example/1.jpg"}}))
}

/// Behind which line the state is.
fn line_in_state(folder: &Path) -> u64 {
    let state = fs::read(folder.join("state")).unwrap_or_default();
    let state: Value = serde_json::from_slice(&state).unwrap_or_default();
    state.pointer("/sources/posts.jsonl/list/behind/number").and_then(Value::as_u64).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn a_list_is_followed_and_gone_on_with_after_a_kill() {
    const POSTS: usize = 400;
    let topics = Topics::create("feed-list", 1).await;
    let folder = folder();
    let list = folder.path().join("posts.jsonl");
    fs::write(&list, (0..POSTS / 2).map(line).collect::<String>()).expect("written");
    let arguments = ["posts.jsonl", "--follow", "--poll-seconds", "0.1", "--rate", "100", "--state", "state"];
    let mut feeding = Feeding::start(&topics, folder.path(), &arguments, &[]);
    let mut writer = fs::OpenOptions::new().append(true).open(&list).expect("opens");
    let mut kills = 0;
    for number in POSTS / 2..POSTS {
        let text = line(number);
        writer.write_all(&text.as_bytes()[..20]).expect("written");
        if number % 60 == 0 {
            let (published, remembered) = (topics.count(&topics.name), line_in_state(folder.path()));
            let more = (published + 5).min(i64::try_from(number).expect("few"));
            wait_until_async("some more are published and remembered", || {
                let published = tokio::task::block_in_place(|| topics.count(&topics.name));
                published >= more && line_in_state(folder.path()) >= (remembered + 1).min(number as u64)
            })
            .await;
            feeding.end("KILL");
            kills += 1;
            feeding = Feeding::start(&topics, folder.path(), &arguments, &[]);
        }
        writer.write_all(&text.as_bytes()[20..]).expect("written");
    }
    let expected: Vec<String> = (0..POSTS).map(|number| format!("post-{number}")).collect();
    wait_for_keys(&topics, &feeding, &expected.iter().map(String::as_str).collect::<Vec<_>>()).await;

    // Rotated: the new file is another list.
    fs::rename(&list, folder.path().join("posts.jsonl.1")).expect("moved");
    writer.write_all(line(POSTS).as_bytes()).expect("written behind the move");
    fs::write(&list, line(POSTS + 1)).expect("written");
    let behind = [format!("post-{POSTS}"), format!("post-{}", POSTS + 1)];
    wait_for_keys(&topics, &feeding, &[&behind[0], &behind[1]]).await;
    feeding.wait_for("was replaced");
    assert_eq!(feeding.end("INT").code(), Some(0), "{}", feeding.said());

    let published = topics.count(&topics.name);
    let first = keys(&topics).into_iter().filter(|key| key == "post-0").count();
    assert_eq!((first, kills), (1, 3), "it went on, and did not begin anew");
    let mut feeding = Feeding::start(&topics, folder.path(), &["posts.jsonl", "--state", "state"], &[]);
    assert_eq!(feeding.wait().code(), Some(0));
    assert_eq!(topics.count(&topics.name), published, "nothing is left to do: {}", feeding.said());
}

/// A feed by HTTP as its server has it, and how it was asked.
#[derive(Clone, Default)]
struct Site {
    feed: Arc<Mutex<String>>,
    whole: Arc<AtomicUsize>,
    unchanged: Arc<AtomicUsize>,
    away: Arc<AtomicUsize>,
}

async fn rss(State(site): State<Site>, headers: HeaderMap) -> Response {
    if site.away.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
        return (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")]).into_response();
    }
    let feed = site.feed.lock().expect("not poisoned").clone();
    let tag = format!("\"{}\"", feed.len());
    if headers.get("if-none-match").is_some_and(|asked| asked == tag.as_str()) {
        site.unchanged.fetch_add(1, Ordering::SeqCst);
        return StatusCode::NOT_MODIFIED.into_response();
    }
    site.whole.fetch_add(1, Ordering::SeqCst);
    ([("etag", tag), ("content-type", "application/rss+xml".into())], feed).into_response()
}

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn site(feed: &str) -> (SocketAddr, Site) {
    let site = Site { feed: Arc::new(Mutex::new(feed.to_owned())), ..Site::default() };
    let elsewhere =
        |to: &'static str| get(move || async move { (StatusCode::FOUND, [("location", to)]).into_response() });
    let router = Router::new()
        .route("/feed.xml", get(rss))
        .route("/moved.xml", elsewhere("/feed.xml"))
        .route("/file", elsewhere("file:///etc/passwd"))
        .route("/loop", elsewhere("/loop"))
        .with_state(site.clone());
    (serve(router).await, site)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn a_feed_by_http_is_asked_for_what_is_new() {
    let topics = Topics::create("feed-http", 1).await;
    let folder = folder();
    let (address, site) = site(&fixture("rss.xml")).await;
    site.away.store(1, Ordering::SeqCst);
    let url = format!("http://{address}/moved.xml?token=secret");
    let arguments = [url.as_str(), "--follow", "--poll-seconds", "0.1", "--state", "state"];
    let mut feeding = Feeding::start(&topics, folder.path(), &arguments, &[]);
    feeding.wait_for("429");
    let first = ["https://photos.example/1/", "https://photos.example/2", "photo-4"];
    wait_for_keys(&topics, &feeding, &first).await;
    wait_until_async("it is asked whether anything has changed", || site.unchanged.load(Ordering::SeqCst) >= 2).await;
    assert_eq!(site.whole.load(Ordering::SeqCst), 1);
    let item = "<item><guid>photo-5</guid><title>new</title><enclosure url=\"/5.jpg\" type=\"image/jpeg\" length=\"1\"/></item><item>";
    let grown = fixture("rss.xml").replacen("<item>", item, 1);
    site.feed.lock().expect("not poisoned").clone_from(&grown);
    wait_for_keys(&topics, &feeding, &["photo-5"]).await;
    assert_eq!(feeding.end("TERM").code(), Some(0), "{}", feeding.said());
    assert!(
        feeding.said().contains("published 4 posts") && feeding.said().contains("no image: 1"),
        "{}",
        feeding.said()
    );
    assert!(
        !feeding.said().contains("secret")
            && !fs::read_to_string(folder.path().join("state")).expect("a state").contains("secret")
    );

    let mut again = Feeding::start(&topics, folder.path(), &[&url, "--state", "state"], &[]);
    assert_eq!(again.wait().code(), Some(0), "{}", again.said());
    assert_eq!(keys(&topics).len(), 4, "nothing comes twice: {}", again.said());
    for (path, why) in [("file", "302"), ("loop", "redirects"), ("none", "404")] {
        let mut refused = Feeding::start(&topics, folder.path(), &[&format!("http://{address}/{path}")], &[]);
        assert_eq!(refused.wait().code(), Some(1), "{}", refused.said());
        assert!(refused.said().contains(why), "{}", refused.said());
    }
}

/// A bucket by the S3 API, as far as it is asked here: keys in order, in pages.
type Bucket = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

async fn s3(
    State(bucket): State<Bucket>,
    uri: Uri,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let signed = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !signed.contains("AWS4-HMAC-SHA256 Credential=key-id/") {
        return StatusCode::FORBIDDEN.into_response();
    }
    let bucket = bucket.lock().expect("not poisoned");
    let Some(prefix) = query.get("prefix") else {
        let key = uri.path().trim_start_matches("/photos/");
        let modified = [("last-modified", "Fri, 27 Nov 2026 12:00:00 GMT")];
        return bucket
            .get(key)
            .map_or(StatusCode::NOT_FOUND.into_response(), |image| (modified, image.clone()).into_response());
    };
    let after = query.get("continuation-token").or(query.get("start-after")).cloned().unwrap_or_default();
    let mut keys = bucket.iter().filter(|(key, _)| key.starts_with(prefix) && **key > after);
    let page: Vec<_> = keys.by_ref().take(2).collect();
    let next = keys.next().map(|_| page[1].0);
    let contents: Vec<String> = page
        .iter()
        .map(|(key, image)| {
            format!("<Contents><Key>{key}</Key><LastModified>2026-11-27T12:00:00.000Z</LastModified><ETag>\"e\"</ETag><Size>{}</Size></Contents>", image.len())
        })
        .collect();
    let next = next.map(|key| format!("<NextContinuationToken>{key}</NextContinuationToken>")).unwrap_or_default();
    format!(
        "<?xml version=\"1.0\"?><ListBucketResult><Name>photos</Name>{}{next}</ListBucketResult>",
        contents.concat()
    )
    .into_response()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn a_bucket_is_read_in_order_and_then_followed() {
    let topics = Topics::create("feed-s3", 1).await;
    let folder = folder();
    let names = ["2025/old.jpg", "2026/a/cat.jpg", "2026/b.png", "2026/c.jpg", "2026/notes.txt", "2026/z.jpg"];
    let bucket: Bucket =
        Arc::new(Mutex::new(names.iter().map(|name| ((*name).to_owned(), photo("cat.jpg"))).collect()));
    bucket.lock().expect("not poisoned").insert("2026/big.jpg".into(), vec![0; 5 << 20]);
    let address = serve(Router::new().fallback(s3).with_state(Arc::clone(&bucket))).await;
    let endpoint = format!("http://{address}");
    let environment = [
        ("AWS_ENDPOINT", endpoint.as_str()),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_REGION", "test-1"),
        ("AWS_ACCESS_KEY_ID", "key-id"),
        ("AWS_SECRET_ACCESS_KEY", "the-secret"),
    ];
    let mut feeding = Feeding::start(&topics, folder.path(), &["s3://photos/2026/", "--state", "state"], &environment);
    assert_eq!(feeding.wait().code(), Some(3), "one is too large: {}", feeding.said());
    assert!(
        feeding.said().contains("published 4 posts") && feeding.said().contains("limits.record_bytes"),
        "{}",
        feeding.said()
    );
    assert_eq!(keys(&topics), ["a/cat", "b", "c", "z"]);
    let first = topics.read_all(&topics.name).remove(0);
    assert_eq!((first.header("content-type"), first.value), ("image/jpeg".into(), Some(photo("cat.jpg"))));

    // Before the last key: missed by whoever goes by keys alone.
    let arguments = ["s3://photos/2026/", "--state", "state", "--follow", "--poll-seconds", "0.2"];
    let mut feeding = Feeding::start(&topics, folder.path(), &arguments, &environment);
    wait_until_async("the state is one of what was seen", || {
        fs::read_to_string(folder.path().join("state")).is_ok_and(|state| state.contains("seen"))
    })
    .await;
    bucket.lock().expect("not poisoned").insert("2026/a/late.jpg".into(), photo("coffee.jpg"));
    wait_for_keys(&topics, &feeding, &["a/late"]).await;
    assert_eq!(feeding.end("TERM").code(), Some(0), "{}", feeding.said());
    assert_eq!(keys(&topics), ["a/cat", "a/late", "b", "c", "z"], "nothing comes twice");

    let mut stranger = environment;
    stranger[3].1 = "another-key";
    let mut denied = Feeding::start(&topics, folder.path(), &["s3://photos/2026/"], &stranger);
    assert_eq!(denied.wait().code(), Some(1), "{}", denied.said());
    assert!(!denied.said().contains("the-secret"), "{}", denied.said());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn what_the_broker_or_the_state_refuse_is_told() {
    let topics = Topics::create_with("feed-refused", 1, &[("max.message.bytes", "20000")]).await;
    let folder = folder();
    fs::write(folder.path().join("large.jpg"), photo("coffee.jpg")).expect("written");
    let small = image::load_from_memory(&photo("cat.jpg")).expect("decodes").thumbnail(64, 64);
    small.to_rgb8().save(folder.path().join("small.jpg")).expect("written");
    let mut feeding = Feeding::start(&topics, folder.path(), &[".", "--state", "state"], &[]);
    assert_eq!(feeding.wait().code(), Some(3), "{}", feeding.said());
    assert!(
        feeding.said().contains("max.message.bytes") && feeding.said().contains("published 1 posts"),
        "{}",
        feeding.said()
    );

    fs::write(folder.path().join("other.jsonl"), line(1)).expect("written");
    let mut feeding = Feeding::start(&topics, folder.path(), &["other.jsonl", "--state", "state"], &[]);
    assert_eq!(feeding.wait().code(), Some(1), "{}", feeding.said());
    assert!(feeding.said().contains("give another --state"), "{}", feeding.said());

    fs::write(folder.path().join("list.csv"), "image\n../../etc/passwd.jpg\nsmall.jpg\n").expect("written");
    let mut feeding = Feeding::start(&topics, folder.path(), &["list.csv"], &[]);
    assert_eq!(feeding.wait().code(), Some(3), "{}", feeding.said());
    assert!(
        feeding.said().contains("leads out of") && feeding.said().contains("published 1 posts"),
        "{}",
        feeding.said()
    );
}

/// What docs/attach.md walks through is there, under the names that stand there.
fn prepare(folder: &Path, site: SocketAddr) {
    let write = |name: &str, content: &[u8]| {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, content).expect("written");
    };
    for name in ["cat.jpg", "coffee.jpg"] {
        write(&format!("photos/{name}"), &photo(name));
        write(&format!("incoming/{name}"), &photo(name));
        write(&format!("ada-export/media_attachments/files/110/original/{name}"), &photo(name));
        write(&format!("ada-export/media_attachments/files/111/original/{name}"), &photo(name));
    }
    write("posts.csv", b"image,caption\nphotos/cat.jpg,so glad\nphotos/coffee.jpg,\n");
    write("posts.jsonl", (0..3).map(line).collect::<String>().as_bytes());
    for (name, from) in [
        ("feed.xml", "rss.xml"),
        ("ada-export/outbox.json", "outbox.json"),
        ("statuses.json", "statuses.json"),
        ("author-feed.json", "bluesky-feed.json"),
    ] {
        write(name, fixture(from).replace("https://cdn.photos.example", &format!("http://{site}/photos")).as_bytes());
    }
}

/// Every command of the walk-through, as it stands there but for the addresses of others and the topic.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn the_walk_through_of_the_documentation_runs() {
    let text = fs::read_to_string(repository("docs/attach.md")).expect("docs/attach.md");
    let section = text.split("## A feed that you have").nth(1).and_then(|rest| rest.split("\n## ").next());
    let blocks = section.expect("the section").split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let commands: Vec<&str> = blocks.flat_map(str::lines).filter(|line| line.contains("sentistream ")).collect();
    assert!(commands.len() >= 10, "{commands:?}");
    let (address, _) = site(&fixture("rss.xml")).await;
    let bucket: Bucket = Arc::new(Mutex::new(BTreeMap::from([("2026/cat.jpg".into(), photo("cat.jpg"))])));
    let s3 = serve(Router::new().fallback(s3).with_state(bucket)).await;
    let folder = folder();
    prepare(folder.path(), address);
    for command in commands {
        let topics = Topics::create("feed-docs", 1).await;
        let ours = command
            .replace("https://example.com/", &format!("http://{address}/"))
            .replace("--topic posts", &format!("--topic {}", topics.name));
        let (settings, arguments): (Vec<&str>, Vec<&str>) =
            ours.split_whitespace().partition(|word| word.contains('=') && !word.contains("://"));
        assert_eq!(arguments[..2], ["sentistream", "feed"], "{command}");
        let endpoint = format!("http://{s3}");
        let mut environment = vec![
            ("AWS_ENDPOINT", endpoint.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_ACCESS_KEY_ID", "key-id"),
            ("AWS_SECRET_ACCESS_KEY", "s"),
        ];
        environment.extend(settings.iter().filter_map(|setting| setting.split_once('=')));
        let mut feeding = Feeding::start(&topics, folder.path(), &arguments[2..], &environment);
        wait_until_async(&format!("{command} publishes: {}", feeding.said()), || {
            tokio::task::block_in_place(|| topics.count(&topics.name)) > 0
        })
        .await;
        let status = if arguments.contains(&"--follow") { feeding.end("TERM") } else { feeding.wait() };
        let some_are_broken = arguments.contains(&"statuses.json");
        assert_eq!(status.code(), Some(if some_are_broken { 3 } else { 0 }), "{command}: {}", feeding.said());
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn a_worker_scores_what_an_export_of_mastodon_holds() {
    let topics = Topics::create("feed-mastodon", 1).await;
    let folder = folder();
    prepare(folder.path(), "127.0.0.1:1".parse().expect("an address"));
    let mut feeding = Feeding::start(&topics, folder.path(), &["ada-export/outbox.json", "--encoding", "json"], &[]);
    assert_eq!(feeding.wait().code(), Some(0), "{}", feeding.said());
    assert!(feeding.said().contains("skipped 2 (a boost: 1, no image: 1)"), "{}", feeding.said());
    let worker = WorkerProcess::start(&topics.environment());
    topics.wait_for_outcomes(2).await;
    let results = topics.read_all(&topics.output());
    assert_eq!(results.len(), 2, "{}", worker.log());
    let first = results
        .iter()
        .map(crate::support::kafka::Read::json)
        .find(|result| result["id"] == "https://social.example/users/ada/statuses/101");
    let first = first.expect("the first post");
    assert_eq!((&first["source"], &first["tags"][0]), (&json!("https://social.example/users/ada"), &json!("caturday")));

    // The same file, without a broker.
    let path = folder.path().join("ada-export/outbox.json");
    let (code, out, error) = ended(&sentistream(&["score"]).arg(&path).output().expect("runs"));
    assert_eq!(code, 0, "{error}");
    let scored: Value = serde_json::from_str(out.lines().next().expect("a result")).expect("JSON");
    assert_eq!(scored["sentiment"]["label"], first["sentiment"]["label"]);
}
