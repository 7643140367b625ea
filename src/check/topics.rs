//! What is to be said of a topic: partitions, copies, and settings against ours. Pure: what was found goes in, findings come out.

use super::recommended::{HEADERS_BYTES, Purpose};
use super::{Area, Report};
use crate::kafka::probe::{Configs, Topic};
use crate::settings::Settings;

/// A stop over a weekend's day is not to lose anything.
const LEAST_RETENTION_MS: i64 = 86_400_000;
/// Smaller, a result with many tags does not fit.
const LEAST_RESULT_BYTES: u64 = 65_536;

/// A topic as it was found.
pub(super) struct Seen<'a> {
    pub(super) purpose: Purpose,
    pub(super) topic: &'a Topic,
    /// `None` where the user may not see them.
    pub(super) configs: Option<&'a Configs>,
}

impl Seen<'_> {
    fn number(&self, key: &str) -> Option<i64> {
        self.configs?.get(key)?.parse().ok()
    }

    fn max_message_bytes(&self) -> Option<u64> {
        self.number("max.message.bytes").and_then(|bytes| u64::try_from(bytes).ok())
    }

    fn replication(&self) -> usize {
        self.topic.partitions.iter().map(|partition| partition.replicas).min().unwrap_or(0)
    }
}

/// Says everything that is to be said of one topic.
pub(super) fn tell(seen: &Seen<'_>, brokers: usize, settings: &Settings, report: &Report) {
    summary(seen, report);
    copies(seen, brokers, settings, report);
    partitions(seen, settings, report);
    if seen.configs.is_some() {
        cleanup(seen, settings, report);
        retention(seen, settings, report);
        size(seen, settings, report);
        compression(seen, settings, report);
    }
}

fn summary(seen: &Seen<'_>, report: &Report) {
    let (topic, replication) = (seen.topic, seen.replication());
    let mut parts = vec![format!("{} partitions", topic.partitions.len()), format!("replication factor {replication}")];
    for key in [
        "min.insync.replicas",
        "cleanup.policy",
        "retention.ms",
        "retention.bytes",
        "max.message.bytes",
        "compression.type",
    ] {
        if let Some(value) = seen.configs.and_then(|configs| configs.get(key))
            && !(key == "retention.bytes" && value == "-1")
        {
            parts.push(format!("{key}={value}"));
        }
    }
    report.ok(Area::Topics, format!("topic {} ({}): {}", topic.name, seen.purpose.key(), parts.join(", ")));
}

fn copies(seen: &Seen<'_>, brokers: usize, settings: &Settings, report: &Report) {
    let (name, replication) = (&seen.topic.name, seen.replication());
    let ids = |wrong: &dyn Fn(&crate::kafka::probe::Partition) -> bool| -> Vec<String> {
        seen.topic
            .partitions
            .iter()
            .filter(|partition| wrong(partition))
            .map(|partition| partition.id.to_string())
            .collect()
    };
    let unled = ids(&|partition| !partition.is_led);
    if !unled.is_empty() {
        let what = format!("topic {name} has no leader for partition {}", unled.join(", "));
        report.error(Area::Topics, what, "bring the brokers back that hold its copies");
    }
    if replication == 1 && brokers > 1 {
        let what =
            format!("topic {name} has one copy on a cluster of {brokers} brokers: without its broker it is gone");
        report.warning(
            Area::Topics,
            what,
            "give it more copies with kafka-reassign-partitions.sh, or make it anew with a replication factor of 3",
        );
    }
    let Some(least) = seen.number("min.insync.replicas").and_then(|least| usize::try_from(least).ok()) else { return };
    let alter = alter(settings, name, "min.insync.replicas", &replication.saturating_sub(1).max(1).to_string());
    let short = ids(&|partition| partition.is_led && partition.in_sync < least.min(partition.replicas));
    if !short.is_empty() {
        let what = format!(
            "topic {name} takes no records in partition {}: fewer copies are in sync than min.insync.replicas ({least})",
            short.join(", ")
        );
        report.error(Area::Topics, what, "bring the brokers back that hold its other copies");
    } else if replication > 1 && least >= replication {
        let what = format!(
            "topic {name} takes no records while one broker is away: min.insync.replicas is {least} of {replication} copies"
        );
        report.warning(Area::Topics, what, alter);
    }
}

