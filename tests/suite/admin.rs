//! The admin port of a worker that runs.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::support::kafka::Topics;
use crate::support::photos::{TestPost, posts};
use crate::support::process::WorkerProcess;
use crate::support::{PATIENCE, wait_until_async};

pub fn get(address: &str, path: &str) -> (u16, String) {
    try_get(address, path).expect("an answer")
}

/// Status and body; `None` of a port that does not answer, or not in time.
pub fn try_get(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split_whitespace().nth(1)?.parse().ok()?;
    Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
}

pub fn json(body: &str) -> Value {
    let (start, end) = (body.find('{').expect("an object"), body.rfind('}').expect("an object"));
    serde_json::from_str(&body[start..=end]).expect("JSON")
}

/// The value of a metric's sample, by its name and labels as exposed.
pub fn sample(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
    line.and_then(|line| line.rsplit(' ').next()).and_then(|value| value.parse().ok()).unwrap_or(f64::NAN)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn metrics_health_and_readiness_tell_what_the_worker_does() {
    let topics = Topics::create("admin", 1).await;
    let worker = WorkerProcess::start(&topics.environment());
    let address = worker.admin();
    let mut fed = posts("post", 20);
    fed.push(TestPost::raw("bad", b"no json"));
    topics.feed(&fed);
    topics.wait_for_outcomes(fed.len()).await;
    wait_until_async("the lag is gone", || {
        let (_, metrics) = get(&address, "/metrics");
        let lag = format!("sentistream_consumer_lag_records{{partition=\"0\",topic=\"{}\"}}", topics.name);
        sample(&metrics, &lag) < 0.5 && sample(&metrics, "sentistream_in_flight_records") < 0.5
    })
    .await;

    let (status, metrics) = get(&address, "/metrics");
    assert_eq!(status, 200);
    let at = |name: &str| format!("{:.0}", sample(&metrics, name));
    assert_eq!(at("sentistream_records_total"), "21");
    assert_eq!(at("sentistream_outcomes_total{kind=\"result\",reason=\"\"}"), "20");
    assert_eq!(at("sentistream_outcomes_total{kind=\"dead_letter\",reason=\"not_json\"}"), "1");
    assert_eq!(at("sentistream_batch_posts_sum"), "20");
    assert_eq!(at("sentistream_assigned_partitions"), "1");
    assert_eq!(at("sentistream_in_flight_limit_records"), "256");
    for stage in ["envelope", "pixels", "tokens", "image_encoder", "text_encoder", "relevance", "fusion", "publish"] {
        let count = sample(&metrics, &format!("sentistream_stage_seconds_count{{stage=\"{stage}\"}}"));
        assert!(count > 0.0, "{stage} was timed: {count}");
    }
    assert!(metrics.contains("sentistream_model_info{bundle=\"default\""), "{metrics}");
    assert!(metrics.contains("provider=\"cpu\""), "{metrics}");

    let (status, ready) = get(&address, "/readyz");
    let ready = json(&ready);
    assert_eq!((status, &ready["ready"], &ready["assigned_partitions"]), (200, &Value::Bool(true), &Value::from(1)));
    assert_eq!(
        (&ready["model"]["provider"], &ready["model"]["bundle"]),
        (&Value::from("cpu"), &Value::from("default"))
    );
    let (status, alive) = get(&address, "/healthz");
    assert_eq!((status, &json(&alive)["alive"]), (200, &Value::Bool(true)));
    assert_eq!(get(&address, "/else").0, 404);
}
