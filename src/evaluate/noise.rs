//! How answers change as more posts lose their metadata or have another post's. A post's score depends on no other, so a
//! curve needs only each post's answer with its own metadata and without: which posts are hit is drawn.

use fastrand::Rng;
use serde::Serialize;

use super::measures::{Confusion, count};

/// Parts of the posts that are hit.
const SHARES: [f64; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];
/// Draws that a point of the curve is the mean of.
const DRAWS: usize = 50;
const SEED: u64 = 20_261_124;

/// A point of a curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    /// Part of the posts that are hit.
    pub share: f64,
    /// Mean accuracy.
    pub accuracy: f64,
    /// Mean weighted F1.
    pub weighted_f1: f64,
    /// Mean macro F1.
    pub macro_f1: f64,
}

/// What is true of a post, what it was told to be, and what it is told to be once it is hit.
pub type Hit = (usize, usize, usize);

/// The points for 0, 25, 50, 75 and 100%.
pub fn curve(labels: usize, posts: &[Hit]) -> Vec<Point> {
    let mut random = Rng::with_seed(SEED);
    let mut order: Vec<usize> = (0..posts.len()).collect();
    let mut sums = SHARES.map(|share| Point { share, accuracy: 0.0, weighted_f1: 0.0, macro_f1: 0.0 });
    for _ in 0..DRAWS {
        random.shuffle(&mut order);
        for sum in &mut sums {
            let hit = sum.share * count(posts.len() as u64);
            let pairs = order.iter().enumerate().filter_map(|(rank, post)| {
                let (truth, told, told_if_hit) = *posts.get(*post)?;
                Some((truth, if count(rank as u64) + 0.5 < hit { told_if_hit } else { told }))
            });
            let confusion = Confusion::of(labels, pairs);
            sum.accuracy += confusion.accuracy();
            sum.weighted_f1 += confusion.weighted_average().f1;
            sum.macro_f1 += confusion.macro_average().f1;
        }
    }
    let mean = |sum: f64| sum / count(DRAWS as u64);
    sums.into_iter()
        .map(|sum| Point {
            share: sum.share,
            accuracy: mean(sum.accuracy),
            weighted_f1: mean(sum.weighted_f1),
            macro_f1: mean(sum.macro_f1),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::measures::tests::close;
    use super::*;

    #[test]
    fn a_curve_runs_from_all_right_to_all_wrong() {
        let posts: Vec<Hit> = (0..40).map(|post| (post % 2, post % 2, 1 - post % 2)).collect();
        let points = curve(2, &posts);
        for (point, accuracy) in points.iter().zip([1.0, 0.75, 0.5, 0.25, 0.0]) {
            close(point.accuracy, accuracy);
        }
        assert_eq!(points, curve(2, &posts), "the same posts, the same curve");
    }

    proptest! {
        #[test]
        fn its_ends_are_nobody_and_everybody_hit(posts in prop::collection::vec((0usize..3, 0usize..3, 0usize..3), 1..60)) {
            let points = curve(3, &posts);
            let nobody = Confusion::of(3, posts.iter().map(|(truth, told, _)| (*truth, *told)));
            let everybody = Confusion::of(3, posts.iter().map(|(truth, _, hit)| (*truth, *hit)));
            for (point, confusion) in [(points[0], &nobody), (points[4], &everybody)] {
                prop_assert!((point.accuracy - confusion.accuracy()).abs() < 1e-9);
                prop_assert!((point.macro_f1 - confusion.macro_average().f1).abs() < 1e-9);
                prop_assert!((point.weighted_f1 - confusion.weighted_average().f1).abs() < 1e-9);
            }
        }
    }
}
