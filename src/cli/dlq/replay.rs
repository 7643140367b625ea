//! `sentistream dlq replay`: puts dead letters back on the input topic, each record once.
//!
//! The topic is read twice: first for the latest letter of every record, then for the letters themselves, so that no more
//! than their places are ever in memory.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::sync::Arc;

use anyhow::Result;
use clap::{ArgGroup, Args};
use indicatif::ProgressBar;
use jiff::Timestamp;
use tokio::task::{JoinError, JoinSet, block_in_place};
use tokio::time::{Instant, sleep_until};

use super::super::feed::{Pace, rate};
use super::super::{Common, Ended, complain};
use super::filter::Filter;
use super::{line, progress};
use crate::kafka::client;
use crate::kafka::dead_letters::{DeadLetter, Place, Reader};
use crate::kafka::feed::Feeder;
use crate::message::Origin;
use crate::settings::Settings;

/// Posts on their way to the broker at once.
const WINDOW: usize = 64;

pub(super) const HELP: &str = "\
Examples:
  sentistream dlq replay --reason text_too_long --since 2h --dry-run
  sentistream dlq replay --origin posts/3/81723
  sentistream dlq replay --all --rate 50

Mend first what refused them (a limit, the model, the feed): what is still wrong becomes a dead
letter again.

The original key, value and headers go back to the input topic (kafka.input_topic), with dlq.origin
and dlq.attempts, by which a worker knows the record: its result has the origin and the result_id
that it would have had at first. So it is safe to run twice, or to stop and run again: consumers that
deduplicate by result_id see one result. The dead letters stay where they are.

A record that was refused several times is replayed once, by its latest letter. Letters without their
value (dlq.truncated) cannot be replayed, and those of another input topic are left alone; both are
told.";

/// Arguments of `dlq replay`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true).multiple(true).args(["reason", "since", "until", "origin", "all"])))]
pub struct Arguments {
    #[command(flatten)]
    filter: Filter,
    /// Replay every dead letter
    #[arg(long, conflicts_with_all = ["reason", "since", "until", "origin"])]
    all: bool,
    /// Replay at most so many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Show what would be replayed, and publish nothing
    #[arg(long)]
    dry_run: bool,
    /// Posts per second; as fast as the broker takes them without
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) async fn run(settings: &Settings, arguments: &Arguments) -> Result<Ended> {
    let input_topic = &settings.kafka.input_topic;
    let mut choice = block_in_place(|| choose(settings, &arguments.filter))?;
    let most = arguments.limit.unwrap_or(usize::MAX).min(choice.places.len());
    let mut replay = block_in_place(|| Replay::new(settings, arguments, most))?;
    let mut letters = block_in_place(|| Reader::open(&settings.kafka))?;
    while replay.tally.taken < most {
        let Some(letter) = block_in_place(|| letters.read())? else { break };
        if choice.places.remove(&letter.place) {
            replay.put_back(&letter).await?;
        }
    }
    // Retention or compaction was faster.
    replay.tally.gone = most - replay.tally.taken;
    let tally = replay.finish().await?;
    let done = if arguments.dry_run { "would replay" } else { "replayed" };
    complain(&format!("{done} {} dead letters to {input_topic}; {}", tally.replayed, tally.left(&choice)));
    Ok(Ended::of_refused(u64::try_from(tally.failed() + choice.without_origin)?))
}

/// Which letters are replayed, by their places; and what is not.
#[derive(Debug, Default, PartialEq, Eq)]
struct Choice {
    places: HashSet<Place>,
    of_other_topics: usize,
    without_origin: usize,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Latest {
    at: Option<Timestamp>,
    place: Place,
    meant: bool,
}

/// The latest letter of every record, and whether it is meant: an earlier one says no more what is wrong with the record.
#[derive(Debug, Default)]
struct Choosing {
    latest: HashMap<Origin, Latest>,
    without_origin: usize,
}

impl Choosing {
    fn note(&mut self, letter: &DeadLetter, meant: bool) {
        let Some(origin) = letter.origin() else {
            self.without_origin += usize::from(meant);
            return;
        };
        let found = Latest { at: letter.at(), place: letter.place, meant };
        match self.latest.entry(origin) {
            Entry::Vacant(entry) => {
                entry.insert(found);
            }
            Entry::Occupied(mut entry) if *entry.get() < found => {
                entry.insert(found);
            }
            Entry::Occupied(_) => {}
        }
    }

    fn choose(self, input_topic: &str) -> Choice {
        let mut choice = Choice { without_origin: self.without_origin, ..Choice::default() };
        for (origin, latest) in self.latest.into_iter().filter(|(_, latest)| latest.meant) {
            if *origin.topic == *input_topic {
                choice.places.insert(latest.place);
            } else {
                choice.of_other_topics += 1;
            }
        }
        choice
    }
}

fn choose(settings: &Settings, filter: &Filter) -> Result<Choice> {
    let mut letters = Reader::open(&settings.kafka)?;
    let progress = progress(letters.offsets, "reading")?;
    let mut choosing = Choosing::default();
    while let Some(letter) = letters.read()? {
        choosing.note(&letter, filter.matches(&letter));
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(choosing.choose(&settings.kafka.input_topic))
}

#[derive(Debug, Default)]
struct Tally {
    taken: usize,
    replayed: usize,
    truncated: usize,
    undelivered: usize,
    gone: usize,
}

impl Tally {
    const fn failed(&self) -> usize {
        self.truncated + self.undelivered + self.gone
    }

    /// What was not replayed, as a sentence.
    fn left(&self, choice: &Choice) -> String {
        let counts = [
            (self.truncated, "without their value"),
            (self.undelivered, "not delivered"),
            (self.gone, "removed meanwhile"),
            (choice.without_origin, "without an origin"),
            (choice.of_other_topics, "of other input topics, left alone"),
        ];
        let told: Vec<_> =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, why)| format!("{count} {why}")).collect();
        if told.is_empty() { "none was left out".into() } else { format!("left out: {}", told.join(", ")) }
    }
}

