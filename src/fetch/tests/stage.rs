//! The stage between its channels.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::server::Server;
use super::*;
use crate::budget::{Budget, Limits};
use crate::error::Stage as At;
use crate::message::{Assignment, Origin, Outcome, Position, Record, Verdict};

const PATIENCE: Duration = Duration::from_mins(1);

/// A record whose value is the URL.
fn record(assignment: &Arc<Assignment>, value: &str) -> Record {
    let gauge = |name: &str| prometheus::IntGauge::new(name, "test").expect("valid name");
    let limits = Limits { records: 1, bytes: 1 << 20, record_bytes: 1 << 20 };
    let origin = Origin { topic: "posts".into(), partition: 0, offset: 0 };
    let position = Position {
        place: origin.clone(),
        origin,
        assignment: Arc::clone(assignment),
        sequence: 0,
        permit: Budget::new(limits, gauge("records"), gauge("bytes")).admit(1),
        pulled_at: Instant::now(),
    };
    let value = (!value.is_empty()).then(|| Bytes::copy_from_slice(value.as_bytes()));
    Record { position, key: None, value, headers: vec![], timestamp: None, fetched: None, schema: None, span: None }
}

struct Running {
    records: crossbeam_channel::Sender<Record>,
    decode: crossbeam_channel::Receiver<Record>,
    finished: mpsc::Receiver<Outcome>,
    metrics: Arc<Metrics>,
}

impl Running {
    fn start(fetcher: Arc<Fetcher>) -> Self {
        let (records, pulled) = crossbeam_channel::bounded(16);
        let (decode, to_decode) = crossbeam_channel::bounded(16);
        let (finished_in, finished) = mpsc::channel(16);
        let metrics = Arc::new(Metrics::new());
        let url_of = |record: &Record| {
            let url = String::from_utf8_lossy(record.value.as_ref()?).into_owned();
            Some(if url == "bad" { Err(Refusal::new(Reason::BadField, "bad")) } else { Ok(url) })
        };
        let stage = Stage {
            fetcher,
            url_of: Box::new(url_of),
            records: pulled,
            onward: Onward { decode, finished: finished_in },
            runtime: tokio::runtime::Handle::current(),
            metrics: Arc::clone(&metrics),
        };
        std::thread::spawn(move || stage.run());
        Self { records, decode: to_decode, finished, metrics }
    }

    fn feed(&self, record: Record) {
        self.records.send(record).expect("running");
    }

    async fn to_decode(&self) -> Record {
        let decode = self.decode.clone();
        let next = tokio::task::spawn_blocking(move || decode.recv_timeout(PATIENCE));
        next.await.expect("no panic").expect("a record")
    }

    async fn refusal(&mut self) -> (Record, Refusal, At) {
        let outcome = tokio::time::timeout(PATIENCE, self.finished.recv()).await.expect("in time").expect("an outcome");
        match outcome.verdict {
            Verdict::Refused { refusal, stage } => (outcome.record, refusal, stage),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn records_go_on_with_their_image_or_end_here() {
    let server = Server::start(|mut request| match request.path {
        "/a" => request.image(b"image"),
        _ => request.status("404 Not Found", ""),
    });
    let mut stage = Running::start(fetcher(&settings(&[&server.entry("127.0.0.1")])));
    let assignment = Assignment::new(1);
    stage.feed(record(&assignment, ""));
    assert!(stage.to_decode().await.fetched.is_none(), "passes as it is");
    stage.feed(record(&assignment, &server.url("/a")));
    let with_image = stage.to_decode().await;
    assert_eq!(with_image.fetched.expect("fetched").image.as_ref(), b"image");
    assert_eq!(with_image.value, Some(server.url("/a").into()), "the record itself is as it was");
    stage.feed(record(&assignment, "bad"));
    let (_, refusal, name) = stage.refusal().await;
    assert_eq!((refusal.reason, name), (Reason::BadField, At::Decode));
    stage.feed(record(&assignment, &server.url("/404")));
    let (dead, refusal, name) = stage.refusal().await;
    assert_eq!((refusal.reason, name), (Reason::FetchFailed, At::Fetch));
    assert!(dead.fetched.is_none());
    assert_eq!(stage.metrics.stage_seconds.with_label_values(&["fetch"]).get_sample_count(), 2);
    assert_eq!(stage.metrics.fetches_in_flight.get(), 0);
    let Running { records, decode, mut finished, .. } = stage;
    drop(records);
    assert!(finished.recv().await.is_none(), "closed once drained");
    assert!(decode.recv().is_err());
}

#[tokio::test]
async fn a_record_that_is_taken_away_is_given_up_at_once() {
    let server = Server::start(|mut request| request.hang());
    let settings = Settings { timeout_ms: 300_000, ..settings(&[&server.entry("127.0.0.1")]) };
    let mut stage = Running::start(fetcher(&settings));
    let (lost, kept) = (Assignment::new(1), Assignment::new(2));
    stage.feed(record(&lost, &server.url("/")));
    stage.feed(record(&kept, &server.url("/")));
    while server.heads().len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(stage.metrics.fetches_in_flight.get(), 2);
    lost.revoke();
    let (record, ..) = stage.refusal().await;
    assert!(record.position.assignment.is_revoked(), "only the one that was taken away");
    assert_eq!(stage.metrics.fetches_in_flight.get(), 1);
}

#[tokio::test]
async fn a_panic_costs_its_record_only() {
    struct Panics;
    impl Resolve for Panics {
        fn resolve(&self, _: Name) -> Resolving {
            panic!("a resolver that panics")
        }
    }
    let mut stage = Running::start(resolving(&settings(&["a.test"]), Panics));
    stage.feed(record(&Assignment::new(1), "http://a.test/"));
    let (_, refusal, _) = stage.refusal().await;
    assert_eq!(refusal.reason, Reason::FetchFailed);
    assert_eq!(stage.metrics.panics.get(), 1);
}
