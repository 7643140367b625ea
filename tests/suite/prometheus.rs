//! What deploy/prometheus and deploy/grafana say, held against a real Prometheus that scrapes a real worker: rules are checked and
//! unit-tested, and every query of every dashboard returns data.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use url::form_urlencoded;

use crate::admin::get;
use crate::support::kafka::Topics;
use crate::support::photos::{TestPost, posts};
use crate::support::process::{WorkerProcess, bound};
use crate::support::{repository, wait_until_async};

const PROGRAMS: &str = ".deps/prometheus/usr/bin";

/// A program of Prometheus'.
fn program(name: &str) -> std::path::PathBuf {
    let path = repository(PROGRAMS).join(name);
    assert!(path.is_file(), "{} is not there; `make prometheus` fetches it", path.display());
    path
}

/// Prometheus' tool, to be run in the repository.
pub fn promtool(arguments: &[&str]) -> Command {
    let mut command = Command::new(program("promtool"));
    command.args(arguments).current_dir(repository(""));
    command
}

fn passes(arguments: &[&str]) {
    let output = promtool(arguments).output().expect("promtool runs");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "promtool {arguments:?}: {}", String::from_utf8_lossy(&said));
}

#[test]
#[ignore = "needs Prometheus: make test"]
fn rules_and_their_unit_tests_pass() {
    passes(&["check", "config", "deploy/prometheus/prometheus.yml"]);
    passes(&["check", "rules", "deploy/prometheus/recording-rules.yml", "deploy/prometheus/alert-rules.yml"]);
    passes(&[
        "test",
        "rules",
        "deploy/prometheus/tests/recording-rules.yml",
        "deploy/prometheus/tests/alert-rules.yml",
    ]);
}

#[test]
fn every_alert_is_tested_and_has_a_runbook() {
    let read = |path: &str| std::fs::read_to_string(repository(path)).expect(path);
    let (rules, tests) = (read("deploy/prometheus/alert-rules.yml"), read("deploy/prometheus/tests/alert-rules.yml"));
    let runbook = read("docs/runbook.md");
    let alerts: BTreeSet<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let described: BTreeSet<&str> = runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(alerts, described, "alerts (left) and headings of docs/runbook.md (right)");
    assert!(alerts.len() > 10, "{alerts:?}");
    for alert in alerts {
        let named = format!("alertname: {alert}\n");
        assert!(tests.contains(&named), "deploy/prometheus/tests/alert-rules.yml has no test of {alert}");
        assert!(rules.contains(&format!("runbook: docs/runbook.md#{}\n", alert.to_lowercase())), "runbook of {alert}");
    }
    for annotation in ["severity: ", "summary: ", "description: "] {
        assert_eq!(rules.matches(annotation).count(), rules.matches("- alert: ").count(), "{annotation}of every alert");
    }
}

/// A Prometheus of a test's own.
struct Prometheus {
    process: Child,
    address: String,
}

impl Prometheus {
    /// With the rules of deploy/prometheus, scraping a worker every half second.
    fn start(folder: &Path, worker: &str) -> Self {
        let rules = ["recording-rules.yml", "alert-rules.yml"].map(|file| repository("deploy/prometheus").join(file));
        // JSON is YAML.
        let settings = json!({
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
            "rule_files": rules,
            "scrape_configs": [{"job_name": "sentistream", "static_configs": [{"targets": [worker]}]}],
        });
        let file = folder.join("prometheus.yml");
        std::fs::write(&file, settings.to_string()).expect("written");
        // It takes no port 0: a port that is free now is.
        let free = TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("an address");
        let process = bound(program("prometheus").to_str().expect("UTF-8"))
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={free}"))
            .args(["--log.level=warn", "--web.console.templates=", "--web.console.libraries="])
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        Self { process, address: free.to_string() }
    }

