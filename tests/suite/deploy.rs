//! What `deploy/` says of the program is so: its settings load, what it starts exists, and its numbers agree with ours. That it is
//! valid for those who read it (engine, cluster, systemd) is what `make check-deploy` checks.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use regex::Regex;
use sentistream::settings::{Settings, load};

use crate::prometheus::promtool;
use crate::support::process::{ended, sentistream};
use crate::support::repository;

const COMPOSE: &str = "deploy/compose/compose.yaml";
const DOCKERFILE: &str = "deploy/image/Dockerfile";
const MANIFESTS: &str = "deploy/kubernetes/base/settings.yaml";
const UNITS: &str = "deploy/systemd/settings.yaml";
/// Where names and values of the environment stand, with the settings file that goes with them.
const ENVIRONMENTS: &[(&str, Option<&str>)] = &[
    (COMPOSE, None),
    ("deploy/kubernetes/base/worker.yaml", Some(MANIFESTS)),
    ("deploy/kubernetes/components/secured/worker.yaml", Some(MANIFESTS)),
    ("deploy/kubernetes/components/secured/dashboard.yaml", Some(MANIFESTS)),
    ("deploy/kubernetes/components/gpu/worker.yaml", Some(MANIFESTS)),
    ("deploy/kubernetes/components/fetch/kustomization.yaml", Some(MANIFESTS)),
    ("deploy/systemd/sentistream@.service", Some(UNITS)),
    ("deploy/systemd/sentistream-dashboard.service", Some(UNITS)),
    ("deploy/systemd/secured.conf", Some(UNITS)),
];

