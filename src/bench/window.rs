//! From readings of a run in progress to its numbers: pure.
//!
//! Rate and cost are taken between two readings in mid-run, so that neither starting (loading, joining the group) nor the end, when
//! the stages run dry, is in them. The margin holds at least what may be in flight: as much is done ahead at the one reading as
//! at the other, so that nothing counts that was done before, and nothing is left out.

use std::time::Instant;

use serde::{Deserialize, Serialize};

/// Share of the outcomes before the window, and of those behind it, at least.
const LEAST_MARGIN: f64 = 0.1;
/// The same at most.
const MOST_MARGIN: f64 = 0.25;

/// How far a run had come at a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// When.
    pub at: Instant,
    /// Outcomes so far.
    pub outcomes: u64,
    /// Processor seconds so far.
    pub cpu_seconds: f64,
}

/// The outcomes at which readings are taken: the window's start, its middle and its end.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "posts")]
pub fn marks(posts: u64, in_flight: usize) -> [u64; 3] {
    let all = posts as f64;
    let margin = (in_flight as f64 / all).clamp(LEAST_MARGIN, MOST_MARGIN);
    [margin, 0.5, 1.0 - margin].map(|share| ((all * share).round() as u64).max(1))
}

/// What a run did per second and per post.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Outcomes within the window.
    pub posts: u64,
    /// Length of the window.
    pub seconds: f64,
    /// Posts a second.
    pub posts_per_second: f64,
    /// Processor seconds a post.
    pub cpu_seconds_per_post: f64,
    /// Processor time a post of the window's second half, in terms of its first: above 1, it grows.
    pub drift: f64,
}

impl Measured {
    /// From the readings at the three [`marks`]; `None` where nothing lies between them.
    pub fn between([start, middle, end]: [Reading; 3]) -> Option<Self> {
        let (posts, seconds, cpu) = span(start, end)?;
        let halves = (span(start, middle), span(middle, end));
        let drift = match halves {
            (Some((first, _, before)), Some((second, _, after))) if before > 0.0 => (after / second) / (before / first),
            _ => 1.0,
        };
        Some(Self {
            posts: end.outcomes - start.outcomes,
            seconds,
            posts_per_second: posts / seconds,
            cpu_seconds_per_post: cpu / posts,
            drift,
        })
    }

    /// Several that ran side by side, as one.
    pub fn side_by_side(all: &[Self]) -> Option<Self> {
        #[expect(clippy::cast_precision_loss, reason = "a few")]
        let mean = |of: fn(&Self) -> f64| all.iter().map(of).sum::<f64>() / all.len() as f64;
        (!all.is_empty()).then(|| Self {
            posts: all.iter().map(|one| one.posts).sum(),
            seconds: mean(|one| one.seconds),
            posts_per_second: all.iter().map(|one| one.posts_per_second).sum(),
            cpu_seconds_per_post: mean(|one| one.cpu_seconds_per_post),
            drift: mean(|one| one.drift),
        })
    }
}

/// Outcomes, seconds and processor seconds between two readings, where there are any.
fn span(from: Reading, to: Reading) -> Option<(f64, f64, f64)> {
    #[expect(clippy::cast_precision_loss, reason = "posts")]
    let posts = to.outcomes.saturating_sub(from.outcomes) as f64;
    let seconds = to.at.saturating_duration_since(from.at).as_secs_f64();
    (posts > 0.0 && seconds > 0.0).then_some((posts, seconds, to.cpu_seconds - from.cpu_seconds))
}

/// The median of some numbers and how far they go.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Half are below.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
}

impl Spread {
    /// `None` of nothing.
    pub fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = numbers.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let (upper, lower) = (sorted.get(middle)?, sorted.get((sorted.len() - 1) / 2)?);
        Some(Self { median: f64::midpoint(*lower, *upper), min: *sorted.first()?, max: *sorted.last()? })
    }
}

/// The smallest of the values that at least this share of them does not exceed (nearest rank).
pub fn percentile<T: Copy>(sorted: &[T], share: f64) -> Option<T> {
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank")]
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn readings(halves: [(u64, f64, f64); 3]) -> [Reading; 3] {
        let start = Instant::now();
        halves.map(|(outcomes, seconds, cpu_seconds)| Reading {
            at: start + Duration::from_secs_f64(seconds),
            outcomes,
            cpu_seconds,
        })
    }

    #[test]
    fn only_what_lies_between_the_marks_counts() {
        assert_eq!(marks(10_000, 256), [1000, 5000, 9000]);
        assert_eq!(marks(2000, 256), [256, 1000, 1744], "more is in flight than a tenth");
        assert_eq!(marks(100, 256), [25, 50, 75], "too few posts for that");
        // 40 s and 9 s of processor time were spent before the window.
        let measured = Measured::between(readings([(100, 40.0, 9.0), (500, 42.0, 13.0), (900, 44.0, 17.0)]));
        let measured = measured.expect("a window");
        assert_eq!((measured.posts, measured.seconds), (800, 4.0));
        assert_eq!((measured.posts_per_second, measured.cpu_seconds_per_post), (200.0, 0.01));
        assert!((measured.drift - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_cost_that_grows_is_told() {
        let measured = Measured::between(readings([(100, 1.0, 1.0), (500, 2.0, 2.0), (900, 3.0, 3.5)]));
        assert!((measured.expect("a window").drift - 1.5).abs() < 1e-9);
    }

    #[test]
    fn a_window_without_length_is_none() {
        assert_eq!(Measured::between(readings([(10, 1.0, 1.0), (10, 1.0, 1.0), (10, 1.0, 1.0)])), None);
        assert_eq!(marks(1, 256), [1, 1, 1]);
    }

    #[test]
    fn rates_of_workers_side_by_side_add_up_and_costs_do_not() {
        let one = Measured { posts: 10, seconds: 2.0, posts_per_second: 5.0, cpu_seconds_per_post: 0.2, drift: 1.0 };
        let both = Measured::side_by_side(&[one, Measured { posts_per_second: 7.0, ..one }]).expect("two");
        assert_eq!((both.posts, both.posts_per_second, both.cpu_seconds_per_post), (20, 12.0, 0.2));
        assert_eq!(Measured::side_by_side(&[]), None);
    }

    #[test]
    fn medians_and_percentiles() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(Spread::of([]), None);
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!((percentile(&hundred, 0.5), percentile(&hundred, 0.99)), (Some(50.0), Some(99.0)));
        assert_eq!((percentile(&[7.0], 0.99), percentile::<f64>(&[], 0.5)), (Some(7.0), None));
    }
}
