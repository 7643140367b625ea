//! Whether a confidence means what it says: of the posts told with 80%, 80% should be right. Pure.

use fastrand::Rng;
use serde::Serialize;

use super::intervals::{Measured, wilson};
use super::measures::{count, part};

/// Bins of a reliability diagram.
pub const BINS: usize = 10;
const DRAWS: u32 = 200;
const SEED: u64 = 20_261_124;

/// Posts of about the same confidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bin {
    /// How many.
    pub posts: u64,
    /// Their mean confidence.
    pub confidence: f64,
    /// The part of them told right.
    pub accuracy: Measured,
}

/// Answers by confidence in bins of equal mass, the least sure first; where they do not divide evenly the first bins hold one
/// more (`numpy.array_split`). Each answer is its confidence and whether it is right. Fewer answers make fewer bins.
pub fn bins(answers: impl IntoIterator<Item = (f32, bool)>) -> Vec<Bin> {
    let mut answers: Vec<(f32, bool)> = answers.into_iter().collect();
    answers.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    let (size, larger) = (answers.len() / BINS, answers.len() % BINS);
    let mut rest = answers.as_slice();
    let mut bins = Vec::new();
    for number in 0..BINS {
        let (bin, left) = rest.split_at(size + usize::from(number < larger));
        rest = left;
        if !bin.is_empty() {
            bins.push(Bin::of(bin));
        }
    }
    bins
}

impl Bin {
    fn of(answers: &[(f32, bool)]) -> Self {
        let posts = answers.len() as u64;
        let right = answers.iter().filter(|(_, right)| *right).count() as u64;
        let sum: f64 = answers.iter().map(|(confidence, _)| f64::from(*confidence)).sum();
        Self { posts, confidence: sum / count(posts), accuracy: wilson(right, posts) }
    }
}

/// The expected calibration error: by how much confidence and accuracy differ, on average over posts.
pub fn expected_error(bins: &[Bin]) -> f64 {
    let all = bins.iter().map(|bin| bin.posts).sum();
    bins.iter().map(|bin| part(bin.posts, all) * (bin.confidence - bin.accuracy.value).abs()).sum()
}

/// The expected calibration error that answers of these confidences show on average where each is right exactly as often as
/// it says: what chance leaves with so few posts.
pub fn error_by_chance(confidences: &[f32]) -> f64 {
    let mut random = Rng::with_seed(SEED);
    let mut draw =
        || expected_error(&bins(confidences.iter().map(|confidence| (*confidence, random.f32() < *confidence))));
    let sum: f64 = (0..DRAWS).map(|_| draw()).sum();
    sum / f64::from(DRAWS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::measures::tests::{PROBABILITIES, TOLD, TRUTH};
    use super::*;

    /// `numpy.array_split(numpy.argsort(confidence, kind="stable"), 10)` on the same answers.
    #[test]
    fn bins_and_error_are_those_of_numpy() {
        let answers = PROBABILITIES.iter().zip(TRUTH).zip(TOLD);
        let answers = answers.map(|((row, truth), told)| (row.iter().copied().fold(0.0, f32::max), truth == told));
        let bins = bins(answers);
        let expected = [
            (3, 0.433_333, 0.0),
            (3, 0.52, 0.333_333),
            (3, 0.536_667, 0.666_667),
            (3, 0.566_667, 1.0),
            (2, 0.61, 1.0),
            (2, 0.64, 0.0),
            (2, 0.655, 1.0),
            (2, 0.685, 0.0),
            (2, 0.745, 1.0),
            (2, 0.835, 1.0),
        ];
        assert_eq!(bins.len(), expected.len());
        for (bin, (posts, confidence, accuracy)) in bins.iter().zip(expected) {
            assert_eq!(bin.posts, posts);
            assert!(
                (bin.confidence - confidence).abs() < 1e-6 && (bin.accuracy.value - accuracy).abs() < 1e-6,
                "{bin:?}"
            );
        }
        assert!((expected_error(&bins) - 0.354_583_333).abs() < 1e-6);
    }

    /// A simulation by Python's `random` with triangular(0.35, 0.98, 0.65) confidences gave 0.114, 0.051 and 0.020.
    #[test]
    fn chance_leaves_less_the_more_posts_there_are() {
        let mut random = fastrand::Rng::with_seed(1);
        for (posts, expected) in [(100, 0.114), (500, 0.051), (3000, 0.020)] {
            let confidences: Vec<f32> =
                (0..posts).map(|_| 0.35 + 0.63 * f32::midpoint(random.f32(), random.f32())).collect();
            let found = error_by_chance(&confidences);
            assert!((found - expected).abs() < 0.15 * expected, "{found}, {expected} expected for {posts} posts");
        }
        assert!(error_by_chance(&[]).abs() < f64::EPSILON);
        assert!(error_by_chance(&[1.0; 20]).abs() < 1e-6, "always sure and always right");
    }

    #[test]
    fn nothing_has_no_error() {
        assert!(bins([]).is_empty() && expected_error(&[]).abs() < f64::EPSILON);
    }

    proptest! {
        #[test]
        fn bins_share_the_answers_evenly_and_in_order(answers in prop::collection::vec((0.0f32..=1.0, any::<bool>()), 1..200)) {
            let bins = bins(answers.iter().copied());
            prop_assert_eq!(bins.len(), answers.len().min(BINS));
            prop_assert_eq!(bins.iter().map(|bin| bin.posts).sum::<u64>(), answers.len() as u64);
            let sizes = bins.iter().map(|bin| bin.posts);
            prop_assert!(sizes.clone().max().unwrap_or(0) - sizes.min().unwrap_or(0) <= 1);
            prop_assert!(bins.is_sorted_by(|one, other| one.confidence <= other.confidence + 1e-9));
            prop_assert!((0.0..=1.0 + 1e-9).contains(&expected_error(&bins)));
        }
    }
}
