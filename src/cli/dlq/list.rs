//! `sentistream dlq list`: one line a dead letter, and how many there are of each reason.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::super::{Common, Ended, complain};
use super::filter::Filter;
use super::{line, name, progress};
use crate::kafka::dead_letters::{DeadLetter, Reader};
use crate::settings::Settings;

pub(super) const HELP: &str = "\
Examples:
  sentistream dlq list
  sentistream dlq list --since 2h --reason text_too_long --reason bad_field
  sentistream dlq list --json | jq -r '[.origin, .reason, .detail] | @tsv'

Reads the dead-letter topic (kafka.dead_letter_topic) from its beginning to the end it has now, and
changes nothing. A line: when, reason, stage, origin (topic/partition/offset on the input topic),
attempts, key or id, size, detail. How many there are of each reason comes last, on standard error.
docs/messages.md says what the reasons mean.";

/// Arguments of `dlq list`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    filter: Filter,
    /// List at most so many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) fn run(settings: &Settings, arguments: &Arguments) -> Result<Ended> {
    let mut letters = Reader::open(&settings.kafka)?;
    let progress = progress(letters.offsets, "reading")?;
    let mut stdout = io::stdout().lock();
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut listed = 0;
    while arguments.limit.is_none_or(|limit| listed < limit) {
        let Some(letter) = letters.read()? else { break };
        progress.inc(1);
        if !arguments.filter.matches(&letter) {
            continue;
        }
        let line = if arguments.json { serde_json::to_string(&Told::of(&letter))? } else { line(&letter) };
        progress.suspend(|| writeln!(stdout, "{line}"))?;
        *reasons.entry(letter.text("dlq.reason").unwrap_or("no reason").to_owned()).or_default() += 1;
        listed += 1;
    }
    progress.finish_and_clear();
    let reasons: Vec<_> = reasons.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    complain(&format!("{listed} dead letters on {}: {}", settings.kafka.dead_letter_topic, reasons.join(", ")));
    Ok(Ended::Done)
}

/// A letter as `--json` tells it; what it does not say is left out.
#[derive(Debug, Serialize)]
struct Told<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    reason: Option<&'a str>,
    stage: Option<&'a str>,
    origin: Option<&'a str>,
    attempts: Option<u32>,
    key: Option<String>,
    bytes: Option<usize>,
    truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<&'a str>,
    detail: Option<&'a str>,
    partition: i32,
    offset: i64,
}

impl<'a> Told<'a> {
    fn of(letter: &'a DeadLetter) -> Self {
        Self {
            at: letter.at().map(|at| at.to_string()),
            reason: letter.text("dlq.reason"),
            stage: letter.text("dlq.stage"),
            origin: letter.text("dlq.origin"),
            attempts: letter.text("dlq.attempts").and_then(|attempts| attempts.parse().ok()),
            key: name(letter),
            bytes: letter.value.as_ref().map(bytes::Bytes::len),
            truncated: letter.is_truncated(),
            sha256: letter.text("dlq.sha256"),
            detail: letter.text("dlq.detail"),
            partition: letter.place.0,
            offset: letter.place.1,
        }
    }
}
