//! The dashboard's store at size: `make dashboard-bench` fills one with made-up results over 90 days, and tells how fast it is written,
//! how large it is, and how long every answer takes through the HTTP router, cold (the first after the store was opened) and warm.
//!
//! `POSTS` says how many (10 million), `STORE` where (a temporary folder; one that is there already is measured as it is, and kept).

#![expect(clippy::expect_used, clippy::print_stdout, clippy::cast_precision_loss, reason = "a bench")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use jiff::Timestamp;
use sentistream::dashboard::auth::Guard;
use sentistream::dashboard::record::{self, Entry};
use sentistream::dashboard::serve::{Shown, router};
use sentistream::dashboard::status::Status;
use sentistream::dashboard::store::query::Readers;
use sentistream::dashboard::store::write::Clock;
use sentistream::dashboard::store::{self, Writer};
use serde_json::json;
use tokio::sync::watch;
use tower::ServiceExt as _;

const DAYS: u32 = 90;
const DAY: i64 = 86_400_000;
/// Records of one transaction, as when a topic is read from its beginning.
const BATCH: usize = 20_000;
const SOURCES: [(&str, u32); 8] = [
    ("instagram/acme", 30),
    ("instagram/rivals", 20),
    ("flickr/travel", 14),
    ("x/support", 12),
    ("tiktok/food", 10),
    ("mastodon/photo", 7),
    ("reddit/pics", 5),
    ("", 2),
];
const TAGS: usize = 40_000;
/// What answers are asked for, with how far back each range goes.
const RANGES: [&str; 3] = ["now-15m", "now-24h", "now-90d"];

fn main() {
    let posts: i64 = std::env::var("POSTS").map_or(10_000_000, |posts| posts.parse().expect("POSTS is a number"));
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let path = std::env::var_os("STORE").map_or_else(|| temporary.path().join("dashboard.sqlite"), PathBuf::from);
    if path.exists() {
        println!("measuring {} as it is", path.display());
    } else {
        fill(&path, posts);
    }
    size(&path);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(measure(&path));
}

fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

fn fill(path: &Path, posts: i64) {
    let mut writer = store::open(path).expect("a new store");
    let mut making = Making::new(posts);
    let (mut written, mut writing) = (0, Duration::ZERO);
    while written < posts {
        let count = usize::try_from(posts - written).expect("fits").min(BATCH);
        let records: Vec<_> = (0..count).map(|_| making.record()).collect();
        // What the dashboard does with records, without the broker.
        let started = Instant::now();
        write(&mut writer, &records);
        writing += started.elapsed();
        written += i64::try_from(count).expect("fits");
        if written % (posts / 20).max(1) < i64::try_from(BATCH).expect("fits") {
            let rate = written as f64 / writing.as_secs_f64();
            println!("{written:>9} results written, {rate:.0} results/s");
        }
    }
    println!(
        "writing: {posts} results in {:.0} s, {:.0} results/s",
        writing.as_secs_f64(),
        posts as f64 / writing.as_secs_f64()
    );
}

fn write(writer: &mut Writer, records: &[(String, Vec<u8>)]) {
    let entries: Vec<_> =
        records.iter().map(|(key, value)| record::result(Some(key.as_bytes()), Some(value), None, now())).collect();
    assert!(entries.iter().all(|entry| matches!(entry, Entry::Scored(_))), "made-up results are results");
    writer.apply(&entries, &[], Clock::at(now(), DAYS)).expect("written");
}

/// Makes results up, the oldest first.
struct Making {
    random: fastrand::Rng,
    number: i64,
    posts: i64,
    from: i64,
    /// Sums of the tags' weights, by Zipf's law.
    zipf: Vec<f64>,
}

impl Making {
    fn new(posts: i64) -> Self {
        let mut sum = 0.0;
        let weights = (1..=TAGS).map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        });
        let zipf = weights.collect();
        Self { random: fastrand::Rng::with_seed(7), number: 0, posts, from: now() - i64::from(DAYS - 1) * DAY, zipf }
    }

    /// Key and value.
    fn record(&mut self) -> (String, Vec<u8>) {
        let number = self.number;
        self.number += 1;
        let at = self.from + i64::from(DAYS - 1) * DAY * number / self.posts;
        let source = self.source();
        // A bad three days, 30 days before the end.
        let is_bad = source == "instagram/acme" && (at - self.from) / DAY >= 56 && (at - self.from) / DAY < 59;
        let mood: f64 = if is_bad { -0.6 } else { 0.25 };
        let polarity = (mood + self.random.f64() + self.random.f64() - 1.0).clamp(-1.0, 1.0);
        let label = if polarity > 0.33 {
            "positive"
        } else if polarity < -0.33 {
            "negative"
        } else {
            "neutral"
        };
        let [caption, tags] = [self.random.f64() * 0.5, self.random.f64() * 0.3];
        let mut carried: Vec<_> = (0..self.random.u32(1..=5)).map(|_| self.tag()).collect();
        if is_bad && self.random.f64() < 0.4 {
            carried.push("terribleservice".into());
        }
        let flags: &[&str] = if self.random.f64() < 0.1 { &["caption_missing"] } else { &[] };
        let id = format!("post-{number:08}");
        let positive = f64::midpoint(polarity, 1.0);
        let value = json!({
            "schema": 1, "result_id": "9bc3c9c4e3c56eb9cc9897c7a3734d56", "id": id,
            "source": source, "published_at": time(at), "scored_at": time(at + 1500),
            "sentiment": {"label": label, "polarity": polarity, "confidence": 0.5 + self.random.f64() / 2.0,
                          "probabilities": {"negative": (1.0 - positive) * 0.9, "neutral": 0.1, "positive": positive * 0.9}},
            "relevance": {"image": 1.0 - caption - tags - 0.1, "caption": caption, "tags": tags, "context": 0.1},
            "effects": {"caption": caption - 0.2, "tags": 0.01, "context": 0.02},
            "tags": carried, "flags": flags,
            "model": {"bundle": "default", "version": if number < self.posts / 2 { "0.1.0" } else { "0.2.0" }, "digest": "b5475bc1"},
            "origin": {"topic": "posts", "partition": number % 6, "offset": number / 6}
        });
        (id, value.to_string().into_bytes())
    }

    fn source(&mut self) -> &'static str {
        let mut left = self.random.u32(0..100);
        let source = SOURCES.iter().find(|(_, share)| {
            let is_it = left < *share;
            left = left.saturating_sub(*share);
            is_it
        });
        source.map_or("", |(source, _)| source)
    }

    fn tag(&mut self) -> String {
        let place = self.random.f64() * self.zipf.last().copied().expect("tags");
        format!("tag{}", self.zipf.partition_point(|sum| *sum < place))
    }
}

