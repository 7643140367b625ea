//! Which dead letters are meant.

use clap::Args;
use jiff::Timestamp;

use super::super::moment::moment;
use crate::error::Reason;
use crate::kafka::dead_letters::DeadLetter;
use crate::message::Origin;

/// All that are given must hold; of several reasons or origins one.
#[derive(Debug, Default, Args)]
pub(super) struct Filter {
    /// Refused with this code; may be given several times
    #[arg(long, value_name = "CODE", value_enum, hide_possible_values = true)]
    reason: Vec<Reason>,
    /// Refused at this time (RFC 3339) or later; an age such as 2h or 3d counts back from now
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Refused before this time (RFC 3339, or an age)
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
    /// The record at this place, topic/partition/offset; may be given several times
    #[arg(long, value_name = "ORIGIN", value_parser = origin)]
    origin: Vec<Origin>,
}

impl Filter {
    /// Whether a letter is meant.
    pub(super) fn matches(&self, letter: &DeadLetter) -> bool {
        let reason = letter.text("dlq.reason");
        let at = letter.at();
        (self.reason.is_empty() || self.reason.iter().any(|code| reason == Some(code.as_str())))
            && self.since.is_none_or(|since| at.is_some_and(|at| at >= since))
            && self.until.is_none_or(|until| at.is_some_and(|at| at < until))
            && (self.origin.is_empty() || letter.origin().is_some_and(|origin| self.origin.contains(&origin)))
    }
}

fn origin(text: &str) -> Result<Origin, String> {
    Origin::parse(text).ok_or_else(|| "give topic/partition/offset, such as posts/3/81723".into())
}

#[cfg(test)]
mod tests {
    use super::super::tests::letter;
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn without_a_filter_every_letter_is_meant() {
        assert!(Filter::default().matches(&letter((0, 0), &[])));
    }

    #[test]
    fn all_filters_must_hold_and_one_of_each() {
        let told = [("reason", "not_json"), ("origin", "posts/0/7"), ("at", "2026-11-24T09:00:00Z")];
        let letter = letter((0, 0), &told);
        let filter = || Filter {
            reason: vec![Reason::Empty, Reason::NotJson],
            origin: vec!["posts/0/6", "posts/0/7"].into_iter().filter_map(Origin::parse).collect(),
            since: Some(at("2026-11-24T09:00:00Z")),
            until: Some(at("2026-11-24T09:00:01Z")),
        };
        assert!(filter().matches(&letter));
        for wrong in [
            Filter { reason: vec![Reason::Empty], ..filter() },
            Filter { origin: filter().origin[..1].to_vec(), ..filter() },
            Filter { since: Some(at("2026-11-24T09:00:01Z")), ..filter() },
            Filter { until: Some(at("2026-11-24T09:00:00Z")), ..filter() },
        ] {
            assert!(!wrong.matches(&letter), "{wrong:?}");
        }
    }
}
