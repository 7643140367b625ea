//! `sentistream check`: what it finds, that it ends whatever brokers do, and that nothing is changed by it.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminOptions, ResourceSpecifier};
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::Value;

use crate::end_to_end::{joined_with, stop};
use crate::support::kafka::Topics;
use crate::support::photos::posts;
use crate::support::process::{ended, sentistream};
use crate::support::secured::{SecuredBroker, Way};
use crate::support::{PATIENCE, repository};

/// What a check said.
#[derive(Debug)]
struct Checked {
    code: i32,
    json: Value,
    error: String,
}

impl Checked {
    /// `what`, then the fix, of all findings of a severity.
    fn of(&self, severity: &str) -> Vec<String> {
        let findings = self.json["findings"].as_array().expect("findings");
        let of = findings.iter().filter(|finding| finding["severity"] == severity);
        let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        of.map(|finding| format!("{} | {}", text(finding, "what"), text(finding, "fix"))).collect()
    }

    /// The one finding of a severity that says so.
    fn the(&self, severity: &str, what: &str) -> String {
        let found: Vec<String> = self.of(severity).into_iter().filter(|finding| finding.contains(what)).collect();
        assert_eq!(found.len(), 1, "{severity} {what:?}: {found:?} in {:#}", self.json);
        found.into_iter().next().unwrap_or_default()
    }
}

fn check(arguments: &[&str], environment: &[(String, String)]) -> Checked {
    let mut command = sentistream(&["check", "--json"]);
    let output = command.args(arguments).envs(environment.iter().cloned()).output().expect("runs");
    let (code, out, error) = ended(&output);
    let json = serde_json::from_str(&out).unwrap_or_else(|_| panic!("JSON: {out}{error}"));
    Checked { code, json, error }
}

fn set(key: &str, value: &str) -> (String, String) {
    (format!("SENTISTREAM__{key}"), value.to_owned())
}

/// A worker's settings for brokers at this address, with a bundle that is loaded in no time.
fn at(brokers: &str) -> Vec<(String, String)> {
    vec![
        set("KAFKA__BROKERS", brokers),
        set("ADMIN__LISTEN", "127.0.0.1:0"),
        set("MODEL__BUNDLE", "tests/fixtures/bundles/tiny"),
    ]
}

fn environment(topics: &Topics) -> Vec<(String, String)> {
    let mut environment = topics.environment();
    environment.push(set("MODEL__BUNDLE", "tests/fixtures/bundles/tiny"));
    environment
}

/// Every topic is as `--create` makes it, so that there is nothing to say of it.
async fn recommended(test: &str, partitions: i32) -> Topics {
    let topics = Topics::create_with(test, partitions, &[("max.message.bytes", "4194304")]).await;
    topics.alter(&topics.dead_letters(), "max.message.bytes", "4259840").await;
    topics
}

async fn configs(topics: &Topics, topic: &str) -> BTreeMap<String, String> {
    let resource = ResourceSpecifier::Topic(topic);
    let described = topics.admin().describe_configs([&resource], &AdminOptions::new()).await.expect("broker answers");
    let resource = described.into_iter().next().expect("one").expect("described");
    resource.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect()
}

