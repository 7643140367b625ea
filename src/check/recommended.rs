//! What the topics should be like (`docs/check.md` says why), and `--create`, which makes those that are missing so.

use super::{Area, Plan, Report};
use crate::kafka::probe::{Access, New, Probe};
use crate::settings::Settings;

/// Partitions where nothing else is asked for: the number that divides among 1, 2, 3 and 6 workers.
pub const PARTITIONS: i32 = 6;
/// Copies, where there are as many brokers.
const REPLICATION: usize = 3;
/// Room beside a record for the headers of its dead letter.
pub(super) const HEADERS_BYTES: u64 = 64 * 1024;
const DAY_MS: u64 = 86_400_000;
/// As long as Kafka's own default.
const WEEK_MS: u64 = 7 * DAY_MS;
/// Somebody has to come and look at them.
const MONTH_MS: u64 = 30 * DAY_MS;

/// What a topic is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Posts,
    Results,
    DeadLetters,
}

impl Purpose {
    /// The topic's name.
    pub(super) fn topic(self, settings: &Settings) -> &str {
        match self {
            Self::Posts => &settings.kafka.input_topic,
            Self::Results => &settings.kafka.output_topic,
            Self::DeadLetters => &settings.kafka.dead_letter_topic,
        }
    }

    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Posts => "kafka.input_topic",
            Self::Results => "kafka.output_topic",
            Self::DeadLetters => "kafka.dead_letter_topic",
        }
    }
}

/// The topic as it would be made on so many brokers.
pub(super) fn topic(purpose: Purpose, settings: &Settings, brokers: usize, partitions: i32) -> New {
    let replication = brokers.clamp(1, REPLICATION);
    let record_bytes = u64::try_from(settings.limits.record_bytes).unwrap_or(u64::MAX);
    let mut configs = vec![("cleanup.policy", "delete".to_owned())];
    match purpose {
        Purpose::Posts => {
            configs.push(("compression.type", "uncompressed".into()));
            configs.push(("max.message.bytes", record_bytes.to_string()));
            configs.push(("retention.ms", WEEK_MS.to_string()));
        }
        Purpose::Results => configs.push(("retention.ms", WEEK_MS.to_string())),
        Purpose::DeadLetters => {
            configs.push(("max.message.bytes", record_bytes.saturating_add(HEADERS_BYTES).to_string()));
            configs.push(("retention.ms", MONTH_MS.to_string()));
        }
    }
    if replication == REPLICATION {
        // One broker may be away, and what was acknowledged is on two.
        configs.push(("min.insync.replicas", "2".into()));
    }
    let replication = i32::try_from(replication).unwrap_or(1);
    New { name: purpose.topic(settings).to_owned(), partitions, replication, configs }
}

/// The command that makes it.
pub(super) fn command(new: &New, brokers: &str) -> String {
    let configs: Vec<String> = new.configs.iter().map(|(key, value)| format!("--config {key}={value}")).collect();
    format!(
        "kafka-topics.sh --bootstrap-server {brokers} --create --topic {} --partitions {} --replication-factor {} {}",
        new.name,
        new.partitions,
        new.replication,
        configs.join(" ")
    )
}

/// Makes a missing topic, or says how to. Whether it is there then.
pub(super) fn make(
    purpose: Purpose,
    probe: &Probe,
    settings: &Settings,
    brokers: usize,
    plan: Plan,
    report: &Report,
) -> bool {
    let new = topic(purpose, settings, brokers, plan.create.unwrap_or(PARTITIONS));
    let (name, key) = (&new.name, purpose.key());
    let command = command(&new, &settings.kafka.brokers);
    if plan.create.is_none() {
        let fix = format!("correct {key}, or make the topic with --create or with: {command}");
        report.error(Area::Topics, format!("topic {name} ({key}) is not there"), fix);
        return false;
    }
    match probe.create(&new) {
        Ok(()) => {
            let configs: Vec<String> = new.configs.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let what = format!(
                "made topic {name} with {} partitions, replication factor {}, {}",
                new.partitions,
                new.replication,
                configs.join(", ")
            );
            report.ok(Area::Topics, what);
            true
        }
        Err(Access::Denied) => {
            let fix = format!(
                "let somebody make it who may ({command}), or grant it: {}",
                super::permissions::grant(settings, "Create", &format!("--topic {name}"))
            );
            report.error(Area::Permissions, format!("Create on topic {name} ({key}) is not permitted"), fix);
            false
        }
        Err(Access::Granted) => true,
        Err(Access::Unclear(why)) => {
            let fix = format!("make it with: {command}");
            report.error(Area::Topics, format!("topic {name} ({key}) could not be made: {why}"), fix);
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_copies_where_there_are_as_many_brokers_and_two_of_them_in_sync() {
        let settings = crate::settings::load(None).expect("the defaults are valid");
        let made = |brokers| topic(Purpose::DeadLetters, &settings, brokers, 4);
        let demanded = |new: &New| new.configs.contains(&("min.insync.replicas", "2".into()));
        for (brokers, replication) in [(0, 1), (1, 1), (2, 2), (3, 3), (9, 3)] {
            let new = made(brokers);
            assert_eq!((new.replication, demanded(&new)), (replication, replication == 3));
        }
        let command = command(&made(3), "k:9092");
        assert!(
            command.starts_with("kafka-topics.sh --bootstrap-server k:9092 --create --topic posts-dead-letters --partitions 4 --replication-factor 3")
                && command.contains(" --config max.message.bytes=4259840"),
            "{command}"
        );
    }
}
