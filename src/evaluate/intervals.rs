//! How far a number measured on some posts may be from what it would be on all such posts: 95% intervals. Pure.

use fastrand::Rng;
use serde::Serialize;

use super::measures::{count, part};

/// The standard normal's 97.5th percentile.
const Z: f64 = 1.959_963_984_540_054;
/// Resamples of a bootstrap: the ends of an interval then wander by a few per cent of its width.
const RESAMPLES: usize = 1000;
const SEED: u64 = 20_261_124;

/// A number with its 95% interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Measured {
    /// As measured.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// A part of posts with Wilson's interval, which keeps its word for few posts and for parts near 0 and 1.
pub fn wilson(some: u64, all: u64) -> Measured {
    if all == 0 {
        return Measured { value: 0.0, low: 0.0, high: 1.0 };
    }
    let (value, posts) = (part(some, all), count(all));
    let shrunk = (count(some) + Z * Z / 2.0) / (posts + Z * Z);
    let half = Z * (posts * value * (1.0 - value) + Z * Z / 4.0).sqrt() / (posts + Z * Z);
    // Rounding must not put the value outside.
    Measured { value, low: (shrunk - half).clamp(0.0, value), high: (shrunk + half).clamp(value, 1.0) }
}

/// Numbers calculated from `posts` posts, each with the interval that holds 95% of what it is on resampled posts (percentile
/// bootstrap). `calculate` is given the places of the posts. The same posts give the same intervals.
pub fn bootstrap(posts: usize, calculate: impl Fn(&mut dyn Iterator<Item = usize>) -> Vec<f64>) -> Vec<Measured> {
    let values = calculate(&mut (0..posts));
    if posts == 0 {
        return values.into_iter().map(|value| Measured { value, low: value, high: value }).collect();
    }
    let mut random = Rng::with_seed(SEED);
    let mut samples = vec![Vec::with_capacity(RESAMPLES); values.len()];
    for _ in 0..RESAMPLES {
        let resampled = calculate(&mut (0..posts).map(|_| random.usize(..posts)));
        samples.iter_mut().zip(resampled).for_each(|(sample, value)| sample.push(value));
    }
    let with_interval = |(value, mut sample): (f64, Vec<f64>)| {
        sample.sort_by(f64::total_cmp);
        Measured { value, low: percentile(&sample, 0.025), high: percentile(&sample, 0.975) }
    };
    values.into_iter().zip(samples).map(with_interval).collect()
}

/// Of sorted numbers, between the two nearest as numpy does it.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let place = share * count(sorted.len().saturating_sub(1) as u64);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place among the numbers")]
    let below = place.floor() as usize;
    let at = |place: usize| sorted.get(place).or(sorted.last()).copied().unwrap_or(0.0);
    let fraction = place - place.floor();
    at(below) * (1.0 - fraction) + at(below + 1) * fraction
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::measures::Confusion;
    use super::super::measures::tests::close;
    use super::*;

    /// `scipy.stats.binomtest(some, all).proportion_ci(method="wilson")`.
    #[test]
    fn wilsons_interval_is_that_of_scipy() {
        for (some, all, low, high) in [
            (0, 10, 0.0, 0.277_532_799_862),
            (10, 10, 0.722_467_200_137, 1.0),
            (71, 100, 0.614_611_088_244, 0.789_851_642_508),
            (355, 500, 0.668_745_196_883, 0.748_052_580_122),
        ] {
            let found = wilson(some, all);
            close(found.low, low);
            close(found.high, high);
        }
    }

    /// `f1_score`, weighted and macro, of 200 posts of which every third is told wrong; 4,000 resamples by numpy gave
    /// [0.608, 0.734] and [0.579, 0.714].
    #[test]
    fn a_bootstrap_of_f1_agrees_with_one_by_numpy() {
        let truth = |post: usize| {
            if post < 60 {
                0
            } else if post < 100 {
                1
            } else {
                2
            }
        };
        let told = |post: usize| if post.is_multiple_of(3) { (truth(post) + 1) % 3 } else { truth(post) };
        let calculate = |posts: &mut dyn Iterator<Item = usize>| {
            let confusion = Confusion::of(3, posts.map(|post| (truth(post), told(post))));
            vec![confusion.weighted_average().f1, confusion.macro_average().f1]
        };
        let found = bootstrap(200, calculate);
        close(found[0].value, 0.671_547_106_234);
        close(found[1].value, 0.648_828_804_633);
        let near = |found: f64, expected: f64| assert!((found - expected).abs() < 0.01, "{found}, {expected} expected");
        near(found[0].low, 0.608);
        near(found[0].high, 0.734);
        near(found[1].low, 0.579);
        near(found[1].high, 0.714);
        assert_eq!(found, bootstrap(200, calculate), "the same posts, the same interval");
    }

    #[test]
    fn percentiles_lie_between_the_two_nearest() {
        close(percentile(&[1.0, 2.0, 4.0], 0.5), 2.0);
        close(percentile(&[1.0, 2.0, 4.0], 0.75), 3.0);
        close(percentile(&[1.0, 2.0, 4.0], 1.0), 4.0);
        close(percentile(&[7.0], 0.025), 7.0);
        assert!(bootstrap(0, |_| vec![0.0])[0].low.abs() < f64::EPSILON);
    }

    proptest! {
        #[test]
        fn an_interval_holds_its_value_and_narrows_with_more_posts(some in 0u64..500, more in 0u64..500) {
            let (few, many) = (wilson(some, some + more), wilson(some * 10, (some + more) * 10));
            prop_assert!(few.low <= few.value && few.value <= few.high);
            prop_assert!((0.0..=1.0).contains(&few.low) && (0.0..=1.0).contains(&few.high));
            prop_assert!(some + more == 0 || many.high - many.low < few.high - few.low);
        }
    }
}
