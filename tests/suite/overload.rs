//! Overload: far more waits than may be in flight. Memory stays where it was, and hardly anything is fetched twice.
//!
//! `make memory` runs the long form of the first test: 100 times the backlog that saturates a worker.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sentistream::worker::Worker;

use crate::admin::{get, sample};
use crate::end_to_end::stop;
use crate::support::kafka::Topics;
use crate::support::photos::{TestPost, posts};
use crate::support::process::WorkerProcess;
use crate::support::{wait_until, wait_until_async};

/// Enough that the limits are reached at once.
const SATURATING: usize = 200;
const IN_FLIGHT_RECORDS: &str = "64";
const IN_FLIGHT_MIB: usize = 32;
/// What memory may grow by with the backlog.
const GROWTH: f64 = 1.1;
/// The same for its peak, a single moment that a longer run has more chances of.
const PEAK_GROWTH: f64 = 1.2;
/// Bytes fetched for every byte pulled.
const FETCHED: f64 = 1.1;

/// What a worker took to work off a backlog.
struct Taken {
    backlog: usize,
    /// Median and most of its resident memory, in MiB, from the first outcome to the last.
    steady: f64,
    peak: f64,
    fetched: f64,
    pulled: f64,
    rate: f64,
}

/// A line of `/proc/PID/status`, in MiB.
fn memory(process: u32, name: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("a Linux process");
    let line = status.lines().find(|line| line.starts_with(name)).expect("a line");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).expect("a number") / 1024.0
}

/// Distinct posts over and over, each time under other keys.
fn feed(topics: &Topics, distinct: &[TestPost], count: usize) {
    for round in 0..count.div_ceil(distinct.len()) {
        let again = |post: &TestPost| TestPost { key: Some(format!("{}-{round}", post.id).into()), ..post.clone() };
        let left = count - round * distinct.len();
        topics.feed(&distinct.iter().take(left).map(again).collect::<Vec<_>>());
    }
}

async fn work_off(distinct: &[TestPost], backlog: usize) -> Taken {
    let topics = Topics::create("overload", 2).await;
    feed(&topics, distinct, backlog);
    let mut environment = topics.environment();
    environment.push(("SENTISTREAM__LIMITS__IN_FLIGHT_RECORDS".into(), IN_FLIGHT_RECORDS.into()));
    environment.push(("SENTISTREAM__LIMITS__IN_FLIGHT_BYTES".into(), (IN_FLIGHT_MIB << 20).to_string()));
    // Posts come again and again, and each is to cost what it costs the first time.
    let cache = std::env::var("SENTISTREAM_TEST_CACHE_BYTES").unwrap_or_else(|_| "0".into());
    environment.push(("SENTISTREAM__MODEL__CACHE_BYTES".into(), cache));
    let worker = WorkerProcess::start(&environment);
    topics.wait_for_outcomes(1).await;
    let (started, over) = (Instant::now(), AtomicBool::new(false));
    let mut readings = Vec::new();
    thread::scope(|scope| {
        let sampling = scope.spawn(|| {
            let mut readings = vec![memory(worker.id(), "VmRSS")];
            while !over.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(50));
                readings.push(memory(worker.id(), "VmRSS"));
            }
            readings
        });
        tokio::task::block_in_place(|| {
            let runtime = tokio::runtime::Handle::current();
            // Step by step, since each wait has a deadline of its own.
            for outcomes in (0..=backlog).step_by(backlog / 50) {
                runtime.block_on(topics.wait_for_outcomes(outcomes));
            }
        });
        over.store(true, Ordering::Relaxed);
        readings = sampling.join().expect("readings");
    });
    let seconds = started.elapsed().as_secs_f64();
    readings.sort_by(f64::total_cmp);
    let (fetched, pulled) = bytes(&worker, &topics);
    let (steady, peak) = (readings[readings.len() / 2], memory(worker.id(), "VmHWM"));
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let rate = backlog as f64 / seconds;
    Taken { backlog, steady, peak, fetched, pulled, rate }
}

