//! Overload: thousands of posts wait, little may be in flight, and memory stays where it was.

use std::fs;
use std::time::Instant;

use crate::support::kafka::Topics;
use crate::support::photos::{TestPost, posts};
use crate::support::process::WorkerProcess;

const WAITING: usize = 5_000;
const DISTINCT: usize = 200;
/// What memory may move by once the worker is saturated.
const SLACK_MIB: u64 = 64;

fn resident_mib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("a Linux process");
    let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") / 1024
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka, and minutes: make test"]
async fn memory_stays_flat_while_thousands_wait() {
    let topics = Topics::create("overload", 2).await;
    let distinct = posts("post", DISTINCT);
    for round in 0..WAITING / DISTINCT {
        let again = |post: &TestPost| TestPost { key: Some(format!("{}-{round}", post.id).into()), ..post.clone() };
        topics.feed(&distinct.iter().map(again).collect::<Vec<_>>());
    }
    let mut environment = topics.environment();
    environment.push(("SENTISTREAM__LIMITS__IN_FLIGHT_RECORDS".into(), "64".into()));
    environment.push(("SENTISTREAM__LIMITS__IN_FLIGHT_BYTES".into(), (32 << 20).to_string()));
    let started = Instant::now();
    let worker = WorkerProcess::start(&environment);
    let mut readings = Vec::new();
    for step in 1..=10 {
        topics.wait_for_outcomes(WAITING * step / 10).await;
        readings.push(resident_mib(worker.id()));
    }
    let rate = u64::try_from(WAITING).expect("few") / started.elapsed().as_secs().max(1);
    println!("resident memory at each tenth of {WAITING} posts: {readings:?} MiB; about {rate} posts/s");
    let (saturated, most) = (readings[0], *readings.iter().max().expect("ten"));
    assert!(most <= saturated + SLACK_MIB, "grew from {saturated} to {most} MiB while working off the same backlog");
}
