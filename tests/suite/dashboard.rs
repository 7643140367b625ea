//! `sentistream dashboard` on a real broker: what it tells equals what stands on the topics, whatever is killed, deleted or made anew.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use serde_json::{Value, json};

use crate::support::kafka::Topics;
use crate::support::photos::TestPost;
use crate::support::process::{bound_sentistream, ended, sentistream, signal};
use crate::support::{PATIENCE, wait_until};

/// A dashboard process; killed when dropped.
struct Dashboard {
    child: Child,
    address: String,
}

impl Dashboard {
    fn start(topics: &Topics, store: &Path) -> Self {
        Self::start_with(topics, store, &[])
    }

    fn start_with(topics: &Topics, store: &Path, more: &[(&str, &str)]) -> Self {
        let mut command = bound_sentistream(&["dashboard"]);
        command.envs(topics.environment()).env("SENTISTREAM__DASHBOARD__STORE", store);
        command.env("SENTISTREAM__DASHBOARD__LISTEN", "127.0.0.1:0").envs(more.iter().copied());
        let mut child = command.stdout(Stdio::piped()).spawn().expect("starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("readable");
        let address = line.trim().strip_prefix("dashboard: ").unwrap_or_else(|| panic!("an address: {line:?}"));
        Self { address: address.trim_end_matches('/').to_owned(), child }
    }

    fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask(path, &[]);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).expect("JSON")
    }

    fn ask(&self, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
        let mut arguments = vec!["-sS".to_owned(), "-w".into(), "\n%{http_code}".into()];
        arguments.extend(headers.iter().flat_map(|(name, value)| ["-H".to_owned(), format!("{name}: {value}")]));
        arguments.push(format!("{}{path}", self.address));
        let output = std::process::Command::new("curl").args(arguments).output().expect("curl runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').expect("a status");
        (status.parse().expect("a status"), body.to_owned())
    }

    /// Posts by label of the last 90 days.
    fn labels(&self) -> BTreeMap<String, u64> {
        let labels = self.get("/api/v1/series?from=now-90d&to=now")["total"]["labels"].clone();
        serde_json::from_value(labels).expect("counts")
    }

    fn wait_for(&self, expected: &BTreeMap<String, u64>) {
        wait_until(&format!("the dashboard tells {expected:?}"), || self.labels() == *expected);
        // Told again once everything is read: nothing comes twice.
        wait_until("everything is read", || self.get("/api/v1/health")["ingest"]["behind"] == json!(0));
        assert_eq!(self.labels(), *expected);
    }

    fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("waits");
    }

    fn terminate(mut self) {
        signal(self.child.id(), "TERM");
        wait_until("the dashboard ends", || self.child.try_wait().expect("waits").is_some());
        assert!(self.child.wait().expect("waits").success(), "in order");
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const LABELS: [&str; 3] = ["negative", "neutral", "positive"];

/// A result such as a worker publishes, of the post at this offset.
fn result(topics: &Topics, offset: usize, minutes_ago: i64) -> TestPost {
    let label = LABELS[offset % 3];
    let at = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(minutes_ago);
    let polarity = f64::from(i32::try_from(offset % 3).expect("small") - 1) * 0.8;
    let value = json!({
        "schema": 1, "result_id": "r", "id": format!("post-{offset}"), "source": "feed", "published_at": at.to_string(),
        "scored_at": at.to_string(),
        "sentiment": {"label": label, "polarity": polarity, "confidence": 0.9, "probabilities": {label: 0.9}},
        "relevance": {"image": 1.0}, "effects": {}, "tags": [format!("tag{}", offset % 5)], "flags": [],
        "model": {"bundle": "b", "version": "1", "digest": "d"},
        "origin": {"topic": topics.name, "partition": 0, "offset": offset}
    });
    TestPost::raw(&format!("post-{offset}"), value.to_string().as_bytes())
}

/// Publishes to the results topic.
fn publish(topics: &Topics, posts: &[TestPost]) {
    let results = Topics::of(topics.brokers.clone(), topics.output(), topics.partitions);
    results.feed(posts);
}

fn results(topics: &Topics, offsets: std::ops::Range<usize>) -> Vec<TestPost> {
    offsets.map(|offset| result(topics, offset, 5)).collect()
}

/// Counted off the topic by another reader: the last of every post, and none that a tombstone came after.
fn counted(topics: &Topics) -> BTreeMap<String, u64> {
    let mut posts: BTreeMap<String, String> = BTreeMap::new();
    for read in topics.read_all(&topics.output()) {
        let key = read.key.clone().expect("a key");
        if read.value.is_some() {
            let result = read.json();
            posts.insert(key, result["sentiment"]["label"].as_str().expect("a label").to_owned());
        } else {
            posts.remove(&key);
        }
    }
    let mut counts = BTreeMap::new();
    for label in posts.into_values() {
        *counts.entry(label).or_default() += 1;
    }
    counts
}

async fn remake(topics: &Topics) {
    let (admin, options, name) = (topics.admin(), AdminOptions::new(), topics.output());
    for deleted in admin.delete_topics(&[&name], &options).await.expect("broker answers") {
        deleted.expect("deleted");
    }
    let new = NewTopic::new(&name, topics.partitions, TopicReplication::Fixed(1));
    let deadline = std::time::Instant::now() + PATIENCE;
    // Being deleted takes the broker a moment.
    loop {
        let made = admin.create_topics([&new], &options).await.expect("broker answers");
        if made.iter().all(Result::is_ok) {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{made:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn a_dashboard_killed_over_and_over_counts_every_post_once() {
    let topics = Topics::create("dashboard-killed", 3).await;
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    let fed = results(&topics, 0..30_000);
    let feeding = std::thread::spawn({
        let topics = Topics::of(topics.brokers.clone(), topics.name.clone(), 3);
        move || fed.chunks(3000).for_each(|posts| publish(&topics, posts))
    });
    for _ in 0..4 {
        let dashboard = Dashboard::start(&topics, &store);
        let before = dashboard.labels();
        wait_until("it reads", || dashboard.labels() != before || dashboard.labels().values().sum::<u64>() == 30_000);
        dashboard.kill();
    }
    feeding.join().expect("fed");
    // What a worker that was killed publishes twice, and tombstones.
    publish(&topics, &results(&topics, 0..500));
    let tombstones: Vec<_> = (100..200).map(|offset| TestPost { value: None, ..result(&topics, offset, 5) }).collect();
    publish(&topics, &tombstones);
    publish(&topics, &[TestPost::raw("hostile", b"[[[["), TestPost::raw("null", b"null")]);
    let dashboard = Dashboard::start(&topics, &store);
    let expected = BTreeMap::from(LABELS.map(|label| {
        let left = (0..30_000).filter(|offset| !(100..200).contains(offset) && LABELS[offset % 3] == label).count();
        (label.to_owned(), u64::try_from(left).expect("few"))
    }));
    dashboard.wait_for(&expected);
    let health = dashboard.get("/api/v1/health");
    assert_eq!(health["ingest"]["skipped"]["not_a_result"], json!(2), "{health}");
    assert_eq!(health["store"]["posts"], json!(29_900));
    dashboard.terminate();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn a_topic_that_is_made_anew_is_read_from_its_beginning() {
    let topics = Topics::create("dashboard-anew", 1).await;
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    publish(&topics, &results(&topics, 0..300));
    let dashboard = Dashboard::start(&topics, &store);
    let expected = |posts: u64| BTreeMap::from(LABELS.map(|label| (label.to_owned(), posts / 3)));
    dashboard.wait_for(&expected(300));
    // While it runs, refilled beyond the old position, with a third of the posts that it knows.
    remake(&topics).await;
    publish(&topics, &results(&topics, 200..900));
    dashboard.wait_for(&expected(900));
    dashboard.terminate();
    // While it is stopped: beyond its position, then shorter than it.
    remake(&topics).await;
    publish(&topics, &results(&topics, 900..2400));
    let dashboard = Dashboard::start(&topics, &store);
    dashboard.wait_for(&expected(2400));
    dashboard.terminate();
    remake(&topics).await;
    publish(&topics, &results(&topics, 2400..2700));
    let dashboard = Dashboard::start(&topics, &store);
    dashboard.wait_for(&expected(2700));
    dashboard.terminate();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn numbers_are_those_of_the_topic_and_every_view_agrees() {
    let topics = Topics::create("dashboard-numbers", 2).await;
    let folder = tempfile::tempdir().expect("a folder");
    let mut fed = results(&topics, 0..200);
    fed.push(TestPost { value: None, ..result(&topics, 7, 5) });
    publish(&topics, &fed);
    // Older than what is kept.
    publish(&topics, &[result(&topics, 200, 91 * 24 * 60)]);
    let letters = Topics::of(topics.brokers.clone(), topics.dead_letters(), 2);
    let letter = |key: &str, headers: &[(&str, &str)]| TestPost {
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect(),
        ..TestPost::raw(key, b"{")
    };
    letters.feed(&[
        letter("a", &[("dlq.reason", "not_json"), ("dlq.origin", "posts/0/1")]),
        letter("a", &[("dlq.reason", "not_json"), ("dlq.origin", "posts/0/1")]),
        letter("b", &[("dlq.reason", "corrupt_image"), ("dlq.origin", "posts/0/2")]),
        letter("c", &[]),
    ]);
    let dashboard = Dashboard::start(&topics, &folder.path().join("store"));
    let mut expected = counted(&topics);
    // The one that is too old.
    *expected.get_mut(LABELS[200 % 3]).expect("counted") -= 1;
    dashboard.wait_for(&expected);
    wait_until("the dead letters are read", || dashboard.get("/api/v1/health")["dead_letters"]["total"] == json!(2));
    let health = dashboard.get("/api/v1/health");
    assert_eq!(health["ingest"]["skipped"], json!({"not_a_result": 1, "too_old": 1}));
    assert_eq!(health["ingest"]["connected"], json!(true));
    wait_until("the lag is told", || dashboard.get("/api/v1/health")["worker"]["lag"] == json!(0));
    let series = dashboard.get("/api/v1/series?tag=tag2");
    assert_eq!(series["total"]["posts"], json!(39), "post-7 carried it and was erased");
    let (mut listed, mut after) = (Vec::new(), String::new());
    loop {
        let page = dashboard.get(&format!("/api/v1/posts?limit=60{after}"));
        listed.extend(page["posts"].as_array().expect("posts").iter().map(|post| post["id"].clone()));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    let unique: std::collections::HashSet<_> = listed.iter().map(ToString::to_string).collect();
    assert_eq!((listed.len(), unique.len()), (199, 199));
    let (status, csv) = dashboard.ask("/api/v1/posts?format=csv&label=negative&source=feed&limit=200", &[]);
    let lines = u64::try_from(csv.trim().lines().count()).expect("few");
    assert_eq!((status, lines), (200, 1 + expected["negative"]));
    let (status, told) = dashboard.ask("/api/v1/series?from=yesterday", &[]);
    assert!(status == 400 && told.contains("bad_time"), "{told}");
    dashboard.terminate();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn it_serves_while_topics_are_absent_and_only_whom_it_should() {
    let mut topics = Topics::create("dashboard-served", 1).await;
    topics.name += "-absent";
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    let dashboard = Dashboard::start(&topics, &store);
    wait_until("it waits for the topic", || {
        dashboard.get("/api/v1/health")["ingest"]["error"]
            .as_str()
            .is_some_and(|error| error.contains("is not there yet"))
    });
    assert_eq!(dashboard.ask("/api/v1/health", &[("Host", "evil.example")]).0, 403);
    // A second one on the same store.
    let mut second = sentistream(&["dashboard"]);
    second.envs(topics.environment()).env("SENTISTREAM__DASHBOARD__STORE", &store);
    second.env("SENTISTREAM__DASHBOARD__LISTEN", "127.0.0.1:0");
    let (code, _, said) = ended(&second.output().expect("runs"));
    assert!(code == 1 && said.contains("in use by another dashboard"), "{code} {said}");
    dashboard.terminate();
    let open = [("SENTISTREAM__DASHBOARD__LISTEN", "0.0.0.0:0")];
    let (code, _, said) =
        ended(&sentistream(&["dashboard"]).envs(topics.environment()).envs(open).output().expect("runs"));
    assert!(code == 2 && said.contains("dashboard.token_file"), "{code} {said}");

    let token = "0123456789abcdef";
    let dashboard = Dashboard::start_with(&topics, &store, &[("SENTISTREAM__DASHBOARD__TOKEN", token)]);
    for path in ["/api/v1/health", "/api/v1/events", "/?token=wrong"] {
        assert_eq!(dashboard.ask(path, &[]).0, 401, "{path}");
    }
    assert_eq!(dashboard.ask("/healthz", &[]).0, 200);
    let bearer = format!("Bearer {token}");
    assert_eq!(dashboard.ask("/api/v1/health", &[("Authorization", &bearer), ("Host", "any.example")]).0, 200);
    let cookies = folder.path().join("cookies");
    let curl = |arguments: &[&str]| {
        let output = std::process::Command::new("curl")
            .args(["-sS", "-i", "-b"])
            .arg(&cookies)
            .arg("-c")
            .arg(&cookies)
            .args(arguments)
            .output();
        String::from_utf8_lossy(&output.expect("curl runs").stdout).into_owned()
    };
    let logged_in = curl(&[&format!("{}/?token={token}&tag=cat", dashboard.address)]);
    assert!(
        logged_in.contains("refresh: 0; url=/?tag=cat") && logged_in.contains("HttpOnly; SameSite=Strict"),
        "{logged_in}"
    );
    assert!(curl(&[&format!("{}/api/v1/health", dashboard.address)]).starts_with("HTTP/1.1 200"), "by its cookie");
    dashboard.terminate();
}