/// Bytes fetched and pulled, once the statistics are in: they tell the lag, too.
fn bytes(worker: &WorkerProcess, topics: &Topics) -> (f64, f64) {
    let address = worker.admin();
    let mut bytes = (0.0, 0.0);
    wait_until("the statistics tell of the last fetch", || {
        let (_, metrics) = get(&address, "/metrics");
        let at = |name: &str| sample(&metrics, &format!("sentistream_{name}"));
        bytes = (at("fetched_bytes_total"), at("record_bytes_total"));
        let lag =
            |partition| at(&format!("consumer_lag_records{{partition=\"{partition}\",topic=\"{}\"}}", topics.name));
        bytes.0 >= bytes.1 && lag(0) + lag(1) < 0.5
    });
    bytes
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka, and minutes: make test, make memory"]
async fn memory_stays_flat_while_thousands_wait() {
    // How many times the backlog of a worker that is just saturated.
    let times = std::env::var("SENTISTREAM_TEST_TIMES").map_or(25, |times| times.parse().expect("a number"));
    let distinct = posts("post", SATURATING);
    let saturated = work_off(&distinct, SATURATING).await;
    let loaded = work_off(&distinct, times * SATURATING).await;
    println!("in flight at most {IN_FLIGHT_RECORDS} records and {IN_FLIGHT_MIB} MiB; resident memory in MiB");
    println!("{:>8} {:>7} {:>6} {:>15} {:>8}", "backlog", "steady", "peak", "fetched/pulled", "posts/s");
    for taken in [&saturated, &loaded] {
        let Taken { backlog, steady, peak, fetched, pulled, rate } = taken;
        println!("{backlog:>8} {steady:>7.0} {peak:>6.0} {:>15.2} {rate:>8.0}", fetched / pulled);
    }
    let (steady, peak) = (loaded.steady / saturated.steady, loaded.peak / saturated.peak);
    let percent = |growth: f64| (growth - 1.0) * 100.0;
    println!("{times} times the backlog: steady {:+.1}%, peak {:+.1}%", percent(steady), percent(peak));
    assert!(steady <= GROWTH && peak <= PEAK_GROWTH, "memory grew with the backlog");
    assert!(loaded.fetched <= FETCHED * loaded.pulled, "fetched more than once");
}

/// Batches that are held back for longer than it takes to poll: what was fetched ahead must not be thrown away for it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn batches_that_take_long_are_no_reason_to_fetch_twice() {
    let topics = Topics::create("slow-batches", 1).await;
    feed(&topics, &posts("post", 100), 400);
    let mut settings = topics.settings();
    // A batch never fills, since the bytes run out at 4 MiB: each waits for its linger, and nothing leaves meanwhile.
    (settings.limits.records, settings.batch.max_posts, settings.batch.linger_ms) = (1000, 1000, 1500);
    (settings.limits.bytes, settings.limits.record_bytes) = (32 << 20, 28 << 20);
    let worker = Worker::start(&settings).await.expect("starts");
    topics.wait_for_outcomes(400).await;
    let metrics = &worker.metrics;
    let lag = || metrics.consumer_lag.with_label_values(&[&topics.name, "0"]).get();
    wait_until_async("the statistics tell of the last fetch", || {
        metrics.fetched_bytes.get() >= metrics.record_bytes.get() && lag() == 0
    })
    .await;
    let (batches, pauses) = (metrics.batch_size.get_sample_count(), metrics.pauses.get());
    let (fetched, pulled) = (metrics.fetched_bytes.get(), metrics.record_bytes.get());
    stop(vec![worker]).await;
    println!("{batches} batches, {pauses} pauses, {fetched} bytes fetched for {pulled} pulled");
    assert!(batches >= 4, "{batches}");
    assert!(fetched * 10 <= pulled * 11, "{fetched} bytes fetched for {pulled} pulled, with {pauses} pauses");
}