fn time(ms: i64) -> String {
    Timestamp::from_millisecond(ms).expect("a time").to_string()
}

fn size(path: &Path) {
    // Opened by its writer once, so that what stands in the log beside it is counted in.
    drop(store::open(path).expect("the store"));
    let bytes = std::fs::metadata(path).expect("the store").len();
    let reader = rusqlite::Connection::open(path).expect("the store");
    let posts: i64 = reader.query_row("SELECT count(*) FROM posts", [], |row| row.get(0)).expect("counted");
    println!(
        "size: {:.2} GB, {:.0} MB per million of {posts} results",
        bytes as f64 / 1e9,
        bytes as f64 / posts as f64
    );
}

struct Served {
    router: axum::Router,
    _told: (watch::Sender<i64>, watch::Sender<bool>),
}

fn serve(path: &Path) -> Served {
    let (revision, told) = watch::channel(1);
    let (stop, stopped) = watch::channel(false);
    let shown = Shown {
        readers: Readers::open(path).expect("readers"),
        guard: Arc::new(Guard::new(None, &[])),
        status: Arc::new(Status::default()),
        revision: told,
        stop: stopped,
        listeners: Shown::listeners(),
        retention_days: DAYS,
        group: "sentistream".into(),
    };
    Served { router: router(shown), _told: (revision, stop) }
}

async fn ask(served: &Served, path: &str) -> (Duration, usize) {
    let started = Instant::now();
    let request = Request::get(path).header(header::HOST, "localhost").body(Body::empty()).expect("a request");
    let response = served.router.clone().oneshot(request).await.expect("answered");
    let status = response.status();
    let bytes = to_bytes(response.into_body(), usize::MAX).await.expect("a body").len();
    assert_eq!(status, StatusCode::OK, "{path}");
    (started.elapsed(), bytes)
}

/// Cold is the first answer of a newly opened store whose pages the system has dropped, as far as it lets us.
async fn measure(path: &Path) {
    println!("{:<72} {:>8} {:>8} {:>9}", "", "cold ms", "warm ms", "bytes");
    for range in RANGES {
        let paths = [
            format!("/api/v1/series?from={range}"),
            format!("/api/v1/series?from={range}&source=instagram/acme"),
            format!("/api/v1/series?from={range}&tag=tag0"),
            format!("/api/v1/series?from={range}&tag=tag2000"),
            format!("/api/v1/tags?from={range}"),
            format!("/api/v1/tags?from={range}&source=instagram/acme&source=x/support"),
            format!("/api/v1/posts?from={range}"),
            format!("/api/v1/posts?from={range}&source=reddit/pics&label=negative"),
            format!("/api/v1/posts?from={range}&tag=tag30000"),
            format!("/api/v1/health?from={range}"),
        ];
        for asked in &paths {
            report(path, asked, &[asked]).await;
        }
        let views = ["series", "tags", "health", "posts"].map(|view| format!("/api/v1/{view}?from={range}"));
        let paint: Vec<&String> = views.iter().collect();
        report(path, &format!("first paint {range}: page, series, tags, health, posts"), &paint).await;
    }
}

async fn report(path: &Path, what: &str, asked: &[&String]) {
    forget(path);
    let served = serve(path);
    let mut all = Vec::new();
    for _ in 0..6 {
        let started = Instant::now();
        let mut bytes = 0;
        if asked.len() > 1 {
            bytes += ask(&served, "/").await.1;
        }
        for asked in asked {
            bytes += ask(&served, asked).await.1;
        }
        all.push((started.elapsed(), bytes));
    }
    let (cold, bytes) = all.remove(0);
    all.sort_unstable();
    let warm = all.get(all.len() / 2).expect("five").0;
    println!("{what:<72} {:>8.1} {:>8.1} {bytes:>9}", cold.as_secs_f64() * 1e3, warm.as_secs_f64() * 1e3);
}

/// Drops the store's pages from the system's cache.
fn forget(path: &Path) {
    let file = std::fs::File::open(path).expect("the store");
    file.sync_all().expect("synced");
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("advised");
}
