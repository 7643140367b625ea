//! A past window of the topic, scored once, as the live run scored it; and archives, by a run that goes on where it was.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use jiff::{SignedDuration, Timestamp};
use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::admin::AdminOptions;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use sentistream::kafka::Delivery;
use sentistream::kafka::backfill::Window;
use sentistream::settings::Settings;
use sentistream::worker::Worker;
use serde_json::Value;

use crate::end_to_end::{joined, stop};
use crate::same_numbers::difference;
use crate::support::kafka::{Read, Topics, owned_headers};
use crate::support::photos::{TestPost, posts};
use crate::support::process::{WorkerProcess, ended, sentistream};
use crate::support::{PATIENCE, repository, wait_until};

/// Yesterday, so that no retention takes what is fed.
fn yesterday() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second() - 86_400).expect("a time")
}

/// Publishes each post four minutes after the one before, over the partitions in turn.
fn feed_over_hours(topics: &Topics, from: Timestamp, posts: &[TestPost]) {
    let producer: ThreadedProducer<DefaultProducerContext> = topics.config().create().expect("producer");
    for (number, post) in (0i32..).zip(posts) {
        let at = from.as_millisecond() + i64::from(number) * 240_000;
        let mut record = BaseRecord::<[u8], [u8]>::to(&topics.name)
            .partition(number % topics.partitions)
            .timestamp(at)
            .headers(owned_headers(post));
        record.key = post.key.as_deref();
        record.payload = post.value.as_deref();
        producer.send(record).map_err(|(error, _)| error).expect("enqueued");
    }
    producer.flush(PATIENCE).expect("delivered");
}

fn ids(posts: &[TestPost]) -> BTreeSet<String> {
    posts.iter().map(|post| post.id.clone()).collect()
}

fn keys(reads: &[Read]) -> BTreeSet<String> {
    reads.iter().map(|read| read.key.clone().expect("a key")).collect()
}

/// `sentistream run` on the posts of `topics`, publishing to the other topics of `again`.
fn backfill(topics: &Topics, again: &Topics, arguments: &[&str]) -> (i32, String) {
    let mut command = sentistream(&["run"]);
    let (code, _, log) = ended(&command.args(arguments).envs(environment(topics, again)).output().expect("runs"));
    (code, log)
}

