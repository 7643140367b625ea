//! `sentistream bench` on the real broker: what it tells is consistent, and nothing of it is left behind.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::Value;

use crate::support::process::{ended, sentistream};
use crate::support::{PATIENCE, repository, wait_until};

const POSTS: u32 = 20_000;
/// Each looks for what any may have left behind.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn brokers() -> String {
    std::env::var("SENTISTREAM_TEST_BROKERS")
        .expect("SENTISTREAM_TEST_BROKERS names a Kafka broker; `make test` starts one")
}

/// A broker may take a moment.
fn assert_nothing_is_left() {
    wait_until("all topics of bench are deleted", || topics().is_empty());
}

/// Topics of any `bench` that are there now.
fn topics() -> BTreeSet<String> {
    let consumer: BaseConsumer =
        rdkafka::ClientConfig::new().set("bootstrap.servers", brokers()).create().expect("consumer");
    let metadata = consumer.fetch_metadata(None, PATIENCE).expect("metadata");
    let names = metadata.topics().iter().map(|topic| topic.name().to_owned());
    names.filter(|name| name.starts_with("sentistream-bench-")).collect()
}

fn bench(arguments: &[&str]) -> (i32, String, String) {
    let keep = tempfile::tempdir().expect("a folder");
    let keep = keep.path().to_string_lossy().into_owned();
    let mut command = sentistream(&["bench", "--json", "--corpus", "tiny", "--rounds", "1", "--partitions", "2"]);
    command.args(["--keep", &keep]).args(arguments).env("SENTISTREAM__KAFKA__BROKERS", brokers());
    ended(&command.output().expect("runs"))
}

#[test]
#[ignore = "needs Kafka: make test"]
fn bench_tells_numbers_that_fit_together_and_leaves_nothing_behind() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let posts = POSTS.to_string();
    let (code, told, said) = bench(&["--posts", &posts, "--layout", "per-core:8", "--latency", "1", "--load", "0.1"]);
    assert_eq!(code, 0, "{said}");
    let told: Value = serde_json::from_str(&told).expect("JSON alone on standard output");
    let run = &told["corpora"][0];
    assert_eq!((&run["corpus"]["name"], &run["corpus"]["posts"]), (&"tiny".into(), &POSTS.into()));
    assert_eq!(run["settings"]["model.cache_bytes"], 0, "the plumbing alone");
    let [worker, ceiling] = run["contenders"].as_array().expect("contenders").as_slice() else { panic!("two: {run}") };
    assert_eq!(
        (&worker["name"], &ceiling["name"], &ceiling["layout"]),
        (&"worker".into(), &"ceiling".into(), &"per-core:8".into())
    );
    let number = |of: &Value, pointer: &str| of.pointer(pointer).and_then(Value::as_f64).expect(pointer);
    for contender in [worker, ceiling] {
        let round = &contender["rounds"][0];
        let (posts, seconds) = (number(round, "/posts"), number(round, "/seconds"));
        assert!(posts > 0.5 * f64::from(POSTS) && posts < f64::from(POSTS), "{round}");
        assert!((number(round, "/posts_per_second") - posts / seconds).abs() < 1e-6 * posts, "{round}");
        assert!(number(round, "/cpu_seconds_per_post") > 0.0 && number(round, "/peak_memory") > 1e6, "{round}");
    }
    let ratio = number(worker, "/rate_to_ceiling/median");
    let rates = number(worker, "/posts_per_second/median") / number(ceiling, "/posts_per_second/median");
    assert!(ratio > 0.0 && (ratio - rates).abs() < 1e-6 * rates, "{ratio}, {rates}");
    assert!(number(worker, "/latency/p50_ms") <= number(worker, "/latency/p99_ms"), "{worker}");
    assert!(number(worker, "/saturated/p50_ms") <= number(worker, "/saturated/p99_ms"), "{worker}");
    let stages: BTreeSet<&str> =
        run["stages"].as_array().expect("stages").iter().filter_map(|stage| stage["stage"].as_str()).collect();
    assert!(
        ["envelope", "pixels", "tokens", "image_encoder", "fusion", "publish"]
            .iter()
            .all(|stage| stages.contains(stage)),
        "{stages:?}"
    );
    assert_nothing_is_left();
}

#[test]
#[ignore = "needs Kafka: make test"]
fn a_contender_that_fails_fails_the_bench_and_leaves_nothing_behind() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let posts = POSTS.to_string();
    let arguments = ["--posts", &posts, "--no-ceiling", "--latency", "0"];
    let (code, told, said) = bench(&[&arguments[..], &["--peer", "broken=echo 'no such module' >&2; exit 7"]].concat());
    assert_eq!((code, told.as_str()), (1, ""), "{said}");
    assert!(said.contains("broken ended by itself") && said.contains("no such module"), "{said}");
    assert_nothing_is_left();
}

#[test]
#[ignore = "needs Kafka: make test"]
fn dead_letters_fail_the_bench_with_their_number_and_reason() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().expect("a folder");
    let list = folder.path().join("posts.jsonl");
    let lines = (0..100).map(|number| format!("{{\"id\": \"{number}\", \"image\": {{\"data\": \"AAAA\"}}}}\n"));
    std::fs::write(&list, lines.collect::<String>()).expect("written");
    let bundle = repository("tests/fixtures/bundles/tiny");
    let mut command =
        sentistream(&["bench", "--no-ceiling", "--rounds", "1", "--corpus-path", &list.to_string_lossy()]);
    command.env("SENTISTREAM__KAFKA__BROKERS", brokers()).env("SENTISTREAM__MODEL__BUNDLE", bundle);
    let (code, _, said) = ended(&command.output().expect("runs"));
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("100 of 100 posts became dead letters") && said.contains("unsupported_format"), "{said}");
    assert_nothing_is_left();
}
