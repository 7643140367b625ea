//! How long a post takes at a rate that leaves room: from the moment the broker appends it to the input topic to the moment the broker
//! appends its result, both by the broker's clock, to the millisecond.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde::Serialize;
use tokio::runtime::Handle;

use super::contender::{Contender, Team};
use super::progress;
use super::stand::{Own, PATIENCE, Stand};
use super::window::percentile;
use crate::kafka::feed::{Feeder, Reader};
use crate::kafka::topics::Topic;

/// Between two looks at the topics while waiting for the last outcomes.
const LOOK: Duration = Duration::from_millis(50);

/// What was asked for and what came.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Latency {
    /// Posts a second that were published.
    pub posts_per_second: f64,
    /// Posts.
    pub posts: usize,
    /// Half took no longer.
    pub p50_ms: f64,
    /// 99 of 100 took no longer.
    pub p99_ms: f64,
}

/// Publishes posts at this rate for so long, at most all of the corpus.
///
/// # Errors
/// A contender that ends, stalls, refuses posts, or gives results other keys than their posts have.
pub fn measure(stand: &Stand<'_>, contender: &Contender, rate: f64, duration: Duration, name: &str) -> Result<Latency> {
    let own = stand.own(name, None, &[("message.timestamp.type", "LogAppendTime")])?;
    let mut team = contender.start(stand, &own)?;
    let feeder = Feeder::new(&stand.settings.kafka, &own.input.name)?;
    publish(stand, &feeder, 0, "warm-up")?;
    wait_for(stand, contender, &own, &mut team, 1)?;
    while !team.has_joined()? {
        stand.sleep(LOOK)?;
    }
    let posts = posts(rate, duration, stand.corpus.len());
    let bar = progress::bar(posts as u64, &format!("{} at {rate:.0} posts/s", contender.name()))?;
    let start = Instant::now();
    for number in 0..posts {
        #[expect(clippy::cast_precision_loss, reason = "posts")]
        let due = start + Duration::from_secs_f64(number as f64 / rate);
        stand.sleep(due.saturating_duration_since(Instant::now()))?;
        publish(stand, &feeder, number, &number.to_string())?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    wait_for(stand, contender, &own, &mut team, posts as u64 + 1)?;
    own.check(contender.name(), posts as u64 + 1)?;
    team.stop();
    let taken = taken(&times(stand, &own.input, posts + 1)?, &times(stand, &own.output, posts + 1)?);
    match (taken.len() == posts, percentile(&taken, 0.5), percentile(&taken, 0.99)) {
        (true, Some(p50_ms), Some(p99_ms)) => Ok(Latency { posts_per_second: rate, posts, p50_ms, p99_ms }),
        _ => bail!("{}: results must be keyed as their posts are, to tell how long each took", contender.name()),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "posts")]
fn posts(rate: f64, duration: Duration, most: usize) -> usize {
    ((rate * duration.as_secs_f64()) as usize).clamp(1, most)
}

/// A post of the corpus under another key. Not awaited: the next is due.
fn publish(stand: &Stand<'_>, feeder: &Feeder, number: usize, key: &str) -> Result<()> {
    let post = stand.corpus.post(number);
    Handle::current().block_on(feeder.send(Some(key.as_bytes()), &post.value, &post.headers))?;
    Ok(())
}

fn wait_for(stand: &Stand<'_>, contender: &Contender, own: &Own<'_>, team: &mut Team, wanted: u64) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let outcomes = own.outcomes()?;
        if outcomes >= wanted {
            return Ok(());
        }
        team.check()?;
        if Instant::now() > deadline {
            let (name, said) = (contender.name(), team.last_words());
            bail!("{name}: {outcomes} of {wanted} outcomes after {} s; it said last:\n{said}", PATIENCE.as_secs());
        }
        stand.sleep(LOOK)?;
    }
}

/// When each key was appended.
fn times(stand: &Stand<'_>, topic: &Topic, records: usize) -> Result<HashMap<String, i64>> {
    let reader = Reader::new(&stand.settings.kafka, &[&topic.name], topic.partitions)?;
    let (mut times, deadline) = (HashMap::new(), Instant::now() + PATIENCE);
    let mut read = 0;
    while read < records {
        stand.go_on()?;
        if Instant::now() > deadline {
            bail!("{} could not be read to its end: {read} of {records} records", topic.name);
        }
        if let Some(record) = reader.next(Duration::from_millis(100))? {
            read += 1;
            times.extend(record.key.zip(record.timestamp_ms));
        }
    }
    Ok(times)
}

/// Milliseconds of every paced post, the shortest first.
fn taken(published: &HashMap<String, i64>, answered: &HashMap<String, i64>) -> Vec<f64> {
    let paced = published.iter().filter(|(key, _)| key.bytes().all(|byte| byte.is_ascii_digit()));
    #[expect(clippy::cast_precision_loss, reason = "seconds at most")]
    let mut taken: Vec<f64> = paced.filter_map(|(key, at)| Some((answered.get(key)? - at) as f64)).collect();
    taken.sort_by(f64::total_cmp);
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paced_posts_count_and_only_those_with_a_result() {
        let times = |pairs: &[(&str, i64)]| pairs.iter().map(|(key, at)| ((*key).to_owned(), *at)).collect();
        let published = times(&[("warm-up", 0), ("0", 1000), ("1", 1010), ("2", 1020)]);
        assert_eq!(taken(&published, &times(&[("warm-up", 900), ("1", 1015), ("0", 1100)])), [5.0, 100.0]);
    }

    #[test]
    fn a_corpus_is_not_repeated() {
        assert_eq!(posts(50.0, Duration::from_secs(10), 1000), 500);
        assert_eq!(posts(50.0, Duration::from_secs(10), 100), 100);
        assert_eq!(posts(0.001, Duration::from_secs(1), 100), 1);
    }
}
