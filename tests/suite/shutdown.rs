//! How a worker ends - drained by a signal, killed, or unable to go on - and what the next one finds.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::end_to_end::origin_of;
use crate::support::kafka::Topics;
use crate::support::photos::posts;
use crate::support::process::WorkerProcess;

fn count(fed: usize) -> i64 {
    i64::try_from(fed).expect("few")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn a_signal_drains_and_the_next_worker_goes_on_where_it_stopped() {
    let topics = Topics::create("drain", 2).await;
    let fed = posts("post", 200);
    let mut environment = topics.environment();
    // Few in flight, so that a drain is far from the end of the topic.
    environment.extend([
        ("SENTISTREAM__LIMITS__IN_FLIGHT_RECORDS".into(), "16".into()),
        ("SENTISTREAM__BATCH__MAX_POSTS".into(), "8".into()),
    ]);
    let mut worker = WorkerProcess::start(&environment);
    topics.feed(&fed);
    topics.wait_for_outcomes(20).await;
    worker.signal("TERM");
    let status = worker.wait();
    assert_eq!(status.code(), Some(0), "{}", worker.log());

    let published = topics.count(&topics.output());
    assert_eq!(topics.committed(), published, "what was published is committed, and nothing else");
    assert!(published < count(fed.len()), "it was stopped midway");

    let mut next = WorkerProcess::start(&topics.environment());
    topics.wait_for_outcomes(fed.len()).await;
    next.signal("INT");
    assert_eq!(next.wait().code(), Some(0), "{}", next.log());
    assert_eq!(topics.count(&topics.output()), count(fed.len()), "exactly one result for every post");
    assert_eq!(topics.committed(), count(fed.len()));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn a_killed_worker_loses_nothing() {
    let topics = Topics::create("kill", 2).await;
    let fed = posts("post", 160);
    let mut environment = topics.environment();
    // The broker should notice the death soon.
    let settings = tempfile::NamedTempFile::new().expect("temporary file");
    std::fs::write(&settings, "kafka:\n  consumer:\n    session.timeout.ms: 6000\n    heartbeat.interval.ms: 500\n")
        .expect("written");
    environment.push(("SENTISTREAM_TEST_CONFIG".into(), settings.path().to_string_lossy().into_owned()));
    let mut worker = WorkerProcess::start(&environment);
    topics.feed(&fed);
    topics.wait_for_outcomes(20).await;
    worker.signal("KILL");
    worker.wait();
    let committed = topics.committed();
    assert!(committed <= topics.count(&topics.output()), "nothing is committed ahead of its result");

    let _next = WorkerProcess::start(&environment);
    topics.wait_for_outcomes(fed.len()).await;
    crate::support::wait_until_async("everything is committed", || {
        tokio::task::block_in_place(|| topics.committed()) == count(fed.len())
    })
    .await;
    let mut times: HashMap<(i64, i64), usize> = HashMap::new();
    topics.read_all(&topics.output()).iter().map(origin_of).for_each(|origin| *times.entry(origin).or_default() += 1);
    assert_eq!(times.len(), fed.len(), "every post has a result");
    println!("{} of {} posts came twice after the kill", times.values().filter(|count| **count > 1).count(), fed.len());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn a_second_signal_stops_at_once() {
    let topics = Topics::create("at-once", 1).await;
    let mut environment = topics.environment();
    environment.push(("SENTISTREAM__LIMITS__IN_FLIGHT_RECORDS".into(), "1000".into()));
    let mut worker = WorkerProcess::start(&environment);
    topics.feed(&posts("post", 400));
    topics.wait_for_outcomes(1).await;
    worker.signal("TERM");
    worker.wait_for_log("a second signal stops at once");
    worker.signal("TERM");
    assert_eq!(worker.wait().code(), Some(130), "{}", worker.log());
    assert!(topics.committed() <= topics.count(&topics.output()));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn a_grace_period_that_ends_too_soon_is_told_and_kept() {
    let topics = Topics::create("grace", 1).await;
    let mut environment = topics.environment();
    environment.extend([
        ("SENTISTREAM__SHUTDOWN__GRACE_SECONDS".into(), "0".into()),
        // Leaving the group must not wait for this either.
        ("SENTISTREAM__KAFKA__REVOKE_DEADLINE_SECONDS".into(), "110".into()),
    ]);
    let mut worker = WorkerProcess::start(&environment);
    topics.feed(&posts("post", 400));
    topics.wait_for_outcomes(1).await;
    let signalled = Instant::now();
    worker.signal("TERM");
    assert_eq!(worker.wait().code(), Some(4), "{}", worker.log());
    assert!(signalled.elapsed() < Duration::from_mins(1), "it did not wait for what it had given up");
    assert!(topics.committed() <= topics.count(&topics.output()));
}
