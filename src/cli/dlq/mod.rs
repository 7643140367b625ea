//! `sentistream dlq`: what could not be scored, looked at and put back.

mod filter;
mod list;
mod replay;

use anyhow::Result;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use super::{Common, Ended};
use crate::kafka::dead_letters::DeadLetter;
use crate::settings::Settings;

/// Arguments of `dlq`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the dead letters: when, why, where from
    #[command(after_help = list::HELP)]
    List(list::Arguments),
    /// Put dead letters back on the input topic, once what refused them is mended
    #[command(after_help = replay::HELP)]
    Replay(replay::Arguments),
}

impl Arguments {
    pub(super) const fn common(&self) -> &Common {
        match &self.action {
            Action::List(arguments) => &arguments.common,
            Action::Replay(arguments) => &arguments.common,
        }
    }
}

/// # Errors
/// A broker or topic that cannot be used, or standard output closed.
pub async fn run(settings: &Settings, arguments: &Arguments) -> Result<Ended> {
    match &arguments.action {
        Action::List(arguments) => tokio::task::block_in_place(|| list::run(settings, arguments)),
        Action::Replay(arguments) => replay::run(settings, arguments).await,
    }
}

fn progress(offsets: u64, what: &str) -> Result<ProgressBar> {
    let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len}, {per_sec}, {eta} left")?;
    Ok(ProgressBar::new(offsets).with_style(style).with_prefix(what.to_owned()))
}

/// What a letter says for a person, on one line.
fn line(letter: &DeadLetter) -> String {
    let text = |header| letter.text(header).unwrap_or("?");
    let at = letter.at().map_or("?".into(), |at| format!("{at:.0}"));
    let size = letter.value.as_ref().map_or("value lost".into(), |value| format!("{} bytes", value.len()));
    let [reason, stage, origin] = ["dlq.reason", "dlq.stage", "dlq.origin"].map(text);
    let [attempts, detail] = ["dlq.attempts", "dlq.detail"].map(text);
    let name = name(letter).unwrap_or_else(|| "-".into());
    let line = format!("{at:<20}  {reason:<24}  {stage:<7}  {origin}  attempts {attempts}  {name}  {size}  {detail}");
    crate::error::one_line(&line)
}

/// What people know the post by: the key, else the id among the headers.
fn name(letter: &DeadLetter) -> Option<String> {
    let key = letter.key.as_ref().map(|key| String::from_utf8_lossy(key).into_owned());
    key.or_else(|| letter.text("ce_id").map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::message::Header;

    /// A letter with these `dlq.` headers.
    pub(super) fn letter(place: (i32, i64), headers: &[(&str, &str)]) -> DeadLetter {
        let header = |(key, value): &(&str, &str)| Header {
            key: format!("dlq.{key}"),
            value: Some(Bytes::copy_from_slice(value.as_bytes())),
        };
        DeadLetter {
            place,
            key: Some(Bytes::from_static(b"post\n-1\x1b[2J")),
            value: Some(Bytes::from_static(b"{ not json")),
            headers: headers.iter().map(header).collect(),
            timestamp: None,
        }
    }

    #[test]
    fn a_line_is_one_line_and_steers_no_terminal() {
        let headers =
            [("reason", "not_json"), ("stage", "decode"), ("origin", "posts/3/7"), ("at", "2026-11-24T09:00:00.123Z")];
        let line = line(&letter((0, 0), &headers));
        assert_eq!(
            line,
            "2026-11-24T09:00:00Z  not_json                  decode   posts/3/7  attempts ?  post -1 [2J  10 bytes  ?"
        );
    }
}