fn environment(topics: &Topics, again: &Topics) -> Vec<(String, String)> {
    let mut environment = topics.environment();
    let set = |key: &str, value: String| (format!("SENTISTREAM__KAFKA__{key}"), value);
    environment.extend([set("OUTPUT_TOPIC", again.output()), set("DEAD_LETTER_TOPIC", again.dead_letters())]);
    environment
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn a_window_is_scored_as_the_live_run_scored_it() {
    let (topics, again) = (Topics::create("window", 3).await, Topics::create("window-again", 3).await);
    let mut fed = posts("post", 59);
    // Within the window.
    fed.insert(20, TestPost::raw("bad", b"{ not json"));
    let start = yesterday();
    feed_over_hours(&topics, start, &fed);
    let live = joined(&topics, 1).await;
    topics.wait_for_outcomes(fed.len()).await;
    stop(live).await;

    // Posts 15 to 44.
    let at = |hours: i64| (start + SignedDuration::from_hours(hours)).to_string();
    let (from, to, group) = (at(1), at(3), format!("{}-backfill", topics.name));
    let window = ["--from", &from, "--to", &to, "--group", &group];
    let (code, log) = backfill(&topics, &again, &window);
    assert!(code == 0 && log.contains("the group has done the window"), "{code}: {log}");
    let (results, dead) = (again.read_all(&again.output()), again.read_all(&again.dead_letters()));
    assert_eq!((results.len(), dead.len()), (29, 1), "each once: {log}");
    assert_eq!(keys(&results).into_iter().chain(keys(&dead)).collect::<BTreeSet<_>>(), ids(&fed[15..45]));
    assert_as_the_live_run(&topics, &results);
    assert_eq!(topics.committed(), 60, "the live group is where it was");

    let (code, log) = backfill(&topics, &again, &window);
    assert!(code == 0 && log.contains("has done the window before"), "{code}: {log}");
    let (code, log) = backfill(&topics, &again, &["--from", "2h", "--group", &format!("{group}-none")]);
    assert!(code == 0 && log.contains("there is nothing to do"), "{code}: {log}");
    let (code, log) = backfill(&topics, &again, &["--from", &from, "--to", &at(2), "--group", &group]);
    assert!(code == 1 && log.contains("has gone beyond this window"), "{code}: {log}");
    assert_eq!(again.count(&again.output()), 29, "nothing more is scored");

    // The rest, with the same group: what is done is not done again.
    let (code, log) = backfill(&topics, &again, &["--from", &from, "--group", &group]);
    assert!(code == 0 && log.contains("done=30"), "{code}: {log}");
    let results = again.read_all(&again.output());
    assert_eq!(results.len(), 44, "{log}");
    assert_as_the_live_run(&topics, &results);
}

fn assert_as_the_live_run(topics: &Topics, results: &[Read]) {
    let id = |result: &Value| result["result_id"].as_str().expect("an id").to_owned();
    let live: Vec<Value> = topics.read_all(&topics.output()).iter().map(Read::json).collect();
    let live: BTreeMap<String, &Value> = live.iter().map(|result| (id(result), result)).collect();
    for result in results.iter().map(Read::json) {
        let before = live.get(&id(&result)).unwrap_or_else(|| panic!("the live run has no {result}"));
        assert_eq!((&result["origin"], &result["published_at"]), (&before["origin"], &before["published_at"]));
        assert!(difference(&result, before) <= 1e-6, "{result} was {before}");
    }
}

/// The partitions end with what is no record: a reader never gets to the window's last offset.
async fn two_workers_share_a_window_that_ends_in_a_gap(test: &str, change: impl Fn(&mut Settings)) {
    let topics = Topics::create(test, 4).await;
    let fed = posts("post", 80);
    feed_over_hours(&topics, yesterday(), &fed);
    topics.transact(&topics.name, &posts("aborted", 12), false);
    let mut settings = topics.settings();
    settings.kafka.group = format!("{}-backfill", topics.name);
    change(&mut settings);
    let times = yesterday() - SignedDuration::from_hours(1)..Timestamp::now();
    let open = || tokio::task::block_in_place(|| Window::open(&settings.kafka, &times)).expect("a window");
    let (one, two) = tokio::join!(Worker::backfill(&settings, open()), Worker::backfill(&settings, open()));
    for worker in [one.expect("starts"), two.expect("starts")] {
        let drained = worker.drained().await.expect("ends by itself");
        assert_eq!((drained.unsettled, drained.cut_short), (0, false));
    }
    let results = topics.read_all(&topics.output());
    assert_eq!((results.len(), keys(&results)), (fed.len(), ids(&fed)), "each once");
    assert_eq!(topics.count(&topics.dead_letters()), 0);
    let window = open();
    assert_eq!((window.done_before, topics.committed()), (window.offsets(), 0), "and the live group has not begun");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn two_workers_share_a_window_at_least_once() {
    two_workers_share_a_window_that_ends_in_a_gap("share", |_| ()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn two_workers_share_a_window_exactly_once() {
    two_workers_share_a_window_that_ends_in_a_gap("share-exactly", |settings| {
        settings.kafka.delivery = Delivery::ExactlyOnce;
        settings.kafka.group_protocol = sentistream::kafka::GroupProtocol::Consumer;
    })
    .await;
}

/// One worker is stopped midway, the next one killed, the third does the rest.
async fn a_worker_goes_on_where_the_one_before_was(test: &str, delivery: &str) {
    let topics = Topics::create(test, 2).await;
    let fed = posts("post", 60);
    let start = yesterday();
    feed_over_hours(&topics, start, &fed);
    let folder = tempfile::tempdir().expect("temporary folder");
    let config = folder.path().join("settings.yaml");
    // The dead are missed soon, and one post is scored at a time, so that there is a midway.
    let settings = format!(
        "kafka: {{delivery: {delivery}, commit_interval_ms: 100, consumer: {{session.timeout.ms: 3000, heartbeat.interval.ms: 500}}}}\n\
         limits: {{in_flight_records: 1}}\nbatch: {{max_posts: 1}}\n"
    );
    fs::write(&config, settings).expect("written");
    let (from, group) = ((start - SignedDuration::from_mins(1)).to_string(), format!("{}-backfill", topics.name));
    let to = Timestamp::now().to_string();
    let config = config.to_str().expect("a path");
    let arguments = ["run", "--config", config, "--from", &from, "--to", &to, "--group", &group];
    let start = || WorkerProcess::start_with(&arguments, &topics.environment());
    let scored = || topics.read_all(&topics.output()).len();

    let mut first = start();
    wait_until("the first has begun", || scored() >= 3);
    first.signal("TERM");
    assert_eq!(first.wait().code(), Some(5), "{}", first.log());
    let second = start();
    let before = scored();
    wait_until("the second goes on", || scored() >= before + 5);
    second.signal("KILL");
    drop(second);
    let mut third = start();
    assert_eq!(third.wait().code(), Some(0), "{}", third.log());
    assert!(before < fed.len() && !third.log().contains("done=0 "), "it had been begun: {}", third.log());

    let results = topics.read_all(&topics.output());
    assert_eq!(keys(&results), ids(&fed));
    let ids: BTreeSet<String> = results.iter().map(|read| read.json()["result_id"].to_string()).collect();
    assert_eq!(ids.len(), fed.len(), "what came twice has one id");
    if delivery == "exactly_once" {
        assert_eq!(results.len(), fed.len(), "nothing came twice");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn a_killed_backfill_is_gone_on_with_at_least_once() {
    a_worker_goes_on_where_the_one_before_was("go-on", "at_least_once").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn a_killed_backfill_is_gone_on_with_exactly_once() {
    a_worker_goes_on_where_the_one_before_was("go-on-exactly", "exactly_once").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn what_retention_removed_of_a_window_is_told() {
    let topics = Topics::create("window-retention", 1).await;
    let start = yesterday();
    feed_over_hours(&topics, start, &posts("post", 6));
    let mut removed = TopicPartitionList::new();
    removed.add_partition_offset(&topics.name, 0, Offset::Offset(2)).expect("valid");
    topics.admin().delete_records(&removed, &AdminOptions::new()).await.expect("removed");
    let group = format!("{}-backfill", topics.name);
    let (code, log) = backfill(&topics, &topics, &["--from", &start.to_string(), "--group", &group]);
    assert!(code == 0 && log.contains("removed_at_most=2"), "{code}: {log}");
    assert_eq!(topics.count(&topics.output()), 4);
}

#[test]
fn a_window_that_cannot_be_is_refused() {
    let run = |arguments: &[&str]| ended(&sentistream(&["run"]).args(arguments).output().expect("runs"));
    let (from, to) = ("2026-11-02", "2026-11-01T00:00Z");
    for (arguments, fix) in [
        (&["--from", from, "--to", to, "--group", "backfill-7"][..], "exchange them"),
        (&["--from", from], "--group"),
        (&["--group", "backfill-7"], "--from"),
        (&["--from", to, "--group", "sentistream"], "a group of its own"),
        (&["--from", "noon", "--group", "backfill-7"], "2026-11-24T09:00:00Z"),
    ] {
        let (code, _, error) = run(arguments);
        assert!(code == 2 && error.contains(fix), "{code}: {error}");
    }
}

/// Two lists of posts, of which some cannot be scored and some cannot be read.
fn archives(folder: &Path) {
    let line = |post: &TestPost| String::from_utf8(post.value.clone().expect("a value")).expect("JSON");
    let (january, february) = (posts("january", 161), posts("february", 81));
    for (name, posts) in [("january", january), ("february", february)] {
        // Every other one is JSON.
        let mut lines: Vec<String> = posts.iter().skip(1).step_by(2).map(line).collect();
        lines.insert(7, "no post".to_owned());
        lines.insert(30, r#"{"id": "bad", "image": {"data": "AAAA"}}"#.to_owned());
        lines.push("neither".to_owned());
        fs::write(folder.join(format!("{name}.jsonl")), lines.join("\n")).expect("written");
    }
}

fn score(archives: &Path, out: &Path) -> Command {
    let mut command = sentistream(&["score"]);
    command.arg(archives).arg("--out").arg(out);
    // One post at a time: a run is long enough to be cut short.
    let small = [("LIMITS__IN_FLIGHT_RECORDS", "1"), ("BATCH__MAX_POSTS", "1"), ("MODEL__CACHE_BYTES", "0")];
    command.envs(small.map(|(key, value)| (format!("SENTISTREAM__{key}"), value)));
    command
}

/// Every line that was written, without the time of scoring.
fn lines(out: &Path, name: &str) -> Vec<String> {
    let text = fs::read_to_string(out.join(name)).expect("written");
    assert!(text.ends_with('\n'), "{name}: only whole lines");
    let timeless = |line: &str| {
        let mut value: Value = serde_json::from_str(line).expect("JSON");
        value.as_object_mut().expect("an object").shift_remove("scored_at");
        value.to_string()
    };
    text.lines().map(timeless).collect()
}

#[test]
fn a_score_that_was_killed_goes_on_and_no_line_is_lost_or_comes_twice() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let [input, at_once, resumed] = ["archives", "at-once", "resumed"].map(|name| folder.path().join(name));
    fs::create_dir(&input).expect("made");
    archives(&input);
    let (code, out, error) = ended(&score(&input, &at_once).output().expect("runs"));
    assert!(code == 3 && out.is_empty() && error.contains("120 results, 6 refused; 0 of the posts"), "{code}: {error}");

    let progress = |name: &str| {
        let text = fs::read(resumed.join(format!("{name}.progress.json"))).unwrap_or_default();
        let progress: Value = serde_json::from_slice(&text).unwrap_or_default();
        progress["posts"].as_i64().unwrap_or_default()
    };
    let mut killed = score(&input, &resumed).spawn().expect("starts");
    wait_until("some posts are done", || progress("january") > 0);
    killed.kill().expect("killed");
    killed.wait().expect("ended");
    let before = progress("january") + progress("february");
    assert!(before < 126, "it was cut short");

    let (code, _, error) = ended(&score(&input, &resumed).output().expect("runs"));
    let told =
        format!("126 posts of 2 archives in {}: 120 results, 6 refused; {before} of the posts", resumed.display());
    assert!(code == 3 && error.contains(&told), "{code}: {error}");
    for name in ["january.jsonl", "january.refused.jsonl", "february.jsonl", "february.refused.jsonl"] {
        assert_eq!(lines(&resumed, name), lines(&at_once, name), "{name}");
    }
    let refused = lines(&resumed, "february.refused.jsonl");
    assert!(refused[0].contains("\"reason\":\"unreadable\"") && refused[0].contains("line 8"), "{refused:?}");
    assert!(refused[1].contains("\"id\":\"bad\"") && refused[1].contains("unsupported_format"), "{refused:?}");

    // Complete: nothing is scored, and no byte changes.
    let bytes = fs::read(resumed.join("january.jsonl")).expect("read");
    let (code, _, error) = ended(&score(&input, &resumed).output().expect("runs"));
    assert!(code == 3 && error.contains("126 of the posts were done before"), "{code}: {error}");
    assert_eq!(fs::read(resumed.join("january.jsonl")).expect("read"), bytes);
    assert_what_changed_is_refused(&input, &resumed);
}

fn assert_what_changed_is_refused(input: &Path, out: &Path) {
    let refused = |command: &mut Command, what: &str| {
        let (code, _, error) = ended(&command.output().expect("runs"));
        assert!(code == 1 && error.contains(what) && error.contains("choose"), "{code}: {error}");
    };
    let tiny = repository("tests/fixtures/bundles/tiny");
    refused(score(input, out).env("SENTISTREAM__MODEL__BUNDLE", tiny), "the bundle is another");
    refused(&mut score(input, &input.join("results")), "lies in");
    let list = input.join("january.jsonl");
    let longer = fs::read_to_string(&list).expect("read") + "\nmore";
    fs::write(&list, longer).expect("written");
    refused(&mut score(input, out), "a file was changed");
}

/// What stands below *Commands* is what the tests above run.
#[test]
fn the_commands_that_are_documented_are_known() {
    let documented = fs::read_to_string(repository("docs/backfill.md")).expect("docs/backfill.md");
    let commands: Vec<&str> = documented.lines().filter(|line| line.starts_with("sentistream ")).collect();
    assert!(commands.len() >= 4, "{commands:?}");
    for command in commands {
        let arguments: Vec<&str> = command.split(" #").next().unwrap_or_default().split_whitespace().skip(1).collect();
        // Arguments that are not known exit with 2 before any help is given.
        let (code, help, error) = ended(&sentistream(&arguments).arg("--help").output().expect("runs"));
        assert!(code == 0 && help.contains("Examples:"), "{command}: {error}");
    }
}
