//! What one worker told over the last while. Counters that began again, since the worker did, count from zero.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::ask::{Answer, safe};
use crate::scrape::{Labels, Samples};

/// What a point of the trend stands for.
const TICK: Duration = Duration::from_secs(3);
/// Points of the trend: three minutes.
pub const POINTS: usize = 60;
const STARTED: &str = "process_start_time_seconds";

/// How a worker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Not asked yet.
    Unknown,
    /// It answers, is ready or not, and says what stands still if anything does.
    Answers {
        /// Its model is warm, its group joined.
        ready: bool,
        /// What stands still.
        stalled: Option<String>,
    },
    /// It does not answer.
    Silent {
        /// Since when.
        since: Instant,
        /// Why not.
        why: String,
    },
}

/// A stage that refuses, and its reason.
pub type Refused = (String, String);

/// One worker.
#[derive(Debug)]
pub struct Track {
    /// Where it was asked.
    pub address: String,
    /// How it is.
    pub state: State,
    window: Duration,
    origin: Instant,
    asked: Option<(Instant, Instant)>,
    /// The window's, and the last one before it.
    samples: VecDeque<(Instant, Samples)>,
    ticks: VecDeque<Tick>,
    refused: BTreeMap<Refused, Instant>,
}

/// Outcomes of one point of the trend.
#[derive(Debug)]
struct Tick {
    number: u64,
    outcomes: f64,
    seconds: f64,
}

impl Track {
    /// Not asked yet. Points of the trend are counted from `origin`.
    pub fn new(address: String, window: Duration, origin: Instant) -> Self {
        Self {
            address,
            state: State::Unknown,
            window,
            origin,
            asked: None,
            samples: VecDeque::new(),
            ticks: VecDeque::new(),
            refused: BTreeMap::new(),
        }
    }

    /// What came of asking it.
    pub fn take(&mut self, at: Instant, answer: Result<Answer, String>) {
        self.asked = Some((self.asked.map_or(at, |(first, _)| first), at));
        match answer {
            Ok(Answer { metrics, ready, stalled }) => {
                self.state = State::Answers { ready, stalled };
                self.count(at, &metrics);
                self.samples.push_back((at, metrics));
                while self.samples.get(1).is_some_and(|(next, _)| at.duration_since(*next) >= self.window) {
                    self.samples.pop_front();
                }
            }
            Err(why) => {
                let since = if let State::Silent { since, .. } = self.state { since } else { at };
                self.state = State::Silent { since, why };
            }
        }
    }

    fn count(&mut self, at: Instant, metrics: &Samples) {
        let Some((before, last)) = self.samples.back() else { return };
        let rise = rise(last, metrics);
        for (labels, letters) in rise.series("sentistream_dead_letters_total") {
            if letters > 0.0 {
                self.refused.insert(refused(&labels), at);
            }
        }
        let known: BTreeSet<Refused> =
            metrics.series("sentistream_dead_letters_total").map(|(of, _)| refused(&of)).collect();
        self.refused.retain(|refused, _| known.contains(refused));
        let outcomes = outcomes(&rise);
        let seconds = at.duration_since(*before).as_secs_f64();
        let number = self.tick(at);
        match self.ticks.back_mut().filter(|tick| tick.number == number) {
            Some(tick) => {
                tick.outcomes += outcomes;
                tick.seconds += seconds;
            }
            None => self.ticks.push_back(Tick { number, outcomes, seconds }),
        }
        while self.ticks.len() > POINTS {
            self.ticks.pop_front();
        }
    }

    fn tick(&self, at: Instant) -> u64 {
        at.duration_since(self.origin).as_secs() / TICK.as_secs()
    }

    /// How long it has been asked for by now.
    pub fn asked_for(&self) -> Duration {
        self.asked.map_or(Duration::ZERO, |(first, last)| last.duration_since(first))
    }

    /// What it told last, if it answers.
    pub fn latest(&self) -> Option<&Samples> {
        let answers = matches!(self.state, State::Answers { .. });
        self.samples.back().filter(|_| answers).map(|(_, samples)| samples)
    }

    /// What it told at the window's begin, how many seconds before the last.
    fn first(&self) -> Option<(&Samples, f64)> {
        let ((first, samples), (last, _)) = (self.samples.front()?, self.samples.back()?);
        (self.samples.len() > 1).then(|| (samples, last.duration_since(*first).as_secs_f64()))
    }

    /// What counters rose by within the window, by second, and how long the window was.
    pub fn rate(&self) -> Option<(Samples, f64)> {
        let (_, seconds) = self.first()?;
        let mut rate = Samples::default();
        for ((_, before), (_, after)) in self.samples.iter().zip(self.samples.iter().skip(1)) {
            rate.add(&rise(before, after), 1.0 / seconds);
        }
        Some((rate, seconds))
    }

    /// What gauges were on average within the window.
    pub fn mean(&self) -> Samples {
        let mut mean = Samples::default();
        #[expect(clippy::cast_precision_loss, reason = "a few")]
        let part = 1.0 / self.samples.len() as f64;
        self.samples.iter().for_each(|(_, samples)| mean.add(samples, part));
        mean
    }

    /// What each of these gauges rose by within the window, by second; of those that were there before and are.
    pub fn change(&self, metric: &str) -> Option<f64> {
        let (first, seconds) = self.first()?;
        let last = self.latest()?;
        let before: BTreeMap<Labels, f64> = first.series(metric).collect();
        let mut change = None;
        for (labels, now) in last.series(metric) {
            if let Some(then) = before.get(&labels) {
                change = Some(change.unwrap_or(0.0) + (now - then) / seconds);
            }
        }
        change
    }

    /// Outcomes by second at each point of the trend up to now.
    pub fn trend(&self, now: Instant) -> Vec<Option<f64>> {
        let last = self.tick(now);
        let points = (0..POINTS as u64).rev().map(|back| last.checked_sub(back));
        let of = |number| self.ticks.iter().find(|tick| tick.number == number && tick.seconds > 0.0);
        points.map(|number| number.and_then(of).map(|tick| tick.outcomes / tick.seconds)).collect()
    }

    /// When records were last seen to be refused by this stage for this reason.
    pub fn last_refused(&self, refused: &Refused) -> Option<Instant> {
        self.refused.get(refused).copied()
    }
}

/// Labels of a dead letter, fit for a terminal.
pub fn refused(labels: &Labels) -> Refused {
    let of = |label| safe(labels.get(label).unwrap_or("?"));
    (of("stage"), of("reason"))
}

/// All outcomes but those that were dropped, which are the next owner's.
pub fn outcomes(samples: &Samples) -> f64 {
    let outcomes = samples.series("sentistream_outcomes_total");
    outcomes.filter(|(labels, _)| labels.get("kind") != Some("dropped")).map(|(_, count)| count).sum()
}

/// What counters rose by. Where the worker was started anew since, or a counter is below what it was, it began at zero.
fn rise(before: &Samples, after: &Samples) -> Samples {
    let is_another = before.value(STARTED) != after.value(STARTED);
    after.map(|name, value| {
        let before = if is_another { 0.0 } else { before.get(name) };
        if value < before { value } else { value - before }
    })
}