/// Letters on their way back.
struct Replay {
    /// None in a dry run.
    feeder: Option<Arc<Feeder>>,
    pace: Option<Pace>,
    deliveries: JoinSet<(String, Result<(), client::Error>)>,
    progress: ProgressBar,
    tally: Tally,
}

impl Replay {
    fn new(settings: &Settings, arguments: &Arguments, most: usize) -> Result<Self> {
        let feeder = || Feeder::one_by_one(&settings.kafka, &settings.kafka.input_topic).map(Arc::new);
        Ok(Self {
            feeder: (!arguments.dry_run).then(feeder).transpose()?,
            pace: arguments.rate.map(|rate| Pace::new(rate, Instant::now())),
            deliveries: JoinSet::new(),
            progress: progress(u64::try_from(most)?, "replaying")?,
            tally: Tally::default(),
        })
    }

    async fn put_back(&mut self, letter: &DeadLetter) -> Result<()> {
        self.tally.taken += 1;
        self.progress.inc(1);
        let origin = letter.text("dlq.origin").unwrap_or_default().to_owned();
        let Some(value) = letter.value.as_ref().filter(|_| !letter.is_truncated()) else {
            self.tell(&format!("cannot be replayed: {origin}: its value was too large for the dead-letter topic"));
            self.tally.truncated += 1;
            return Ok(());
        };
        let Some(feeder) = self.feeder.clone() else {
            self.progress.suspend(|| writeln!(io::stdout(), "{}", line(letter)))?;
            self.tally.replayed += 1;
            return Ok(());
        };
        if let Some(pace) = &mut self.pace {
            sleep_until(pace.turn(Instant::now())).await;
        }
        while self.deliveries.len() >= WINDOW {
            self.next_delivery().await?;
        }
        let sent = feeder.send(letter.key.as_deref(), value, &letter.headers_of_replay()).await;
        self.deliveries.spawn(async move {
            let delivered = match sent {
                Ok(sent) => feeder.delivered(sent).await,
                Err(error) => Err(error),
            };
            (origin, delivered)
        });
        Ok(())
    }

    async fn next_delivery(&mut self) -> Result<(), JoinError> {
        match self.deliveries.join_next().await.transpose()? {
            Some((origin, Err(error))) => {
                self.tell(&format!("not delivered: {origin}: {error}"));
                self.tally.undelivered += 1;
            }
            Some((_, Ok(()))) => self.tally.replayed += 1,
            None => {}
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<Tally> {
        while !self.deliveries.is_empty() {
            self.next_delivery().await?;
        }
        self.progress.finish_and_clear();
        Ok(self.tally)
    }

    fn tell(&self, line: &str) {
        self.progress.suspend(|| complain(line));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::letter;
    use super::*;

    fn chosen(letters: &[(Place, &str, &str, bool)]) -> Choice {
        let mut choosing = Choosing::default();
        for (place, origin, at, meant) in letters {
            choosing.note(&letter(*place, &[("origin", origin), ("at", at)]), *meant);
        }
        choosing.choose("posts")
    }

    const EARLY: &str = "2026-11-24T09:00:00Z";
    const LATE: &str = "2026-11-24T09:00:01Z";

    #[test]
    fn each_record_is_replayed_once_by_its_latest_letter() {
        let letters =
            [((0, 5), "posts/0/1", LATE, true), ((1, 9), "posts/0/1", EARLY, true), ((0, 6), "posts/0/2", EARLY, true)];
        assert_eq!(chosen(&letters).places, HashSet::from([(0, 5), (0, 6)]));
        let at_once = [((0, 5), "posts/0/1", EARLY, true), ((0, 6), "posts/0/1", EARLY, true)];
        assert_eq!(chosen(&at_once).places, HashSet::from([(0, 6)]));
    }

    #[test]
    fn what_was_wrong_earlier_does_not_count() {
        let letters = [((0, 5), "posts/0/1", EARLY, true), ((0, 6), "posts/0/1", LATE, false)];
        assert_eq!(chosen(&letters), Choice::default());
    }

    #[test]
    fn letters_without_an_origin_or_of_another_topic_stay() {
        let letters =
            [((0, 1), "hello", EARLY, true), ((0, 2), "hello", EARLY, false), ((0, 3), "other/0/1", EARLY, true)];
        let left = Choice { without_origin: 1, of_other_topics: 1, ..Choice::default() };
        assert_eq!(chosen(&letters), left);
    }

    #[test]
    fn what_was_left_out_is_told() {
        let tally = Tally { truncated: 2, gone: 1, ..Tally::default() };
        let choice = Choice { of_other_topics: 3, ..Choice::default() };
        let told = "left out: 2 without their value, 1 removed meanwhile, 3 of other input topics, left alone";
        assert_eq!((tally.left(&choice).as_str(), tally.failed()), (told, 3));
        assert_eq!(Tally::default().left(&Choice::default()), "none was left out");
    }
}
