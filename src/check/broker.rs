//! The brokers, then topics and permissions on them, in the order in which one makes sense after the other.

use super::permissions::{self, Operation};
use super::recommended::{self, Purpose};
use super::topics::{self, Seen};
use super::{Area, Plan, Report, Role, dashboard};
use crate::kafka::probe::{Access, Api, Configs, Look, Probe, Topic, Unreached};
use crate::kafka::{Delivery, GroupProtocol};
use crate::settings::Settings;

const DAY: std::time::Duration = std::time::Duration::from_hours(24);

/// A topic that is there, and what the role does with it.
struct Found {
    purpose: Purpose,
    operation: Operation,
    topic: Topic,
    configs: Result<Configs, Access>,
}

impl Found {
    fn seen(&self) -> Seen<'_> {
        Seen { purpose: self.purpose, topic: &self.topic, configs: self.configs.as_ref().ok() }
    }
}

/// Asks everything. Blocks.
pub(super) fn check(settings: &Settings, plan: Plan, report: &Report) {
    let Some((probe, brokers)) = reach(settings, report) else {
        report.skipped(Area::Topics, "partitions and settings: no broker answers");
        return report.skipped(Area::Permissions, "topics, group and transactions: no broker answers");
    };
    versions(&probe, settings, plan.role, report);
    let found = find(&probe, brokers, settings, plan, report);
    describe(&found, brokers, settings, report);
    for Found { topic, operation, .. } in &found {
        permissions::topic(&probe, topic, *operation, settings, report);
    }
    let of = |purpose| found.iter().find(|found| found.purpose == purpose).map(|found| &found.topic);
    permissions::group(&probe, of(Purpose::Posts), plan.role, settings, report);
    permissions::transactions(&probe, plan.role, settings, report);
    if plan.role == Role::Dashboard
        && let Some(results) = of(Purpose::Results)
        && let Some(gained) = probe.gained(results, DAY)
    {
        dashboard::disk(settings, gained, report);
    }
}

fn reach(settings: &Settings, report: &Report) -> Option<(Probe, usize)> {
    let addresses = &settings.kafka.brokers;
    let probe = match Probe::new(&settings.kafka) {
        Ok(probe) => probe,
        Err(error) => {
            report.error(Area::Broker, error.to_string(), "correct the options under kafka");
            return None;
        }
    };
    let why = match probe.reach() {
        Ok(brokers) => {
            let what =
                format!("{addresses} answers; the cluster has {} ({})", count(brokers.len()), brokers.join(", "));
            report.ok(Area::Broker, what);
            return Some((probe, brokers.len()));
        }
        Err(why) => why,
    };
    match why {
        // Its last part says what to do.
        Unreached::Refused(sentence) => {
            let (what, fix) = sentence.rsplit_once("; ").unwrap_or((&sentence, "look at kafka.security"));
            report.error(Area::Broker, what, fix);
        }
        Unreached::Silent(why) => report.error(
            Area::Broker,
            format!("no answer from {addresses}: {why}"),
            "is kafka.brokers right, and is the broker up?",
        ),
    }
    None
}

fn count(brokers: usize) -> String {
    if brokers == 1 { "1 broker".into() } else { format!("{brokers} brokers") }
}

/// What the settings ask of brokers that not all can do.
fn versions(probe: &Probe, settings: &Settings, role: Role, report: &Report) {
    if role != Role::Run {
        return;
    }
    let kafka = &settings.kafka;
    let asked = [
        (
            kafka.group_protocol == GroupProtocol::Consumer,
            Api::ConsumerGroups,
            "kafka.group_protocol consumer",
            "Kafka 4.0",
            "set it to classic",
        ),
        (
            kafka.delivery == Delivery::ExactlyOnce,
            Api::GroupTransactions,
            "kafka.delivery exactly_once",
            "Kafka 2.5",
            "set it to at_least_once",
        ),
        (kafka.instance.is_some(), Api::StaticMembers, "kafka.instance", "Kafka 2.3", "set it to null"),
    ];
    for (is_asked, api, setting, version, otherwise) in asked {
        match probe.knows(api).filter(|_| is_asked) {
            Some(true) => report.ok(Area::Broker, format!("the brokers can do {setting}")),
            Some(false) => report.error(
                Area::Broker,
                format!("the brokers cannot do {setting}"),
                format!("{otherwise}, or use {version} or newer"),
            ),
            None => {}
        }
    }
}

/// The role's topics that are there; the others are made or told.
fn find(probe: &Probe, brokers: usize, settings: &Settings, plan: Plan, report: &Report) -> Vec<Found> {
    let mut found = Vec::new();
    for (purpose, operation) in permissions::needs(plan.role).iter().copied() {
        let name = purpose.topic(settings);
        let mut look = probe.topic(name);
        if look == Look::Missing && recommended::make(purpose, probe, settings, brokers, plan, report) {
            look = probe.topic(name);
        }
        match look {
            Look::Found(topic) => {
                let configs = probe.configs(name);
                found.push(Found { purpose, operation, topic, configs });
                continue;
            }
            Look::Denied => permissions::unseen(purpose, operation, settings, report),
            Look::Missing => {}
            Look::Unclear(why) => {
                report.error(
                    Area::Topics,
                    format!("topic {name} ({}) cannot be looked at: {why}", purpose.key()),
                    "look at the brokers, and run the check again",
                );
            }
        }
        report.skipped(Area::Topics, format!("partitions, settings and permissions of {name}"));
    }
    found
}

/// What is to be said of the topics that are there.
fn describe(found: &[Found], brokers: usize, settings: &Settings, report: &Report) {
    let all: Vec<Seen<'_>> = found.iter().map(Found::seen).collect();
    for seen in &all {
        topics::tell(seen, brokers, settings, report);
    }
    if let Some(posts) = all.iter().find(|seen| seen.purpose == Purpose::Posts) {
        for other in &all {
            topics::compare(posts, other, settings, report);
        }
    }
    let hidden: Vec<&Found> = found.iter().filter(|found| found.configs.is_err()).collect();
    let Some(Found { configs: Err(why), .. }) = hidden.first() else { return };
    let names: Vec<&str> = hidden.iter().map(|found| found.topic.name.as_str()).collect();
    let unseen = format!("the settings of {} were not looked at (sizes, retention, compaction)", names.join(", "));
    if let Access::Unclear(why) = why {
        let fix = "look at the brokers, and run the check again";
        return report.warning(Area::Topics, format!("{unseen}: {why}"), fix);
    }
    let resource: Vec<String> = names.iter().map(|name| format!("--topic {name}")).collect();
    report.warning(
        Area::Permissions,
        format!("{unseen}: DescribeConfigs is not permitted; no other command needs it"),
        permissions::grant(settings, "DescribeConfigs", &resource.join(" ")),
    );
}
