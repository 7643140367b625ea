//! Tells the source, the metrics and the health that the broker has an outcome.

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::Sender;
use jiff::Timestamp;

use super::letter::Letter;
use crate::health::Health;
use crate::message::{Outcome, Verdict};
use crate::metrics::{Metrics, Readings};
use crate::offsets::Settled;

/// Where word of acknowledged outcomes goes.
#[derive(Debug)]
pub struct Settler {
    /// To the source, which empties it before it pulls: an unbounded channel that holds at most one entry for every record
    /// in flight.
    pub settled: Sender<Settled>,
    /// Shows progress.
    pub health: Arc<Health>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Counts what results say.
    pub readings: Readings,
}

impl Settler {
    /// The broker has the outcome; `started` is when publishing it began.
    pub fn settle(&self, outcome: &Outcome, letter: &Letter, started: Instant) {
        let position = &outcome.record.position;
        self.metrics.outcomes.with_label_values(&[letter.kind, letter.reason]).inc();
        self.metrics.stage_seconds.with_label_values(&["publish"]).observe(started.elapsed().as_secs_f64());
        self.metrics.post_seconds.observe(position.pulled_at.elapsed().as_secs_f64());
        if let Some(published) = outcome.record.timestamp {
            let since = Timestamp::now().duration_since(published).as_secs_f64();
            self.metrics.end_to_end_seconds.observe(since.max(0.0));
        }
        match &outcome.verdict {
            Verdict::Scored(scored) if letter.kind == "result" => self.readings.count(scored),
            _ if letter.kind == "dead_letter" => {
                self.metrics.dead_letters.with_label_values(&[letter.stage, letter.reason]).inc();
            }
            _ => {}
        }
        if let Some(span) = &outcome.record.span {
            span.stage("publish", started);
            span.ended(letter.kind, letter.reason);
        }
        self.health.progress();
        // Fails only once the source has given up waiting.
        let _ = self.settled.send(Settled::of(&position.place, &position.assignment, position.sequence));
    }

    /// Whether the outcome's partition was taken away; its next owner publishes it, and here it is only counted.
    pub fn is_dropped(&self, outcome: &Outcome) -> bool {
        let revoked = outcome.record.position.assignment.is_revoked();
        if revoked {
            self.metrics.outcomes.with_label_values(&["dropped", ""]).inc();
            outcome.record.span.iter().for_each(|span| span.ended("dropped", ""));
        }
        revoked
    }

    /// Shows how many outcomes wait for the broker.
    pub fn show_depth(&self, waiting: usize) {
        self.metrics.queue_depth.with_label_values(&["publish"]).set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }
}
