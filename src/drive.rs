//! Posts through a pipeline with nothing around it, timed: as fast as they go, or at a pace. What `tune` and the benchmarks
//! measure with.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use tokio::time::{Instant, sleep_until};

use crate::bench::window::percentile;
use crate::budget::Budget;
use crate::message::{Assignment, Origin, Outcome, Verdict};
use crate::metrics::Metrics;
use crate::pipeline::{self, Pipeline};
use crate::posts::SourcePost;
use crate::scorer::Scorer;
use crate::settings::Settings;

/// A running pipeline.
pub struct Drive {
    /// What it counts.
    pub metrics: Arc<Metrics>,
    pipeline: Pipeline,
    budget: Arc<Budget>,
    turns: u64,
}

/// What a turn took.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// From the first post to the last outcome.
    pub elapsed: Duration,
    /// From when each post was due to its outcome, in the order of the posts.
    pub latencies: Vec<Duration>,
}

impl Turn {
    /// Posts a second.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a number of posts")]
    pub fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency that this share of the posts stays within; zero without posts.
    #[must_use]
    pub fn latency(&self, share: f64) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        percentile(&sorted, share).unwrap_or_default()
    }
}

impl Drive {
    /// Loads the model and starts the stages; call it within a tokio runtime of several threads.
    ///
    /// # Errors
    /// As [`Scorer::load`].
    pub fn start(settings: &Settings) -> Result<Self> {
        let metrics = Arc::new(Metrics::new());
        let scorer = tokio::task::block_in_place(|| Scorer::load(settings, &metrics))?;
        let pipeline = pipeline::spawn(&scorer.sizes, None, &scorer.decoder, scorer.models, &metrics)?;
        let gauges = (metrics.in_flight_records.clone(), metrics.in_flight_bytes.clone());
        Ok(Self { budget: Budget::new(settings.limits, gauges.0, gauges.1), metrics, pipeline, turns: 0 })
    }

    /// All posts once: as fast as they go, or so many a second. A post that has no room when it is due waits, and that counts.
    ///
    /// # Errors
    /// When a post is refused, or the model cannot go on.
    pub async fn turn(&mut self, posts: impl IntoIterator<Item = SourcePost>, rate: Option<f64>) -> Result<Turn> {
        self.turns += 1;
        let (assignment, started) = (Assignment::new(self.turns), Instant::now());
        let mut latencies = Vec::new();
        for (sequence, post) in (0u64..).zip(posts) {
            #[expect(clippy::cast_precision_loss, reason = "a number of posts")]
            let due = rate.map(|rate| started + Duration::from_secs_f64(sequence as f64 / rate));
            while due.is_some_and(|due| due > Instant::now()) || !self.budget.wait_for_room(Duration::ZERO) {
                tokio::select! {
                    outcome = next(&mut self.pipeline) => latencies.push(latency(&outcome?)?),
                    () = sleep_until(due.unwrap_or(started)), if due.is_some_and(|due| due > Instant::now()) => {}
                }
            }
            self.push(post, &assignment, sequence, due.unwrap_or_else(Instant::now))?;
        }
        while self.budget.records() > 0 {
            latencies.push(latency(&next(&mut self.pipeline).await?)?);
        }
        Ok(Turn { elapsed: started.elapsed(), latencies })
    }

    fn push(&self, post: SourcePost, assignment: &Arc<Assignment>, sequence: u64, due: Instant) -> Result<()> {
        let origin = Origin { topic: "drive".into(), partition: 0, offset: i64::try_from(sequence)? };
        let permit = self.budget.admit(post.value.len());
        let mut record = post.into_record(origin, Arc::clone(assignment), sequence, permit);
        record.position.pulled_at = due.into_std();
        self.pipeline.records.send(record).context("the pipeline ended by itself")
    }
}

/// The next outcome; an error once the model cannot go on, since then what its batch held back never comes.
async fn next(pipeline: &mut Pipeline) -> Result<Outcome> {
    tokio::select! {
        Ok(error) = &mut pipeline.failure => Err(anyhow!(error).context("the model cannot go on")),
        outcome = pipeline.outcomes.recv() => outcome.context("the pipeline ended by itself"),
    }
}

fn latency(outcome: &Outcome) -> Result<Duration> {
    if let Verdict::Refused { refusal, .. } = &outcome.verdict {
        bail!("a post was refused, so nothing is measured: {refusal}");
    }
    Ok(outcome.record.position.pulled_at.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_posts_stays_within_its_latency() {
        let milliseconds = |numbers: &[u64]| numbers.iter().copied().map(Duration::from_millis).collect::<Vec<_>>();
        let turn = Turn { elapsed: Duration::from_secs(2), latencies: milliseconds(&[40, 10, 30, 20]) };
        assert_eq!([0.0, 0.5, 0.75, 0.99, 1.0].map(|share| turn.latency(share).as_millis()), [10, 20, 30, 40, 40]);
        assert!((turn.rate() - 2.0).abs() < 1e-9);
        assert_eq!(Turn { latencies: vec![], ..turn }.latency(0.99), Duration::ZERO);
    }
}