fn partitions(seen: &Seen<'_>, settings: &Settings, report: &Report) {
    if seen.purpose == Purpose::Posts && seen.topic.partitions.len() == 1 {
        let name = &seen.topic.name;
        report.warning(
            Area::Topics,
            format!("topic {name} has 1 partition: one worker of group {} gets posts, all others none", settings.kafka.group),
            format!(
                "kafka-topics.sh --bootstrap-server {} --alter --topic {name} --partitions 6 (posts of a key published before stay where they are)",
                settings.kafka.brokers
            ),
        );
    }
}

/// Posts and results by key: the same partition number in both.
pub(super) fn compare(posts: &Seen<'_>, other: &Seen<'_>, settings: &Settings, report: &Report) {
    let (many, few) = (posts.topic.partitions.len(), other.topic.partitions.len());
    if other.purpose == Purpose::Results && many != few {
        let fix = format!(
            "give both as many: kafka-topics.sh --bootstrap-server {} --alter --topic {} --partitions {}",
            settings.kafka.brokers,
            if few < many { &other.topic.name } else { &posts.topic.name },
            many.max(few)
        );
        let what = format!(
            "topic {} has {many} partitions and {} has {few}: a key's results are in another partition than its posts, so who joins them by partition cannot",
            posts.topic.name, other.topic.name
        );
        report.warning(Area::Topics, what, fix);
    }
    if other.purpose == Purpose::DeadLetters
        && let (Some(posts_bytes), Some(bytes)) = (posts.max_message_bytes(), other.max_message_bytes())
        && bytes < posts_bytes
    {
        let what = format!(
            "topic {} takes records of up to {bytes} bytes and {} of up to {posts_bytes}: larger dead letters lose their value",
            other.topic.name, posts.topic.name
        );
        let room = posts_bytes.saturating_add(HEADERS_BYTES).to_string();
        report.warning(Area::Topics, what, alter(settings, &other.topic.name, "max.message.bytes", &room));
    }
}

fn cleanup(seen: &Seen<'_>, settings: &Settings, report: &Report) {
    let Some(policy) = seen.configs.and_then(|configs| configs.get("cleanup.policy")) else { return };
    if !policy.split(',').any(|policy| policy.trim() == "compact") {
        return;
    }
    let name = &seen.topic.name;
    let consequence = match seen.purpose {
        Purpose::Posts => {
            "of posts with the same key only the newest is scored once a worker is behind, and posts without a key are refused"
        }
        Purpose::Results => {
            "of results with the same key only the newest stays, and those of posts without a key are refused"
        }
        Purpose::DeadLetters => {
            "of dead letters with the same key only the newest stays, and those of posts without a key are refused"
        }
    };
    let what = format!("topic {name} is compacted (cleanup.policy={policy}): {consequence}");
    report.warning(Area::Topics, what, alter(settings, name, "cleanup.policy", "delete"));
}

fn retention(seen: &Seen<'_>, settings: &Settings, report: &Report) {
    let Some(kept) = seen.number("retention.ms") else { return };
    let deletes =
        seen.configs.and_then(|configs| configs.get("cleanup.policy")).is_none_or(|policy| policy.contains("delete"));
    // Negative: for ever.
    if !deletes || !(0..LEAST_RETENTION_MS).contains(&kept) {
        return;
    }
    let name = &seen.topic.name;
    let consequence = match seen.purpose {
        Purpose::Posts => "posts that workers are further behind with are lost unread",
        Purpose::Results => "who reads results and is away for longer misses them",
        Purpose::DeadLetters => "dead letters are gone before somebody can look at them",
    };
    let days = if seen.purpose == Purpose::DeadLetters { 30 } else { 7 };
    let what = format!("topic {name} keeps records for {} h (retention.ms={kept}): {consequence}", kept / 3_600_000);
    let recommended = (LEAST_RETENTION_MS * days).to_string();
    report.warning(Area::Topics, what, alter(settings, name, "retention.ms", &recommended));
}