fn text(path: &str) -> String {
    fs::read_to_string(repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The groups of every match.
fn all<const GROUPS: usize>(pattern: &str, text: &str) -> Vec<[String; GROUPS]> {
    let pattern = Regex::new(pattern).expect("a pattern");
    let found = pattern.captures_iter(text).map(|found| found.extract().1.map(str::to_owned));
    found.collect()
}

/// The number that stands behind a key wherever the key does, which is the same everywhere.
fn number(path: &str, key: &str) -> u64 {
    let found = all::<1>(&format!(r"(?m)^[\s-]*{}[:=]\s*(\d+)", regex::escape(key)), &text(path));
    assert!(!found.is_empty() && found.iter().all(|number| number == &found[0]), "{key} of {path}: {found:?}");
    found[0][0].parse().expect("a number")
}

fn settings(path: &str) -> Settings {
    load(Some(&repository(path))).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn session_seconds(settings: &Settings) -> u64 {
    // librdkafka's, unless set.
    settings.kafka.consumer.get("session.timeout.ms").map_or(45, |ms| ms.parse::<u64>().expect("a number") / 1000)
}

/// What a file puts into the environment, with values where it refers to the pod's name, the unit's instance or its folders.
fn environment(path: &str) -> BTreeMap<String, String> {
    let text =
        text(path).replace("%H", "host").replace("%i", "1").replace("%S", "/var/lib").replace("%d", "/run/credentials");
    let pairs = [
        r#"(?m)^\s*(SENTISTREAM__\w+): "?([^"\n]+)"?$"#,
        r#"name: (SENTISTREAM__\w+), value: "?([^"}]+)"?\}"#,
        r"(?m)^Environment=(SENTISTREAM__\w+)=(.+)$",
        r"name: (SENTISTREAM__\w+)\n\s*valueFrom: \{fieldRef: \{fieldPath: (metadata\.name)\}\}",
    ];
    let found: BTreeMap<_, _> =
        pairs.iter().flat_map(|pattern| all::<2>(pattern, &text)).map(|[name, value]| (name, value)).collect();
    assert_eq!(
        all::<1>(r"(SENTISTREAM__\w+)", &text).into_iter().flatten().collect::<std::collections::BTreeSet<_>>().len(),
        found.len(),
        "{path}: {found:?}"
    );
    found
}

#[test]
fn what_is_set_is_taken() {
    for path in [MANIFESTS, UNITS] {
        settings(path);
    }
    for (path, file) in ENVIRONMENTS {
        let set = environment(path);
        assert!(!set.is_empty(), "{path}");
        let mut command = sentistream(&["evaluate", "no-such-post.csv"]);
        command.args(file.iter().flat_map(|file| ["--config", file])).envs(&set);
        // The settings pass, and what is wrong is the file.
        let (code, _, error) = ended(&command.output().expect("runs"));
        assert!(code == 1 && error.contains("no-such-post.csv"), "{path}: {code} {error}");
        let (code, ..) = ended(&command.env("SENTISTREAM__ADMIN__LISTENS", "x").output().expect("runs"));
        assert_eq!(code, 2, "a misspelt name is found");
    }
}

#[test]
fn what_is_started_exists() {
    let manifests = ["deploy/kubernetes/base/worker.yaml", "deploy/kubernetes/base/dashboard.yaml", COMPOSE];
    let lists = manifests.iter().flat_map(|path| all::<1>(r"(?m)^\s*(?:args|command): \[(.+)\]", &text(path)));
    let units = ENVIRONMENTS
        .iter()
        .flat_map(|(path, _)| all::<1>("(?m)^ExecStart=/usr/local/bin/sentistream (.+)$", &text(path)));
    let started: Vec<Vec<String>> = lists
        .chain(units)
        .map(|[words]| words.split([',', ' ']).filter(|word| !word.is_empty()).map(str::to_owned).collect())
        .collect();
    assert!(started.len() >= 8, "{started:?}");
    for words in started {
        let (code, help, error) = ended(&sentistream(&[&words[0], "--help"]).output().expect("runs"));
        assert_eq!(code, 0, "{words:?}: {error}");
        for option in words.iter().filter(|word| word.starts_with("--")) {
            assert!(help.contains(option.as_str()), "{words:?}: {help}");
        }
    }
}

#[test]
fn what_stops_a_worker_waits_for_it() {
    for (path, key, file) in [
        ("deploy/kubernetes/base/worker.yaml", "terminationGracePeriodSeconds", Some(MANIFESTS)),
        ("deploy/systemd/sentistream@.service", "TimeoutStopSec", Some(UNITS)),
        (COMPOSE, "stop_grace_period", None),
    ] {
        let settings = load(file.map(repository).as_deref()).expect("settings");
        // The compose file gives its broker a time too, which is shorter.
        let given = match file {
            Some(_) => number(path, key),
            None => all::<1>(r"stop_grace_period: (\d+)s", &text(path))
                .iter()
                .map(|found| found[0].parse().expect("a number"))
                .max()
                .expect("one"),
        };
        let needed = settings.shutdown.grace_seconds + session_seconds(&settings);
        assert!(given > needed, "{path}: {key} is {given}, and a worker may take {needed} s to stop");
    }
}

#[test]
fn scaling_waits_for_members_that_went() {
    let (settings, scaled) = (settings(MANIFESTS), text("deploy/kubernetes/components/keda/scaledobject.yaml"));
    let windows = all::<1>(r"stabilizationWindowSeconds: (\d+)", &scaled);
    assert_eq!(windows.len(), 2);
    for [window] in windows {
        assert!(window.parse::<u64>().expect("a number") > session_seconds(&settings), "{window} s");
    }
    for (key, value) in [
        ("bootstrapServers", &settings.kafka.brokers),
        ("consumerGroup", &settings.kafka.group),
        ("topic", &settings.kafka.input_topic),
    ] {
        assert!(scaled.contains(&format!("{key}: {value}\n")), "{key}: {value}");
    }
}

#[test]
fn ports_files_and_versions_are_ours() {
    let settings = settings(MANIFESTS);
    let admin = settings.admin.listen.expect("an admin port");
    assert_eq!(number("deploy/kubernetes/base/worker.yaml", "- {name: admin, containerPort"), u64::from(admin.port()));
    assert_eq!(
        number("deploy/kubernetes/base/dashboard.yaml", "- {name: page, containerPort"),
        u64::from(settings.dashboard.listen.port())
    );
    // Probes, Prometheus and the page come from elsewhere.
    assert!(admin.ip().is_unspecified() && settings.dashboard.listen.ip().is_unspecified());
    let mounted = text("deploy/kubernetes/base/dashboard.yaml");
    for path in [settings.dashboard.token_file.as_deref(), Some(&*settings.dashboard.store)] {
        let folder = path.and_then(Path::parent).expect("a folder").display().to_string();
        assert!(mounted.contains(&format!("mountPath: {folder}")), "{folder}");
    }
    for [path] in all::<1>(r"- (\.{1,2}/[^:]+):/", &text(COMPOSE)) {
        assert!(repository("deploy/compose").join(&path).exists(), "{path}");
    }
    let version = env!("CARGO_PKG_VERSION");
    let named = [
        (COMPOSE, r"SENTISTREAM_VERSION:-([0-9.]+)\}"),
        (DOCKERFILE, r"ARG VERSION=([0-9.]+)"),
        ("deploy/kubernetes/base/kustomization.yaml", r"newTag: ([0-9.]+)"),
        ("deploy/kubernetes/components/gpu/kustomization.yaml", r"newTag: ([0-9.]+)-cuda"),
    ];
    for (path, pattern) in named {
        assert_eq!(all::<1>(pattern, &text(path)), [[version.to_owned()]], "{path}");
    }
}

/// ONNX Runtime would keep an identifier there for its reports to its makers, and send them (`src/main.rs`).
#[test]
fn nothing_is_left_at_home() {
    let home = tempfile::tempdir().expect("a folder");
    let mut command = sentistream(&["score", "tests/fixtures/photos/cat.jpg"]);
    let output =
        command.env("HOME", home.path()).env_remove("XDG_CACHE_HOME").env_remove("ORT_DISABLE_TELEMETRY").output();
    let (code, _, error) = ended(&output.expect("runs"));
    assert_eq!(code, 0, "{error}");
    let left: Vec<_> = fs::read_dir(home.path()).expect("a folder").collect();
    assert!(left.is_empty(), "{left:?}");
}

/// `a/b/../c` without the detour.
fn tidied(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut tidy, part| {
        if part == Component::ParentDir {
            tidy.pop();
        } else {
            tidy.push(part);
        }
        tidy
    })
}

#[test]
fn the_image_is_built_from_all_that_is_compiled_in() {
    let ignore = text(".dockerignore");
    let kept: Vec<PathBuf> = ignore.lines().filter_map(|line| line.strip_prefix('!')).map(repository).collect();
    assert!(ignore.lines().any(|line| line == "*") && kept.iter().all(|path| path.exists()), "{kept:?}");
    let mut folders = vec![repository("src")];
    let mut included = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() {
                folders.push(entry);
                continue;
            }
            let is_test = entry.file_name().is_some_and(|name| name == "tests.rs");
            if is_test || entry.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let source = fs::read_to_string(&entry).expect("source");
            for [path] in all::<1>(r#"include_(?:str|bytes)!\((?:concat!\()?"([^"]+)""#, &source) {
                let path = tidied(&entry.parent().expect("a folder").join(path));
                assert!(kept.iter().any(|kept| path.starts_with(kept)), "{} is not in .dockerignore", path.display());
                included += 1;
            }
        }
    }
    assert!(included > 3, "{included}");
    for [path] in all::<1>(r"(?m)^COPY (?:scripts/[^ ]+ )*(scripts/[^ ]+) scripts/$", &text(DOCKERFILE)) {
        assert!(repository(&path).exists(), "{path}");
    }
}

#[test]
#[ignore = "needs Prometheus: make test"]
fn the_prometheus_of_the_compose_file_takes_its_settings() {
    let folder = tempfile::tempdir().expect("a folder");
    for file in
        ["deploy/compose/prometheus.yml", "deploy/prometheus/recording-rules.yml", "deploy/prometheus/alert-rules.yml"]
    {
        let path = repository(file);
        fs::copy(&path, folder.path().join(path.file_name().expect("a name"))).expect("copied");
    }
    let settings = folder.path().join("prometheus.yml");
    let (code, said, error) =
        ended(&promtool(&["check", "config", settings.to_str().expect("UTF-8")]).output().expect("runs"));
    assert!(code == 0 && said.contains("2 rule files found"), "{said} {error}");
}
