//! Settings: `config/default.yaml` (compiled in), then a YAML file, then `SENTISTREAM__SECTION__KEY` in the environment.
//! Each component owns its section and its validation; what contradicts across sections is refused here. Nothing unknown
//! passes: a misspelt key is an error that names it.

use std::path::Path;

use config::{Config, Environment, File, FileFormat};
use serde::Deserialize;

use crate::{admin, batch, budget, dashboard, decode, fetch, kafka, model, telemetry, traces};

/// Every option with its default and what it is for.
pub const DEFAULTS: &str = include_str!("../config/default.yaml");
const PREFIX: &str = "SENTISTREAM";

/// All settings of a worker.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Broker, group, topics.
    pub kafka: kafka::Settings,
    /// What may be in flight.
    pub limits: budget::Limits,
    /// Limits of a post.
    pub decode: decode::Settings,
    /// Images by URL.
    pub fetch: fetch::Settings,
    /// Limits of a batch.
    pub batch: batch::Settings,
    /// Bundle and hardware.
    pub model: model::Settings,
    /// Admin port.
    pub admin: admin::Settings,
    /// The dashboard's page and store.
    pub dashboard: dashboard::Settings,
    /// Logs.
    pub log: telemetry::Settings,
    /// Traces.
    pub traces: traces::Settings,
    /// How to stop.
    pub shutdown: Shutdown,
}

/// How to stop.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shutdown {
    /// How long records in flight may take to finish after SIGTERM or SIGINT.
    pub grace_seconds: u64,
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that cannot be read, an unknown key, a value of the wrong type.
    #[error("settings: {0}; config/default.yaml lists every option")]
    Read(config::ConfigError),
    /// A value of the wrong type that may be a password, and so is not told.
    #[error(
        "settings: {key} has a value of the wrong type, {expected} is expected; config/default.yaml shows it (librdkafka's options are given in a file, --config, each on a line of its own)"
    )]
    Option {
        /// Which.
        key: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A value out of range, or two that contradict each other.
    #[error("settings: {0}")]
    Invalid(String),
}

/// Reads the settings and refuses what cannot work.
///
/// # Errors
/// Names the key that is unknown, of the wrong type, out of range or in contradiction, with the fix.
pub fn load(file: Option<&Path>) -> Result<Settings, Error> {
    load_with(file, None)
}

/// Names of the environment's variables that are settings.
#[must_use]
pub fn variables() -> Vec<String> {
    let prefix = format!("{PREFIX}__").to_lowercase();
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let mut names: Vec<String> = names.filter(|name| name.to_lowercase().starts_with(&prefix)).collect();
    names.sort();
    names
}

fn load_with(file: Option<&Path>, environment: Option<config::Map<String, String>>) -> Result<Settings, Error> {
    let mut builder = Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Yaml));
    if let Some(path) = file {
        builder = builder.add_source(File::from(path).format(FileFormat::Yaml));
    }
    let environment = Environment::with_prefix(PREFIX).prefix_separator("__").separator("__").source(environment);
    let settings: Settings = builder.add_source(environment).build().and_then(Config::try_deserialize)?;
    settings.validate().map_err(Error::Invalid)?;
    Ok(settings)
}

impl From<config::ConfigError> for Error {
    fn from(error: config::ConfigError) -> Self {
        match error {
            config::ConfigError::Type { key: Some(key), expected, .. } if holds_options(&key) => {
                Self::Option { key, expected }
            }
            config::ConfigError::At { error, key: Some(key), .. } if hides(&key, &error) => match *error {
                config::ConfigError::Type { expected, .. } => Self::Option { key, expected },
                // A name out of few, such as kafka.security.mechanism: no secret.
                other if ["kafka.security.mechanism", "kafka.security.protocol"].contains(&key.as_str()) => {
                    Self::Read(config::ConfigError::Message(format!("{key}: {other}")))
                }
                // The name of a key, and those that there are.
                config::ConfigError::Message(told) if told.starts_with("unknown field") => {
                    Self::Read(config::ConfigError::Message(format!("{key}: {told}")))
                }
                _ if is_in(&OPTIONS, &key) => Self::Option { key, expected: "a map of texts" },
                _ => Self::Option { key, expected: "a section" },
            },
            error => Self::Read(error),
        }
    }
}

/// librdkafka's options, of which some are secrets.
const OPTIONS: [&str; 3] = ["kafka.options", "kafka.consumer", "kafka.producer"];
/// Sections of which nothing is told, and the one that tells itself what is wrong, but for a type.
const SECRETS: [&str; 2] = ["kafka.security", "dashboard.token"];
const REGISTRY: [&str; 1] = ["decode.registry"];

