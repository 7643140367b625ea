//! docs/metrics.md against the metrics of a running worker, both ways; and what Prometheus' own linter says of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::TcpListener;
use std::process::Stdio;
use std::time::Instant;

use serde_json::json;

use crate::admin::{get, sample};
use crate::prometheus::promtool;
use crate::support::kafka::Topics;
use crate::support::photos::{TestPost, posts};
use crate::support::process::WorkerProcess;
use crate::support::{repository, wait_until_async};

/// A metric: its type, and its labels with the values of those that are closed lists.
#[derive(Debug, Default, PartialEq, Eq)]
struct Described {
    kind: String,
    labels: BTreeMap<String, Option<BTreeSet<String>>>,
}

/// The rows of the tables: `| name | type | labels | … |`.
fn documented() -> BTreeMap<String, Described> {
    let page = std::fs::read_to_string(repository("docs/metrics.md")).expect("docs/metrics.md");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let (name, kind, labels) = (cells[1].trim_matches('`'), cells[2], cells[3]);
        assert!(cells.len() == 6 && !cells[4].is_empty(), "four cells, none empty but the labels: {row}");
        (name.to_owned(), Described { kind: kind.to_owned(), labels: labels_of(labels) })
    })
    .collect()
}

/// `a` = x, y; `b` (anything), `c` (anything)
fn labels_of(cell: &str) -> BTreeMap<String, Option<BTreeSet<String>>> {
    let mut labels = BTreeMap::new();
    let mut rest = cell;
    while let Some((name, after)) = rest.strip_prefix('`').and_then(|rest| rest.split_once('`')) {
        let after = after.trim_start();
        if let Some(values) = after.strip_prefix('=') {
            let (values, next) = values.split_once(';').unwrap_or((values, ""));
            labels.insert(name.to_owned(), Some(values.split(',').map(|value| value.trim().to_owned()).collect()));
            rest = next.trim_start();
        } else {
            assert!(after.starts_with('('), "neither = nor ( after `{name}`: {cell}");
            labels.insert(name.to_owned(), None);
            let end = after.match_indices(')').find(|(at, _)| after[at + 1..].trim_start().starts_with([',', ';']));
            rest = end.map_or("", |(at, _)| after[at + 1..].trim_start_matches([',', ';', ' ']));
        }
    }
    assert!(rest.is_empty(), "cannot read {rest:?} of {cell:?}");
    labels
}

/// What is exposed: type and labels, with all the values seen.
fn exposed(text: &str) -> BTreeMap<String, (String, BTreeMap<String, BTreeSet<String>>)> {
    let mut metrics = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            metrics.insert(name.to_owned(), (kind.to_owned(), BTreeMap::<String, BTreeSet<String>>::new()));
        } else if let Some((series, _)) = line.rsplit_once(' ').filter(|_| !line.starts_with('#')) {
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let name = ["_bucket", "_sum", "_count"]
                .iter()
                .filter_map(|suffix| name.strip_suffix(suffix))
                .find(|name| metrics.contains_key(*name))
                .unwrap_or(name);
            let (_, known) = metrics.get_mut(name).unwrap_or_else(|| panic!("no TYPE before {line}"));
            for pair in labels.trim_end_matches('}').split("\",").filter(|pair| !pair.is_empty()) {
                let (label, value) = pair.split_once("=\"").expect("label=\"value\"");
                if label != "le" {
                    known.entry(label.to_owned()).or_default().insert(value.trim_end_matches('"').to_owned());
                }
            }
        }
    }
    metrics
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn the_page_of_metrics_says_what_a_worker_serves() {
    let topics = Topics::create("metrics", 1).await;
    let worker = WorkerProcess::start(&topics.environment());
    let address = worker.admin();
    let lag = format!("sentistream_consumer_lag_seconds{{partition=\"0\",topic=\"{}\"}}", topics.name);
    wait_until_async("the lag is shown", || !sample(&get(&address, "/metrics").1, &lag).is_nan()).await;
    let (_, idle) = get(&address, "/metrics");
    let (documented, exposed) = (documented(), exposed(&idle));

    let told: BTreeSet<_> = documented.keys().collect();
    let served: BTreeSet<_> = exposed.keys().collect();
    assert_eq!(told, served, "docs/metrics.md (left) and /metrics (right) differ");
    for (name, described) in &documented {
        let (kind, labels) = &exposed[name];
        assert_eq!(&described.kind, kind, "type of {name}");
        assert_eq!(described.labels.keys().collect::<Vec<_>>(), labels.keys().collect::<Vec<_>>(), "labels of {name}");
        for (label, values) in &described.labels {
            if let Some(values) = values {
                assert_eq!(
                    values, &labels[label],
                    "values of {label} of {name}: all of a closed list are there from the start"
                );
            }
        }
    }

    let series = idle.lines().filter(|line| !line.starts_with('#')).count();
    assert!((400..700).contains(&series), "the page says some 600 series, not {series}");

    let mut lint =
        promtool(&["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("promtool runs");
    lint.stdin.take().expect("piped").write_all(idle.as_bytes()).expect("written");
    let linted = lint.wait_with_output().expect("ends");
    let said = String::from_utf8_lossy(&linted.stderr).into_owned();
    assert!(linted.status.success() && said.is_empty(), "promtool check metrics: {said}");
}

/// Offsets that are no records do not make a partition late; a record that waits for its image does, by its age.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn lag_in_seconds_is_the_age_of_what_has_no_outcome() {
    let topics = Topics::create("lag", 1).await;
    topics.feed_in_transactions(&posts("post", 2));
    // Takes connections, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("bound");
    let host = format!("127.0.0.1:{}", silent.local_addr().expect("an address").port());
    let mut environment = topics.environment();
    for (key, value) in
        [("HOSTS", host.as_str()), ("NETWORKS", "127.0.0.0/8"), ("TIMEOUT_MS", "4000"), ("ATTEMPTS", "1")]
    {
        environment.push((format!("SENTISTREAM__FETCH__{key}"), value.to_owned()));
    }
    let worker = WorkerProcess::start(&environment);
    let address = worker.admin();
    let lag = |unit: &str| {
        let series = format!("sentistream_consumer_lag_{unit}{{partition=\"0\",topic=\"{}\"}}", topics.name);
        sample(&get(&address, "/metrics").1, &series)
    };
    topics.wait_for_outcomes(2).await;
    // The last offset is a marker that no record ever reaches.
    wait_until_async("all is read and settled", || lag("seconds") < 0.001 && lag("records") < 0.5).await;
    let (_, metrics) = get(&address, "/metrics");
    assert!((sample(&metrics, "sentistream_end_to_end_seconds_count") - 2.0).abs() < 0.1, "{metrics}");
    assert!(sample(&metrics, "sentistream_end_to_end_seconds_sum") > sample(&metrics, "sentistream_post_seconds_sum"));

    let published = Instant::now();
    topics.feed(&[TestPost::raw(
        "waits",
        json!({"image": {"url": format!("http://{host}/cat.jpg")}}).to_string().as_bytes(),
    )]);
    wait_until_async("the post that waits is late", || lag("seconds") > 1.0).await;
    assert!(lag("seconds") <= published.elapsed().as_secs_f64() && lag("records") > 0.5);
    wait_until_async("the image is given up, and the lag is gone", || lag("seconds") < 0.001).await;
    let refused = "sentistream_dead_letters_total{reason=\"fetch_failed\",stage=\"fetch\"}";
    assert!((sample(&get(&address, "/metrics").1, refused) - 1.0).abs() < 0.1);
}
