//! What README and docs say is so: examples run, and the names they use exist.

use std::collections::BTreeSet;
use std::fs;

use regex::Regex;

use crate::support::kafka::Topics;
use crate::support::process::{WorkerProcess, ended, sentistream};
use crate::support::repository;

fn text(path: &str) -> String {
    fs::read_to_string(repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The first group of every match.
fn all(pattern: &str, text: &str) -> BTreeSet<String> {
    let pattern = Regex::new(pattern).expect("a pattern");
    pattern.captures_iter(text).map(|found| found[1].to_owned()).collect()
}

#[test]
fn the_examples_that_need_no_broker_run() {
    let readme = text("README.md");
    let block = readme.split("<!-- tested -->\n```sh\n").nth(1).and_then(|rest| rest.split("```").next());
    let commands: Vec<&str> = block.expect("a tested block").lines().collect();
    assert!(commands.len() >= 3);
    for command in commands {
        // What the shell would do with `> file` does not matter here.
        let arguments: Vec<&str> = command.split(" > ").next().expect("a command").split(' ').collect();
        assert_eq!(arguments[0], "sentistream");
        let (code, _, error) = ended(&sentistream(&arguments[1..]).output().expect("runs"));
        assert_eq!(code, 0, "{command}: {error}");
    }
}

fn defaults() -> serde_json::Value {
    config::Config::builder()
        .add_source(config::File::from_str(sentistream::settings::DEFAULTS, config::FileFormat::Yaml))
        .build()
        .and_then(config::Config::try_deserialize)
        .expect("the defaults")
}

#[test]
fn names_that_the_readme_uses_exist() {
    let (readme, makefile) = (text("README.md"), text("Makefile"));
    let settings = defaults();
    for key in
        all(r"`((?:kafka|limits|decode|fetch|batch|model|admin|dashboard|log|traces|shutdown)\.[a-z_]+)`", &readme)
    {
        let pointer = format!("/{}", key.replace('.', "/"));
        assert!(settings.pointer(&pointer).is_some(), "config/default.yaml has no {key}");
    }
    // Which is held against a running worker.
    let metrics = text("docs/metrics.md");
    for name in all(r"`(sentistream_[a-z_]+)`", &readme) {
        assert!(metrics.contains(&format!("| `{name}` |")), "docs/metrics.md has no {name}");
    }
    for target in all(r"`?make ([a-z-]+)[` ]", &readme).into_iter().filter(|target| target != "sure") {
        assert!(makefile.contains(&format!("\n{target}:")), "the Makefile has no {target}");
    }
}

#[test]
fn links_lead_somewhere() {
    let pages = fs::read_dir(repository("docs")).expect("docs").map(|page| page.expect("an entry").file_name());
    // Beside them is a folder of images.
    let pages = pages.map(|name| format!("docs/{}", name.to_string_lossy())).filter(|name| name.contains('.'));
    let others = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "models/default/README.md"].map(str::to_owned);
    for document in pages.chain(others) {
        let folder = document.rsplit_once('/').map_or("", |(folder, _)| folder);
        for link in all(r"\]\(([^)#]+)\)", &text(&document)).into_iter().filter(|link| !link.starts_with("http")) {
            assert!(repository(folder).join(&link).exists(), "{document} links to {link}");
        }
    }
}

#[test]
fn the_limits_told_are_the_defaults() {
    let (documented, settings) = (text("docs/messages.md"), defaults());
    let row = Regex::new(r"\n\| `(limits|decode)\.([a-z_]+)` \| (\d+) \|").expect("a pattern");
    let rows: Vec<_> = row.captures_iter(&documented).map(|row| row.extract::<3>().1).collect();
    assert!(rows.len() >= 8, "{rows:?}");
    for [section, key, told] in rows {
        assert_eq!(settings[section][key].to_string(), told, "{section}.{key}");
    }
}

#[test]
fn the_reasons_are_told_and_no_others() {
    let documented = text("docs/messages.md");
    let table = documented.split("The codes are stable:").nth(1).expect("a table");
    assert_eq!(all(r"\n\| `([a-z_0-9]+)` \|", table), all(r#"Self::\w+ => "([a-z_0-9]+)",\n"#, &reasons()));
}

fn reasons() -> String {
    text("src/error.rs").split("The stage that refused").next().expect("the reasons").to_owned()
}

/// *Attach a feed*: its command, with photographs that are there and the test's own topics.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn a_feed_is_attached_as_the_readme_says() {
    let topics = Topics::create("attach", 2).await;
    let environment = topics.environment();
    let told = text("README.md");
    let command = told.lines().map(str::trim).find(|line| line.starts_with("sentistream feed ")).expect("a command");
    let arguments = command.split(' ').skip(1).map(|argument| match argument {
        "photos/" => "tests/fixtures/photos",
        "posts" => &topics.name,
        other => other,
    });
    let arguments: Vec<&str> = arguments.collect();
    assert!(arguments.contains(&"tests/fixtures/photos") && arguments.contains(&topics.name.as_str()), "{command}");
    for encoding in ["binary", "json"] {
        let mut feed = sentistream(&arguments);
        let feed = feed.args(["--encoding", encoding]).envs(environment.iter().map(|(key, value)| (key, value)));
        let (code, _, said) = ended(&feed.output().expect("runs"));
        assert!(code == 0 && said.contains("published 24 posts"), "{said}");
    }
    let worker = WorkerProcess::start(&environment);
    topics.wait_for_outcomes(48).await;
    let results = topics.read_all(&topics.output());
    assert_eq!(results.len(), 48, "{}", worker.log());
    let of_the_cat =
        results.iter().filter(|read| read.key.as_deref() == Some("cat-fitting")).map(crate::support::kafka::Read::json);
    let polarities: Vec<f64> = of_the_cat.filter_map(|result| result["sentiment"]["polarity"].as_f64()).collect();
    let [binary, json] = polarities[..] else { panic!("two results: {polarities:?}") };
    assert!((binary - json).abs() <= 1e-5, "either encoding gives the same numbers: {polarities:?}");
}