fn is_in(sections: &[&str], key: &str) -> bool {
    sections.iter().any(|section| key.starts_with(section))
}

/// Whether the text of a wrong type may hold secrets: of what is in one of the sections, or has one in it.
fn holds_options(key: &str) -> bool {
    [OPTIONS.as_slice(), &SECRETS, &REGISTRY].concat().iter().any(|section| {
        key.starts_with(section) || section.strip_prefix(key).is_some_and(|behind| behind.starts_with('.'))
    })
}

/// Whether what is wrong with a key may tell a secret: serde shows a text where it wants a section.
fn hides(key: &str, error: &config::ConfigError) -> bool {
    let shows = matches!(error, config::ConfigError::Type { .. }) || error.to_string().starts_with("invalid ");
    is_in(&OPTIONS, key) || is_in(&SECRETS, key) || (shows && holds_options(key))
}

impl Settings {
    fn validate(&self) -> Result<(), String> {
        self.kafka.validate()?;
        self.limits.validate()?;
        self.decode.validate()?;
        self.fetch.validate()?;
        self.batch.validate()?;
        self.model.validate().map_err(|error| error.to_string())?;
        self.admin.validate()?;
        self.dashboard.validate()?;
        self.log.validate()?;
        self.traces.validate()?;
        if self.batch.max_posts > self.limits.records {
            return Err(format!(
                "batch.max_posts ({}) is above limits.in_flight_records ({}): such a batch could never fill; raise the limit or lower the batch",
                self.batch.max_posts, self.limits.records
            ));
        }
        for (key, seconds) in
            [("shutdown.grace_seconds", self.shutdown.grace_seconds), ("admin.stall_seconds", self.admin.stall_seconds)]
        {
            if seconds > 86_400 {
                return Err(format!("{key} is {seconds}; set it to at most 86400, a day"));
            }
        }
        if self.decode.timeout_ms / 1000 >= self.admin.stall_seconds {
            return Err(format!(
                "decode.timeout_ms ({}) must be below admin.stall_seconds ({}): a slow image would look like a stall",
                self.decode.timeout_ms, self.admin.stall_seconds
            ));
        }
        if self.admin.stall_seconds <= self.kafka.revoke_deadline_seconds {
            return Err(format!(
                "admin.stall_seconds ({}) must be above kafka.revoke_deadline_seconds ({}): a rebalance would look like a stall",
                self.admin.stall_seconds, self.kafka.revoke_deadline_seconds
            ));
        }
        let longest_fetch = self.fetch.longest().as_secs();
        if self.fetch.is_on() && longest_fetch >= self.admin.stall_seconds {
            return Err(format!(
                "fetch.timeout_ms and fetch.attempts let one image take {longest_fetch} s, which would look like a stall: lower them, or raise admin.stall_seconds ({}) above it",
                self.admin.stall_seconds
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_environment(pairs: &[(&str, &str)]) -> Result<Settings, Error> {
        load_with(None, Some(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()))
    }

    fn refusal(pairs: &[(&str, &str)]) -> String {
        from_environment(pairs).expect_err("refused").to_string()
    }

    #[test]
    fn the_defaults_are_valid() {
        from_environment(&[]).expect("valid");
    }

    #[test]
    fn the_environment_overrides_and_is_typed() {
        let settings = from_environment(&[
            ("SENTISTREAM__KAFKA__GROUP", "g2"),
            ("SENTISTREAM__BATCH__MAX_POSTS", "4"),
            ("SENTISTREAM_TEST_BROKERS", "ignored: another prefix"),
        ])
        .expect("valid");
        assert_eq!((settings.kafka.group.as_str(), settings.batch.max_posts), ("g2", 4));
    }

    #[test]
    fn what_is_unknown_or_mistyped_is_refused_by_name() {
        let unknown = refusal(&[("SENTISTREAM__KAFKA__BROKRES", "x:1")]);
        assert!(unknown.contains("brokres"), "{unknown}");
        let mistyped = refusal(&[("SENTISTREAM__BATCH__MAX_POSTS", "many")]);
        assert!(mistyped.contains("max_posts"), "{mistyped}");
    }

    #[test]
    fn contradictions_are_refused_with_the_keys_and_the_fix() {
        let batch =
            refusal(&[("SENTISTREAM__BATCH__MAX_POSTS", "100"), ("SENTISTREAM__LIMITS__IN_FLIGHT_RECORDS", "10")]);
        assert!(batch.contains("batch.max_posts") && batch.contains("limits.in_flight_records"), "{batch}");
        let topics = refusal(&[("SENTISTREAM__KAFKA__OUTPUT_TOPIC", "posts")]);
        assert!(topics.contains("three topics"), "{topics}");
        let slow =
            refusal(&[("SENTISTREAM__DECODE__TIMEOUT_MS", "60000"), ("SENTISTREAM__ADMIN__STALL_SECONDS", "60")]);
        assert!(slow.contains("decode.timeout_ms") && slow.contains("admin.stall_seconds"), "{slow}");
        let deadline = refusal(&[("SENTISTREAM__KAFKA__REVOKE_DEADLINE_SECONDS", "1000")]);
        assert!(
            deadline.contains("revoke_deadline_seconds") && deadline.contains("max.poll.interval.ms"),
            "{deadline}"
        );
    }

    #[test]
    fn fetching_is_off_until_it_is_turned_on() {
        assert!(!from_environment(&[]).expect("valid").fetch.is_on());
        let on = from_environment(&[
            ("SENTISTREAM__FETCH__HOSTS", "cdn.example.com, *.images.example.net:8443"),
            ("SENTISTREAM__FETCH__NETWORKS", "10.20.0.0/16,fd12::/16"),
        ]);
        let on = on.expect("valid").fetch;
        assert_eq!((on.is_on(), on.hosts.len(), on.networks.len()), (true, 2, 2));
        assert!(from_environment(&[("SENTISTREAM__FETCH__ROOT", "/srv/images")]).expect("valid").fetch.is_on());
        let host = refusal(&[("SENTISTREAM__FETCH__HOSTS", "https://cdn.example.com/")]);
        assert!(host.contains("fetch.hosts") && host.contains("https://cdn.example.com/"), "{host}");
        let network = refusal(&[("SENTISTREAM__FETCH__NETWORKS", "10.20.0.0/40")]);
        assert!(network.contains("networks") && network.contains("10.20.0.0/40"), "{network}");
        let slow = [("SENTISTREAM__FETCH__HOSTS", "a.example"), ("SENTISTREAM__FETCH__TIMEOUT_MS", "60000")];
        let slow = refusal(&slow);
        assert!(slow.contains("fetch.timeout_ms") && slow.contains("admin.stall_seconds"), "{slow}");
    }

    #[test]
    fn an_option_that_may_be_a_secret_is_not_told() {
        for key in ["OPTIONS", "CONSUMER", "PRODUCER"] {
            let refused = refusal(&[(&format!("SENTISTREAM__KAFKA__{key}"), r#"{"sasl.password": "hunter2"}"#)]);
            assert!(refused.contains(&key.to_lowercase()) && !refused.contains("hunter2"), "{refused}");
        }
        let security = r#"{"security": {"password": "hunter2"}}"#;
        for (key, text) in [
            ("KAFKA", security),
            ("KAFKA__SECURITY", security),
            ("DASHBOARD", "hunter2"),
            ("DECODE", r#"{"registry": {"password": "hunter2"}}"#),
            ("DECODE__REGISTRY", r#"{"password": "hunter2"}"#),
            ("DECODE__REGISTRY", "https://me:hunter2@registry:8081"),
            ("DECODE__REGISTRY__TIMEOUT_MS", "hunter2"),
        ] {
            let refused = refusal(&[(&format!("SENTISTREAM__{key}"), text)]);
            let key = key.to_lowercase().replace("__", ".");
            assert!(refused.contains(&key) && !refused.contains("hunter2"), "{refused}");
        }
        let told = refusal(&[("SENTISTREAM__DECODE__REGISTRY__URL", "registry:8081")]);
        assert!(told.contains("must begin with http:// or https://"), "{told}");
        let refused = with_kafka("  options: [\"hunter2\"]").expect_err("refused").to_string();
        assert!(!refused.contains("hunter2"), "{refused}");
    }

    #[test]
    fn numbers_that_no_machine_has_are_refused() {
        for key in [
            "LIMITS__IN_FLIGHT_RECORDS",
            "LIMITS__IN_FLIGHT_BYTES",
            "LIMITS__RECORD_BYTES",
            "SHUTDOWN__GRACE_SECONDS",
            "ADMIN__STALL_SECONDS",
            "ADMIN__SOURCES",
            "KAFKA__REVOKE_DEADLINE_SECONDS",
            "KAFKA__COMMIT_INTERVAL_MS",
            "BATCH__MAX_POSTS",
            "BATCH__LINGER_MS",
            "FETCH__TIMEOUT_MS",
            "FETCH__REDIRECTS",
            "FETCH__CONCURRENCY",
            "FETCH__PER_HOST",
            "FETCH__ATTEMPTS",
            "DECODE__TIMEOUT_MS",
        ] {
            let refused = refusal(&[(&format!("SENTISTREAM__{key}"), &u64::MAX.to_string())]);
            let key = key.split("__").nth(1).unwrap_or_default().to_lowercase();
            assert!(refused.contains(&key) || refused.contains("in_flight_bytes"), "{key}: {refused}");
        }
    }

    #[test]
    fn a_file_without_settings_changes_nothing() {
        let directory = tempfile::tempdir().expect("temporary folder");
        let file = directory.path().join("settings.yaml");
        for text in ["", "# nothing yet\n"] {
            std::fs::write(&file, text).expect("written");
            load_with(Some(&file), Some(config::Map::new())).expect("valid");
        }
    }

    #[test]
    fn options_that_delivery_depends_on_are_refused_by_name() {
        let directory = tempfile::tempdir().expect("temporary folder");
        for (section, option) in [("consumer", "enable.auto.commit"), ("options", "group.id"), ("producer", "acks")] {
            let file = directory.path().join("settings.yaml");
            std::fs::write(&file, format!("kafka:\n  {section}:\n    {option}: \"1\"\n")).expect("written");
            let refused = load_with(Some(&file), Some(config::Map::new())).expect_err("refused").to_string();
            assert!(refused.contains(option) && refused.contains(section), "{refused}");
        }
    }

    /// Settings whose section `kafka` holds these lines.
    fn with_kafka(lines: &str) -> Result<Settings, Error> {
        let directory = tempfile::tempdir().expect("temporary folder");
        let file = directory.path().join("settings.yaml");
        std::fs::write(&file, format!("kafka:\n{lines}\n")).expect("written");
        load_with(Some(&file), Some(config::Map::new()))
    }

    #[test]
    fn combinations_that_librdkafka_refuses_are_refused_first_with_the_reason() {
        for (lines, reason) in [
            ("  group_protocol: consumer\n  consumer: {session.timeout.ms: 6000}", "group.consumer.session.timeout.ms"),
            (
                "  group_protocol: consumer\n  options: {heartbeat.interval.ms: 100}",
                "heartbeat.interval.ms cannot be set",
            ),
            ("  group_protocol: consumer\n  consumer: {partition.assignment.strategy: range}", "group.remote.assignor"),
            ("  consumer: {partition.assignment.strategy: \"range,cooperative-sticky\"}", "cannot be mixed"),
            (
                "  consumer: {max.poll.interval.ms: 30000}\n  revoke_deadline_seconds: 10",
                "below session.timeout.ms (45000)",
            ),
            (
                "  delivery: exactly_once\n  consumer: {isolation.level: read_uncommitted}",
                "isolation.level must be read_committed",
            ),
            (
                "  delivery: exactly_once\n  producer: {socket.timeout.ms: 60000}",
                "socket.timeout.ms is above transaction.timeout.ms",
            ),
            ("  delivery: exactly_once\n  producer: {transaction.timeout.ms: 10}", "between 1000 and 900000"),
            ("  instance: a/b", "kafka.instance is"),
            ("  uncommitted_records: 0", "kafka.uncommitted_records is 0"),
            ("  delivery: at_most_once", "at_most_once"),
        ] {
            let refused = with_kafka(lines).expect_err(lines).to_string();
            assert!(refused.contains(reason), "{lines}: {refused}");
        }
        for lines in [
            "  group_protocol: consumer\n  consumer: {max.poll.interval.ms: 70000}",
            "  delivery: exactly_once\n  instance: worker-0\n  producer: {transaction.timeout.ms: 30000}",
            "  consumer: {partition.assignment.strategy: \"range,roundrobin\"}",
        ] {
            with_kafka(lines).expect(lines);
        }
    }

    #[test]
    fn other_librdkafka_options_pass_through() {
        let directory = tempfile::tempdir().expect("temporary folder");
        let file = directory.path().join("settings.yaml");
        std::fs::write(&file, "kafka:\n  consumer:\n    session.timeout.ms: 6000\n").expect("written");
        let settings = load_with(Some(&file), Some(config::Map::new())).expect("valid");
        assert_eq!(settings.kafka.consumer.get("session.timeout.ms").map(String::as_str), Some("6000"));
    }
}