/// Members of the test's group.
fn members(topics: &Topics) -> usize {
    let consumer: BaseConsumer = topics.config().create().expect("consumer");
    let groups = consumer.fetch_group_list(Some(&topics.name), PATIENCE).expect("groups");
    groups.groups().iter().map(|group| group.members().len()).sum()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn where_all_is_well_everything_is_told_and_nothing_is_changed() {
    let topics = recommended("check", 2).await;
    let mut exactly_once = environment(&topics);
    exactly_once.push(set("KAFKA__DELIVERY", "exactly_once"));
    exactly_once.push(set("KAFKA__INSTANCE", "worker-0"));
    exactly_once.push(set("KAFKA__GROUP_PROTOCOL", "consumer"));
    let all = [topics.name.clone(), topics.output(), topics.dead_letters()];
    let mut before = Vec::new();
    for topic in &all {
        before.push(configs(&topics, topic).await);
    }
    let checked = check(&["--strict"], &exactly_once);
    assert_eq!(checked.code, 0, "{:#}{}", checked.json, checked.error);
    assert_eq!(checked.json["passed"], true);
    let keys: Vec<&String> = checked.json.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["schema", "version", "for", "passed", "errors", "warnings", "skipped", "findings"]);
    for finding in checked.json["findings"].as_array().expect("findings") {
        let keys: Vec<&String> = finding.as_object().expect("an object").keys().collect();
        assert_eq!(keys, ["area", "severity", "what", "fix"]);
        assert_eq!((&finding["severity"], &finding["fix"]), (&"ok".into(), &Value::Null), "{finding}");
    }
    for told in [
        "SENTISTREAM__KAFKA__BROKERS",
        "is whole",
        "ONNX Runtime",
        "cpu: ",
        "memory: ",
        "the cluster has 1 broker",
        "kafka.group_protocol consumer",
        "kafka.delivery exactly_once",
        "kafka.instance",
        "max.message.bytes=4259840",
        &format!("Read on topic {} is", topics.name),
        &format!("Write on topic {} is", topics.output()),
        &format!("Write on topic {} is", topics.dead_letters()),
        "Read on group",
        "transactional ids",
    ] {
        checked.the("ok", told);
    }
    for (topic, before) in all.iter().zip(before) {
        assert_eq!(topics.count(topic), 0, "something was published to {topic}");
        assert_eq!(configs(&topics, topic).await, before, "{topic} was altered");
    }
    assert_eq!((members(&topics), topics.committed()), (0, 0), "the group was joined, or committed for");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn workers_of_the_group_do_not_notice() {
    let topics = Topics::create("unnoticed", 2).await;
    let workers = joined_with(&topics, vec![topics.settings()]).await;
    topics.feed(&posts("first", 4));
    topics.wait_for_outcomes(4).await;
    let rebalances = || {
        ["assign", "revoke", "lost", "broken"]
            .map(|kind| workers[0].metrics.rebalances.with_label_values(&[kind]).get())
    };
    let before = rebalances();
    for role in ["run", "dashboard", "feed", "dlq"] {
        let mut environment = environment(&topics);
        environment.push(set("DASHBOARD__LISTEN", "127.0.0.1:0"));
        let checked = tokio::task::block_in_place(|| check(&["--for", role], &environment));
        assert_eq!((checked.code, &checked.json["for"]), (0, &role.into()), "{:#}{}", checked.json, checked.error);
    }
    topics.feed(&posts("second", 4));
    topics.wait_for_outcomes(8).await;
    assert_eq!((rebalances(), members(&topics)), (before, 1));
    stop(workers).await;
    assert_eq!(topics.committed(), 8);
    assert_eq!(
        (topics.count(&topics.name), topics.count(&topics.output())),
        (8, 8),
        "the posts and their results alone"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn missing_topics_are_made_on_demand_and_are_well_then() {
    // Of these only the broker is used: the topics of the settings are others, which are not there.
    let mut topics = Topics::create("made", 1).await;
    topics.name.push_str("-anew");
    topics.partitions = 3;
    let environment = environment(&topics);
    let checked = check(&[], &environment);
    assert_eq!((checked.code, checked.of("error").len()), (1, 3), "{:#}", checked.json);
    let missing = checked.the("error", &format!("topic {} (kafka.input_topic) is not there", topics.name));
    assert!(missing.contains("--create") && missing.contains("kafka-topics.sh --bootstrap-server"), "{missing}");
    assert!(checked.error.contains("the check found 3 errors"), "{}", checked.error);

    let made = check(&["--create", "--partitions", "3"], &environment);
    assert_eq!(made.code, 0, "{:#}{}", made.json, made.error);
    made.the("ok", &format!("made topic {} with 3 partitions, replication factor 1", topics.dead_letters()));
    let posts = configs(&topics, &topics.name).await;
    let of = |key: &str| posts.get(key).map(String::as_str);
    assert_eq!(
        (of("max.message.bytes"), of("compression.type"), of("retention.ms")),
        (Some("4194304"), Some("uncompressed"), Some("604800000"))
    );
    let dead = configs(&topics, &topics.dead_letters()).await;
    assert_eq!(dead.get("max.message.bytes").map(String::as_str), Some("4259840"));

    let again = check(&["--create", "--strict"], &environment);
    assert_eq!(again.code, 0, "{:#}", again.json);
    assert!(again.of("ok").iter().all(|finding| !finding.starts_with("made")), "{:#}", again.json);
    assert_eq!(topics.read_all(&topics.name).len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn settings_of_topics_that_do_not_suit_are_warnings_with_the_command() {
    let unsuited = [("max.message.bytes", "2000000"), ("retention.ms", "3600000"), ("compression.type", "zstd")];
    let topics = Topics::create_with("unsuited", 1, &unsuited).await;
    topics.alter(&topics.output(), "cleanup.policy", "compact").await;
    topics.alter(&topics.dead_letters(), "max.message.bytes", "1000000").await;
    let checked = check(&[], &environment(&topics));
    assert_eq!((checked.code, checked.of("error").len()), (0, 0), "{:#}", checked.json);
    for (what, fix) in [
        ("larger posts cannot be published", "max.message.bytes=4194304; or set limits.record_bytes to 2000000"),
        ("keeps records for 1 h", "retention.ms=604800000"),
        ("is compressed by its brokers", "compression.type=uncompressed"),
        ("is compacted", "cleanup.policy=delete"),
        ("larger dead letters lose their value", "max.message.bytes=2065536"),
        ("has 1 partition", "kafka-topics.sh"),
    ] {
        let warning = checked.the("warning", what);
        assert!(warning.contains(fix), "{warning}");
    }
    assert_eq!(checked.of("warning").len(), 6, "{:#}", checked.json);

    let strict = sentistream(&["check", "--strict"]).envs(environment(&topics)).output().expect("runs");
    let (code, out, error) = ended(&strict);
    assert!(code == 1 && error.contains("6 warnings"), "{error}");
    let lines: Vec<&str> = out.lines().collect();
    let fixes = lines.iter().filter(|line| line.trim_start().starts_with("fix: ")).count();
    let warnings = lines.iter().filter(|line| line.starts_with("warning  topics ")).count();
    assert_eq!((fixes, warnings), (6, 6), "{out}");
    assert!(lines.last().is_some_and(|line| line.contains("0 errors, 6 warnings; 0 skipped")), "{out}");
}

/// Nobody listens there.
fn absent() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").to_string()
}

#[test]
fn brokers_that_are_away_are_one_error_and_the_rest_is_skipped() {
    let (address, started) = (absent(), Instant::now());
    let checked = check(&[], &at(&address));
    assert_eq!((checked.code, checked.of("error").len()), (1, 1), "{:#}", checked.json);
    let error = checked.the("error", &address);
    assert!(error.contains("refused") && error.contains("kafka.brokers"), "{error}");
    assert_eq!(checked.of("skipped").len(), 2, "{:#}", checked.json);
    checked.the("ok", "is whole");
    // It need not wait for the deadline to know; the model is loaded meanwhile.
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
}

/// A port that takes connections and says nothing, as a wrong one may.
#[test]
fn a_broker_that_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    let checked = check(&["--for", "feed"], &at(&address));
    assert_eq!((checked.code, checked.of("error").len()), (1, 1), "{:#}", checked.json);
    checked.the("error", &address);
    drop(listener);
}

#[test]
fn a_bundle_that_is_not_whole_and_a_port_that_is_taken_are_errors() {
    let folder = tempfile::tempdir().expect("temporary folder");
    for file in fs::read_dir(repository("tests/fixtures/bundles/tiny")).expect("a folder") {
        let file = file.expect("a file");
        fs::copy(file.path(), folder.path().join(file.file_name())).expect("copied");
    }
    fs::write(folder.path().join("tags.txt"), "another\n").expect("written");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut environment = at(&absent());
    environment.push(set("MODEL__BUNDLE", &folder.path().to_string_lossy()));
    environment.push(set("ADMIN__LISTEN", &taken.local_addr().expect("an address").to_string()));
    let checked = check(&[], &environment);
    assert_eq!((checked.code, checked.of("error").len()), (1, 3), "{:#}", checked.json);
    let tampered = checked.the("error", "SHA-256");
    assert!(tampered.contains("tags.txt") && tampered.contains("model.bundle"), "{tampered}");
    checked.the("error", "admin.listen");
    checked.the("skipped", "warm-up");
}

#[test]
fn a_registry_that_is_away_is_an_error_whether_or_not_brokers_answer() {
    let (registry, mut environment) = (absent(), at(&absent()));
    environment.push(set("DECODE__REGISTRY__URL", &format!("http://{registry}")));
    let checked = check(&[], &environment);
    assert_eq!((checked.code, checked.of("error").len()), (1, 2), "{:#}", checked.json);
    let error = checked.the("error", &registry);
    assert!(error.contains("does not answer") && error.contains("decode.registry.url"), "{error}");
}

#[test]
fn a_store_that_cannot_be_written_is_an_error_of_the_dashboard() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut environment = at(&absent());
    environment.push(set("DASHBOARD__LISTEN", "127.0.0.1:0"));
    environment.push(set("DASHBOARD__STORE", &folder.path().join("no/such/store").to_string_lossy()));
    let checked = check(&["--for", "dashboard"], &environment);
    let error = checked.the("error", "cannot be written");
    assert!(error.contains("dashboard.store") && error.contains("no/such"), "{error}");
    environment.push(set("DASHBOARD__STORE", &folder.path().join("store").to_string_lossy()));
    let checked = check(&["--for", "dashboard"], &environment);
    checked.the("ok", "can be written");
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0, "nothing is left behind");
}

#[test]
fn settings_that_cannot_be_used_end_it_with_2() {
    let output = sentistream(&["check"]).env("SENTISTREAM__KAFKA__BROKRES", "x:1").output().expect("runs");
    let (code, out, error) = ended(&output);
    assert!(code == 2 && out.is_empty() && error.contains("brokres"), "{out}{error}");
}

/// How long the deadlines let it take, with all questions of a worker unanswered: more than any init container waits.
#[test]
fn a_name_that_does_not_resolve_is_told_as_one() {
    let started = Instant::now();
    let checked = check(&["--for", "feed"], &at("no-such-host.invalid:9092"));
    let error = checked.the("error", "no-such-host.invalid");
    assert!(checked.code == 1 && error.contains("kafka.brokers"), "{error}");
    assert!(started.elapsed() < Duration::from_mins(1), "{:?}", started.elapsed());
}

/// What a fix says is run as it stands, by somebody who may.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn each_missing_permission_is_one_error_and_its_fix_grants_it() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let broker = SecuredBroker::start(folder.path());
    let topics = broker.topics("permitted", 2).await;
    topics.alter(&topics.name, "max.message.bytes", "4194304").await;
    topics.alter(&topics.dead_letters(), "max.message.bytes", "4259840").await;
    let mut environment = environment(&topics);
    environment.extend(broker.environment(Way::Plain));
    environment.push(set("KAFKA__DELIVERY", "exactly_once"));
    let grant = |finding: &str| {
        let (_, command) = finding.split_once(" | kafka-acls.sh --bootstrap-server ").expect("a command");
        let arguments: Vec<&str> = command.split(' ').skip(1).collect();
        assert!(arguments.contains(&"User:worker-plain"), "{command}");
        broker.acls(&[arguments]);
    };
    let needed = [
        format!("Read on topic {} is not permitted", topics.name),
        format!("Write on topic {} is not permitted", topics.output()),
        format!("Write on topic {} is not permitted", topics.dead_letters()),
        format!("Read on group {} is not permitted", topics.name),
        format!("Write on transactional ids that begin with {}- is not permitted", topics.name),
    ];
    for (granted, what) in needed.iter().enumerate() {
        let checked = check(&[], &environment);
        for missing in &needed[granted..] {
            checked.the("error", missing);
        }
        assert_eq!((checked.code, checked.of("error").len()), (1, needed.len() - granted), "{:#}", checked.json);
        grant(&checked.the("error", what));
    }
    let checked = check(&[], &environment);
    assert_eq!((checked.code, checked.of("error").len()), (0, 0), "{:#}", checked.json);
    assert_eq!(checked.of("warning").len(), 1, "{:#}", checked.json);
    grant(&checked.the("warning", "DescribeConfigs is not permitted"));
    let checked = check(&["--strict"], &environment);
    assert_eq!(checked.code, 0, "{:#}", checked.json);
    for topic in [topics.name.clone(), topics.output(), topics.dead_letters()] {
        assert_eq!(topics.count(&topic), 0, "something was published to {topic}");
    }

    // Another password, and one that lets nobody in is no matter of topics.
    environment.push(("SENTISTREAM__KAFKA__SECURITY__PASSWORD".into(), "not-the-password".into()));
    let checked = check(&[], &environment);
    assert_eq!((checked.code, checked.of("error").len()), (1, 1), "{:#}", checked.json);
    let refused = checked.the("error", "refused");
    assert!(refused.contains("kafka.security.username") && !refused.contains("not-the-password"), "{refused}");
    assert_eq!(checked.of("skipped").len(), 2, "{:#}", checked.json);
}
