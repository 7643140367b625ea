//! What the user may do with topics, group and transactions, and the command that grants what is missing.

use super::recommended::Purpose;
use super::{Area, Report, Role};
use crate::kafka::Delivery;
use crate::kafka::probe::{Access, Probe, Topic};
use crate::settings::Settings;

/// What a role does with a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Read,
    Write,
    /// Asks for its partitions and ends alone.
    Describe,
}

impl Operation {
    /// As `kafka-acls.sh` calls it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Read => "Read",
            Self::Write => "Write",
            Self::Describe => "Describe",
        }
    }
}

/// What a role does with which topics.
pub(super) const fn needs(role: Role) -> &'static [(Purpose, Operation)] {
    use Operation::{Describe, Read, Write};
    use Purpose::{DeadLetters, Posts, Results};
    match role {
        Role::Run => &[(Posts, Read), (Results, Write), (DeadLetters, Write)],
        Role::Dashboard => &[(Results, Read), (DeadLetters, Read), (Posts, Describe)],
        Role::Feed => &[(Posts, Write)],
        Role::Dlq => &[(DeadLetters, Read), (Posts, Write)],
    }
}

/// The command that grants an operation on a resource, given as the command's options.
pub(super) fn grant(settings: &Settings, operation: &str, resource: &str) -> String {
    format!(
        "kafka-acls.sh --bootstrap-server {} --add --allow-principal {} --operation {operation} {resource}",
        settings.kafka.brokers,
        settings.kafka.security.principal()
    )
}

/// A topic that the user may not even see.
pub(super) fn unseen(purpose: Purpose, operation: Operation, settings: &Settings, report: &Report) {
    let topic = purpose.topic(settings);
    tell(&Access::Denied, operation.name(), &format!("topic {topic}"), &format!("--topic {topic}"), settings, report);
}

/// Whether the role may do with a topic what it does.
pub(super) fn topic(probe: &Probe, topic: &Topic, operation: Operation, settings: &Settings, report: &Report) {
    let access = match operation {
        Operation::Read => probe.read(topic),
        Operation::Write => probe.write(topic),
        // It was described to get here.
        Operation::Describe => Access::Granted,
    };
    let name = &topic.name;
    tell(&access, operation.name(), &format!("topic {name}"), &format!("--topic {name}"), settings, report);
}

/// Whether the role may do with the group what it does.
pub(super) fn group(probe: &Probe, posts: Option<&Topic>, role: Role, settings: &Settings, report: &Report) {
    let group = &settings.kafka.group;
    let (what, resource) = (format!("group {group}"), format!("--group {group}"));
    match role {
        Role::Run => tell(&probe.join(), "Read", &what, &resource, settings, report),
        Role::Dashboard | Role::Dlq => match posts.map(|posts| probe.describe_group(posts)) {
            Some(Access::Granted) => report.ok(Area::Permissions, format!("Describe on {what} is permitted")),
            Some(Access::Denied) => report.warning(
                Area::Permissions,
                format!("Describe on {what} is not permitted: {}", without_the_group(role)),
                grant(settings, "Describe", &resource),
            ),
            Some(Access::Unclear(why)) => {
                let fix = "see that the group's coordinator answers (offsets.topic.replication.factor is at most the number of brokers)";
                report.warning(Area::Permissions, format!("the offsets of {what} cannot be read: {why}"), fix);
            }
            None => report.skipped(Area::Permissions, format!("Describe on {what}: the input topic cannot be used")),
        },
        Role::Feed => {}
    }
}

/// What of a role that joins no group does not work without it.
const fn without_the_group(role: Role) -> &'static str {
    match role {
        Role::Dashboard => "the workers' lag is not shown",
        _ => "librdkafka asks for the group's coordinator all the same, and warns that it may not",
    }
}

/// Whether transactions can be made, where they are.
pub(super) fn transactions(probe: &Probe, role: Role, settings: &Settings, report: &Report) {
    if role != Role::Run || settings.kafka.delivery != Delivery::ExactlyOnce {
        return;
    }
    let prefix = format!("{}-", settings.kafka.group);
    let resource = format!("--transactional-id {prefix} --resource-pattern-type prefixed");
    tell(
        &probe.transact(),
        "Write",
        &format!("transactional ids that begin with {prefix}"),
        &resource,
        settings,
        report,
    );
}

fn tell(access: &Access, operation: &str, what: &str, resource: &str, settings: &Settings, report: &Report) {
    match access {
        Access::Granted => report.ok(Area::Permissions, format!("{operation} on {what} is permitted")),
        Access::Denied => report.error(
            Area::Permissions,
            format!("{operation} on {what} is not permitted"),
            grant(settings, operation, resource),
        ),
        Access::Unclear(why) => report.error(
            Area::Permissions,
            format!("{operation} on {what} got no clear answer: {why}"),
            "see that every broker can be reached from here under the address that it advertises (advertised.listeners), and that it is healthy",
        ),
    }
}
