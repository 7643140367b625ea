//! Which threads, sessions and batches suit this machine: each way is measured on a pipeline of its own, as fast as it goes
//! and then at a pace below that, as a worker that keeps up runs.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::drive::Drive;
use crate::posts::SourcePost;
use crate::settings::Settings;

/// Batches tried; no larger than the settings let be in flight.
const BATCHES: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
/// Share of the highest rate at which the latency is measured: what a worker that keeps up is loaded with.
pub const LOAD: f64 = 0.7;
/// Rates closer than this are the same, and the lower latency decides.
const SAME_RATE: f64 = 0.03;
/// Posts before anything is measured.
const WARM_UP: usize = 16;

/// One way to run the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// `model.threads`
    pub threads: usize,
    /// `model.sessions`
    pub sessions: usize,
    /// `batch.max_posts`
    pub max_posts: usize,
}

/// A way, and what it does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// The way.
    pub way: Way,
    /// Posts a second, as fast as they go.
    pub rate: f64,
    /// Half of the posts have their outcome within this, at [`LOAD`].
    pub p50: Duration,
    /// And 99 of 100 within this.
    pub p99: Duration,
}

/// The ways that suit so many cores: sessions of 1, 2, 4 … threads that share the cores, on a processor; one session on a card.
#[must_use]
pub fn ways(cores: usize, on_card: bool, most_in_flight: usize) -> Vec<Way> {
    let threads = std::iter::successors(Some(1), |threads| Some(threads * 2)).take_while(|threads| *threads < cores);
    let layouts: Vec<(usize, usize)> = if on_card {
        vec![(1, 1), (1, 2)]
    } else {
        threads.map(|threads| (threads, cores / threads)).chain([(cores, 1)]).collect()
    };
    let of_layout = |(threads, sessions): (usize, usize)| {
        let batches = BATCHES.into_iter().filter(move |batch| batch * sessions <= most_in_flight);
        batches.map(move |max_posts| Way { threads, sessions, max_posts })
    };
    layouts.into_iter().flat_map(of_layout).collect()
}

/// The settings that run a way.
#[must_use]
pub fn settings_of(way: Way, settings: &Settings) -> Settings {
    let mut settings = settings.clone();
    (settings.model.threads, settings.model.sessions) = (way.threads, way.sessions);
    settings.batch.max_posts = way.max_posts;
    // Posts come again and again here, which they do not where they are counted.
    settings.model.cache_bytes = 0;
    settings
}

/// Measures a way, for `duration` at each of the two loads.
///
/// # Errors
/// A model that cannot be loaded, a post that is refused.
pub async fn measure(way: Way, settings: &Settings, posts: &[SourcePost], duration: Duration) -> Result<Measured> {
    let mut drive = Drive::start(&settings_of(way, settings))?;
    drive.turn(posts.iter().cycle().take(WARM_UP.max(2 * way.max_posts)).cloned(), None).await?;
    let rate = drive.turn(for_a_while(posts, duration), None).await?.rate();
    let paced = drive.turn(for_a_while(posts, duration), Some(rate * LOAD)).await?;
    Ok(Measured { way, rate, p50: paced.latency(0.5), p99: paced.latency(0.99) })
}

fn for_a_while(posts: &[SourcePost], duration: Duration) -> impl Iterator<Item = SourcePost> {
    let started = Instant::now();
    posts.iter().cycle().take_while(move |_| started.elapsed() < duration).cloned()
}

/// The way of the highest rate among those whose p99 is within `target`; among equal rates the one of the lowest p99. `None`
/// where none is within.
#[must_use]
pub fn best(measured: &[Measured], target: Option<Duration>) -> Option<Measured> {
    let within = || measured.iter().filter(|measured| target.is_none_or(|target| measured.p99 <= target));
    let highest = within().map(|measured| measured.rate).max_by(f64::total_cmp)?;
    within()
        .filter(|measured| measured.rate >= highest * (1.0 - SAME_RATE))
        .min_by_key(|measured| measured.p99)
        .copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(max_posts: usize, rate: f64, p99: u64) -> Measured {
        let p99 = Duration::from_millis(p99);
        Measured { way: Way { threads: 1, sessions: 2, max_posts }, rate, p50: p99 / 2, p99 }
    }

    #[test]
    fn the_highest_rate_within_the_target_is_chosen() {
        let all = [measured(1, 100.0, 20), measured(8, 150.0, 60), measured(16, 152.0, 90), measured(32, 170.0, 200)];
        let chosen = |target: Option<u64>| best(&all, target.map(Duration::from_millis)).map(|best| best.way.max_posts);
        assert_eq!(chosen(None), Some(32));
        assert_eq!(chosen(Some(100)), Some(8), "150 and 152 are the same rate, and 8 answers sooner");
        assert_eq!(chosen(Some(60)), Some(8));
        assert_eq!(chosen(Some(59)), Some(1));
        assert_eq!(chosen(Some(19)), None);
        assert_eq!(best(&[], None), None);
    }

    #[test]
    fn ways_use_the_cores_and_what_may_be_in_flight() {
        let layouts = |cores, on_card, most| {
            let mut layouts: Vec<_> =
                ways(cores, on_card, most).iter().map(|way| (way.threads, way.sessions)).collect();
            layouts.dedup();
            layouts
        };
        assert_eq!(layouts(1, false, 256), [(1, 1)]);
        assert_eq!(layouts(2, false, 256), [(1, 2), (2, 1)]);
        assert_eq!(layouts(6, false, 256), [(1, 6), (2, 3), (4, 1), (6, 1)]);
        assert_eq!(layouts(6, true, 256), [(1, 1), (1, 2)]);
        let batches: Vec<_> = ways(2, false, 16).iter().map(|way| way.max_posts).collect();
        assert_eq!(batches, [1, 2, 4, 8, 1, 2, 4, 8, 16]);
    }
}
