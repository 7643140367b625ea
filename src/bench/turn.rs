//! One turn of a contender that reads from Kafka: started, watched by what arrives on its topics, stopped.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::contender::{Contender, Team};
use super::process;
use super::progress;
use super::stand::{Own, PATIENCE, Stand};
use super::window::{Measured, Reading, marks};
use crate::kafka::topics::Topic;
use crate::scrape::Samples;

/// Between two looks at the topics: short when a mark is near, so that it is hit; long otherwise, so as not to disturb.
const NEAR: Duration = Duration::from_millis(10);
const FAR: Duration = Duration::from_millis(250);

/// What a turn showed.
#[derive(Debug)]
pub struct Turn {
    /// Within the window.
    pub measured: Measured,
    /// Bytes, summed over its processes.
    pub peak_memory: u64,
    /// Processor seconds a post that the broker took, where it could be found.
    pub broker_cpu_seconds_per_post: Option<f64>,
    /// What its workers counted within the window; `None` of peers.
    pub counted: Option<Samples>,
}

/// What is read at a mark.
struct Mark {
    reading: Reading,
    counted: Option<Samples>,
    broker: Option<f64>,
}

/// Runs the corpus that waits in `input` through a contender.
///
/// # Errors
/// A contender that ends, stalls, refuses posts, or leaves some out.
pub fn run(stand: &Stand<'_>, contender: &Contender, input: &Topic, name: &str) -> Result<Turn> {
    let own = stand.own(name, Some(input), &[])?;
    let mut team = contender.start(stand, &own)?;
    let marks = watch(stand, contender, &own, &mut team)?;
    own.check(contender.name(), stand.corpus.len() as u64)?;
    let peak_memory = team.peak_memory();
    team.stop();
    turn(&marks, peak_memory)
}

fn turn(marks: &[Mark], peak_memory: u64) -> Result<Turn> {
    let [start, middle, end] = marks else { bail!("too few posts to measure; give more (--posts)") };
    let measured = Measured::between([start.reading, middle.reading, end.reading]);
    let measured = measured.context("too few posts to measure: they came all at once; give more (--posts)")?;
    #[expect(clippy::cast_precision_loss, reason = "posts")]
    let posts = measured.posts as f64;
    Ok(Turn {
        measured,
        peak_memory,
        broker_cpu_seconds_per_post: end.broker.zip(start.broker).map(|(end, start)| (end - start) / posts),
        counted: end.counted.as_ref().zip(start.counted.as_ref()).map(|(end, start)| end.since(start)),
    })
}

/// Takes the readings; returns when every post has its outcome.
fn watch(stand: &Stand<'_>, contender: &Contender, own: &Own<'_>, team: &mut Team) -> Result<Vec<Mark>> {
    let posts = stand.corpus.len() as u64;
    let bar = progress::bar(posts, contender.name())?;
    let in_flight = stand.settings.limits.records * stand.workers;
    let mut due = marks(posts, in_flight).into_iter().peekable();
    let (mut taken, mut outcomes) = (Vec::new(), 0);
    let (started, mut newest) = (Instant::now(), Instant::now());
    let mut has_joined = stand.workers == 1;
    while outcomes < posts {
        stand.sleep(pause(outcomes, due.peek().copied().unwrap_or(posts), started.elapsed()))?;
        team.check()?;
        let now = own.outcomes()?;
        if now > outcomes {
            (newest, outcomes) = (Instant::now(), now);
            bar.set_position(outcomes);
        } else if newest.elapsed() > PATIENCE {
            let (seconds, said) = (PATIENCE.as_secs(), team.last_words());
            bail!(
                "{}: {outcomes} of {posts} outcomes, and none for {seconds} s; it said last:\n{said}",
                contender.name()
            );
        }
        has_joined = has_joined || team.has_joined()?;
        if has_joined && due.next_if(|mark| outcomes >= *mark).is_some() {
            taken.push(mark(stand, team, outcomes)?);
        }
    }
    bar.finish_and_clear();
    Ok(taken)
}

fn mark(stand: &Stand<'_>, team: &Team, outcomes: u64) -> Result<Mark> {
    let reading = Reading { at: Instant::now(), outcomes, cpu_seconds: team.cpu_seconds() };
    let counted = team.metrics()?.map(|all| {
        all.iter().fold(Samples::default(), |mut sum, one| {
            sum.add(one, 1.0);
            sum
        })
    });
    Ok(Mark { reading, counted, broker: stand.broker.as_deref().and_then(process::cpu_seconds_of) })
}

/// A quarter of the time to the next mark, at the rate so far.
fn pause(outcomes: u64, mark: u64, elapsed: Duration) -> Duration {
    if outcomes == 0 {
        return NEAR * 5;
    }
    #[expect(clippy::cast_precision_loss, reason = "posts")]
    let ahead = elapsed.as_secs_f64() * mark.saturating_sub(outcomes) as f64 / outcomes as f64;
    Duration::from_secs_f64(ahead / 4.0).clamp(NEAR, FAR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_come_close_together_near_a_mark() {
        let second = Duration::from_secs(1);
        assert_eq!(pause(0, 100, second), Duration::from_millis(50));
        assert_eq!(pause(100, 1000, second), FAR);
        assert_eq!(pause(950, 1000, second), Duration::from_secs_f64(50.0 / 950.0 / 4.0));
        assert_eq!(pause(1000, 1000, second), NEAR);
        assert_eq!(pause(1000, 900, second), NEAR);
    }
}
