//! What the pages for operators say is so: numbers stand where they were measured, files, tests and panels that are named exist, and
//! versions are those of the code.

use std::collections::BTreeSet;
use std::fs;

use regex::Regex;

use crate::support::repository;

fn text(path: &str) -> String {
    fs::read_to_string(repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn all<const N: usize>(pattern: &str, text: &str) -> Vec<[String; N]> {
    let pattern = Regex::new(pattern).expect("a pattern");
    pattern.captures_iter(text).map(|found| found.extract::<N>().1.map(str::to_owned)).collect()
}

#[test]
fn numbers_that_sizes_are_made_of_stand_where_they_were_measured() {
    let sizing = text("docs/sizing.md");
    let rows = all::<2>(r"\| \[([a-z]+\.md)\]\([a-z.]+\) \| `(.+)` \|\n", &sizing);
    assert!(rows.len() >= 15, "{rows:?}");
    for [page, quoted] in rows {
        let quoted = quoted.replace("\\|", "|");
        assert!(text(&format!("docs/{page}")).contains(&quoted), "docs/{page} no longer says {quoted:?}");
    }
}

#[test]
fn what_shows_a_defence_is_there() {
    let model = text("docs/threat-model.md");
    let tests = all::<2>(r"`((?:src|tests)/[a-z0-9_/]+\.rs)` `([a-z0-9_]+)`", &model);
    assert!(tests.len() >= 25, "{tests:?}");
    for [file, test] in tests {
        assert!(text(&file).contains(&format!("fn {test}(")), "{file} has no {test}");
    }
    for [file] in all::<1>(r"`((?:src|tests|scripts)/[a-z0-9_/.-]+)`", &model) {
        assert!(repository(&file).exists(), "{file}");
    }
}

#[test]
fn panels_that_the_runbook_names_are_on_the_dashboards() {
    let runbook = text("docs/runbook.md").replace("**", "");
    let dashboards = ["operations", "sentiment"].map(|name| text(&format!("deploy/grafana/dashboards/{name}.json")));
    let panels: BTreeSet<[String; 1]> = dashboards.iter().flat_map(|json| all(r#""title": "([^"]+)""#, json)).collect();
    let named = all::<1>(r"\*([A-Za-z][^*\n]+)\*", &runbook);
    assert!(named.len() > 10, "{named:?}");
    for name in named {
        assert!(panels.contains(&name), "no panel is called {name:?}: {panels:?}");
    }
}

#[test]
fn versions_told_are_those_of_the_code() {
    let told = text("docs/compatibility.md");
    let pinned = |file: &str, pattern: &str| {
        let found = all::<1>(pattern, &text(file));
        let [version] = found.first().unwrap_or_else(|| panic!("{file} has no {pattern}"));
        version.clone()
    };
    let versions = [
        ("Apache Kafka ", pinned("scripts/kafka/pom.xml", r"kafka_2\.13</artifactId>\s*<version>([0-9.]+)<")),
        ("librdkafka ", pinned("Cargo.lock", r#"name = "rdkafka-sys"\nversion = "[0-9.]+\+([0-9.]+)""#)),
        ("| ", pinned("scripts/onnxruntime.txt", r"onnxruntime==([0-9.]+)")),
        ("| ", pinned("scripts/onnxruntime-gpu.txt", r"onnxruntime-gpu==([0-9.]+)")),
        ("Rust, to build | ", pinned("Cargo.toml", r#"rust-version = "([0-9.]+)""#)),
        ("dashboard's store | ", pinned("src/dashboard/store/schema.rs", r"const VERSION: i64 = (\d+);")),
        ("(output topic) | `schema` ", pinned("src/result.rs", r"schema: (\d+),\n")),
        ("bundles | `format` ", pinned("src/model/bundle.rs", r"self\.format == (\d+)")),
        ("`bench --json` | `schema` ", pinned("src/bench/report.rs", r"const SCHEMA: u32 = (\d+);")),
        ("| 1.", pinned("Cargo.toml", r#""api-(\d+)""#)),
    ];
    for (before, version) in versions {
        assert!(told.contains(&format!("{before}{version}")), "docs/compatibility.md does not say {before}{version}");
    }
}

#[test]
fn links_lead_somewhere() {
    for page in ["compatibility", "runbook", "sizing", "threat-model"] {
        for [link] in all::<1>(r"\]\(([^)#]+)\)", &text(&format!("docs/{page}.md"))) {
            assert!(
                link.starts_with("http") || repository("docs").join(&link).exists(),
                "docs/{page}.md links to {link}"
            );
        }
    }
}