fn size(seen: &Seen<'_>, settings: &Settings, report: &Report) {
    let Some(bytes) = seen.max_message_bytes() else { return };
    let (name, ours) = (&seen.topic.name, u64::try_from(settings.limits.record_bytes).unwrap_or(u64::MAX));
    match seen.purpose {
        Purpose::Posts if bytes < ours => report.warning(
            Area::Topics,
            format!("topic {name} takes records of up to {bytes} bytes, limits.record_bytes lets {ours} through: larger posts cannot be published"),
            format!("{}; or set limits.record_bytes to {bytes}", alter(settings, name, "max.message.bytes", &ours.to_string())),
        ),
        Purpose::Posts if bytes > ours => report.warning(
            Area::Topics,
            format!("topic {name} takes records of up to {bytes} bytes, limits.record_bytes lets {ours} through: larger ones become dead letters (too_large)"),
            format!("set limits.record_bytes to {bytes}; or {}", alter(settings, name, "max.message.bytes", &ours.to_string())),
        ),
        Purpose::Results if bytes < LEAST_RESULT_BYTES => report.warning(
            Area::Topics,
            format!("topic {name} takes records of up to {bytes} bytes: results with many tags do not fit"),
            alter(settings, name, "max.message.bytes", "1048588"),
        ),
        _ => {}
    }
}

fn compression(seen: &Seen<'_>, settings: &Settings, report: &Report) {
    let Some(compression) = seen.configs.and_then(|configs| configs.get("compression.type")) else { return };
    if seen.purpose == Purpose::Posts && !matches!(compression.as_str(), "producer" | "uncompressed") {
        let name = &seen.topic.name;
        let what = format!(
            "topic {name} is compressed by its brokers (compression.type={compression}): pictures are compressed already, and batches unpack to more than they were fetched as"
        );
        report.warning(Area::Topics, what, alter(settings, name, "compression.type", "uncompressed"));
    }
}

/// The command that changes a setting of a topic.
fn alter(settings: &Settings, topic: &str, key: &str, value: &str) -> String {
    format!(
        "kafka-configs.sh --bootstrap-server {} --alter --entity-type topics --entity-name {topic} --add-config {key}={value}",
        settings.kafka.brokers
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Severity;
    use crate::kafka::probe::Partition;

    /// What is said of a topic with a partition such as this on three brokers, but for the line that only describes it.
    fn said(purpose: Purpose, partition: &Partition, configs: &[(&str, &str)]) -> Vec<(Severity, String)> {
        let settings = crate::settings::load(None).expect("the defaults are valid");
        let partitions = (0..2).map(|id| Partition { id, ..partition.clone() }).collect();
        let topic = Topic { name: "t".into(), partitions };
        let configs = configs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let seen = Seen { purpose, topic: &topic, configs: Some(&configs) };
        let told = Report::told(|report| tell(&seen, 3, &settings, report));
        told.into_iter().skip(1).map(|finding| (finding.severity, finding.what)).collect()
    }

    fn whole() -> Partition {
        Partition { id: 0, is_led: true, replicas: 3, in_sync: 3 }
    }

    #[test]
    fn copies_are_held_against_what_the_topic_demands() {
        let said =
            |partition: Partition, least: &str| said(Purpose::Results, &partition, &[("min.insync.replicas", least)]);
        assert_eq!(said(whole(), "2"), []);
        for (partition, least, severity, what) in [
            (
                Partition { replicas: 1, in_sync: 1, ..whole() },
                "1",
                Severity::Warning,
                "has one copy on a cluster of 3",
            ),
            (whole(), "3", Severity::Warning, "takes no records while one broker is away"),
            (Partition { in_sync: 1, ..whole() }, "2", Severity::Error, "takes no records in partition 0, 1"),
            (Partition { is_led: false, in_sync: 0, ..whole() }, "2", Severity::Error, "no leader for partition 0, 1"),
        ] {
            let told = said(partition, least);
            assert!(told.len() == 1 && told[0].0 == severity && told[0].1.contains(what), "{told:?}");
        }
        // Of a topic with one copy Kafka never demands two.
        assert_eq!(said(Partition { replicas: 1, in_sync: 1, ..whole() }, "2").len(), 1);
    }

    #[test]
    fn what_is_kept_for_ever_or_as_large_as_ours_is_well() {
        let well = [("retention.ms", "-1"), ("max.message.bytes", "4194304"), ("compression.type", "producer")];
        assert_eq!(said(Purpose::Posts, &whole(), &well), []);
        let compacted = [("cleanup.policy", "compact"), ("retention.ms", "1000")];
        assert_eq!(said(Purpose::Results, &whole(), &compacted).len(), 1, "nothing is removed for its age");
        let larger = said(Purpose::Posts, &whole(), &[("max.message.bytes", "9000000")]);
        assert!(larger.len() == 1 && larger[0].1.contains("too_large"), "{larger:?}");
    }
}