    /// The samples of an instant query that are numbers; an error where the query is none.
    fn numbers(&self, query: &str) -> Result<Vec<f64>, String> {
        if std::net::TcpStream::connect(&self.address).is_err() {
            return Ok(vec![]);
        }
        let encoded: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let (status, body) = get(&self.address, &format!("/api/v1/query?query={encoded}"));
        let (start, end) = (body.find('{').unwrap_or(0), body.rfind('}').map_or(body.len(), |end| end + 1));
        let answer: Value = serde_json::from_str(&body[start..end]).unwrap_or_default();
        let Some(result) = answer["data"]["result"].as_array().filter(|_| status == 200) else {
            return if status == 503 { Ok(vec![]) } else { Err(body) };
        };
        let number = |sample: &Value| sample["value"][1].as_str()?.parse::<f64>().ok();
        Ok(result.iter().filter_map(number).filter(|number| number.is_finite()).collect())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A query of a dashboard, with where it stands.
struct Query {
    place: String,
    text: String,
}

/// Every query of a dashboard: of panels, of variables, of annotations.
fn queries(dashboard: &Value) -> Vec<Query> {
    let title = dashboard["title"].as_str().expect("a title");
    let mut found = Vec::new();
    let mut add = |place: &Value, text: &Value| {
        let place = format!("{title}: {}", place.as_str().expect("a title or a name"));
        found.push(Query { place, text: text.as_str().expect("a query").to_owned() });
    };
    for panel in dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().into_iter().flatten() {
            add(&panel["title"], &target["expr"]);
        }
    }
    for variable in dashboard["templating"]["list"].as_array().expect("variables") {
        if variable["type"] == "query" {
            add(&variable["name"], &variable["query"]["query"]);
        }
    }
    for annotation in dashboard["annotations"]["list"].as_array().expect("annotations") {
        if annotation.get("expr").is_some() {
            add(&annotation["name"], &annotation["expr"]);
        }
    }
    found
}

/// As Grafana would send it, everything chosen.
fn sent(query: &str) -> String {
    let mut text = query.to_owned();
    // label_values(metric{selector}, label) asks for the series.
    if let Some(arguments) = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')) {
        let (series, label) = arguments.rsplit_once(',').expect("a series and a label");
        text = format!("count by ({}) ({series})", label.trim());
    }
    for (variable, value) in [
        ("$__rate_interval", "5m"),
        ("$__range", "5m"),
        ("$__interval", "5s"),
        ("$job", "sentistream"),
        ("$instance", ".+"),
        ("$source", ".+"),
    ] {
        text = text.replace(variable, value);
    }
    assert!(!text.contains('$'), "a variable that no test knows: {text}");
    text
}

fn dashboards() -> Vec<Value> {
    ["operations", "sentiment"]
        .map(|name| {
            let path = repository("deploy/grafana/dashboards").join(format!("{name}.json"));
            serde_json::from_str(&std::fs::read_to_string(path).expect("a dashboard")).expect("JSON")
        })
        .to_vec()
}

/// Posts with and without source, repeats, a post that is no JSON, and a tombstone.
fn feed() -> Vec<TestPost> {
    let mut fed = posts("post", 12);
    fed.extend(posts("again", 12));
    let photo = std::fs::read(repository("tests/fixtures/photos/cat.jpg")).expect("a photo");
    for (id, source) in [("nowhere", None), ("elsewhere", Some("another/feed"))] {
        let mut post = TestPost::binary(id, "image/jpeg", &photo, &json!({"caption": "what a lovely day"}));
        post.headers.retain(|(key, _)| key != "ce_source");
        post.headers.extend(source.map(|source| ("ce_source".to_owned(), source.as_bytes().to_vec())));
        fed.push(post);
    }
    fed.push(TestPost::raw("bad", b"no json"));
    fed.push(TestPost::tombstone("gone"));
    fed
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka and Prometheus: make test"]
async fn every_query_of_the_dashboards_returns_data() {
    let topics = Topics::create("dashboards", 2).await;
    let worker = WorkerProcess::start(&topics.environment());
    let folder = tempfile::tempdir().expect("temporary folder");
    let prometheus = Prometheus::start(folder.path(), &worker.admin());
    let is = |query: &str, wanted: f64| {
        prometheus.numbers(query).expect(query).first().is_some_and(|found| (found - wanted).abs() < 1e-6)
    };
    // Twice before anything happens, so that what happens is an increase.
    wait_until_async("the worker is scraped and assigned", || {
        is("min_over_time(sentistream_assigned_partitions[1s])", 2.0)
            && is("count_over_time(sentistream_consumer_lag_seconds{partition=\"0\"}[30s]) > bool 2", 1.0)
    })
    .await;
    let fed = feed();
    topics.feed(&fed);
    wait_until_async("Prometheus knows of all outcomes", || {
        is("sum(sentistream_outcomes_total)", f64::from(u32::try_from(fed.len()).expect("few")))
            && is("sum(sentistream_outcomes_total) - sum(sentistream_outcomes_total offset 1s)", 0.0)
    })
    .await;

    let mut silent: Vec<Query> = dashboards().iter().flat_map(queries).collect();
    assert!(silent.len() > 50, "{} queries", silent.len());
    let deadline = Instant::now() + Duration::from_secs(30);
    while !silent.is_empty() {
        silent.retain(|Query { place, text }| {
            prometheus.numbers(&sent(text)).unwrap_or_else(|error| panic!("{place}: {error}")).is_empty()
        });
        let without_data: Vec<_> = silent.iter().map(|query| format!("{}: {}", query.place, query.text)).collect();
        assert!(Instant::now() < deadline, "no data for:\n{}", without_data.join("\n"));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    let recorded = std::fs::read_to_string(repository("deploy/prometheus/recording-rules.yml")).expect("rules");
    for rule in recorded.lines().filter_map(|line| line.trim().strip_prefix("- record: ")) {
        assert!(!prometheus.numbers(rule).expect(rule).is_empty(), "{rule} has no data");
    }
    assert!(is("sentistream:partitions_without_owner:count", 0.0));
}
