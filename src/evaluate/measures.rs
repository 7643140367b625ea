//! How good answers are: accuracy, precision, recall, F1 and the area under the ROC curve, as scikit-learn defines them
//! (`zero_division=0`). Pure.

use serde::Serialize;

/// Answers counted by what was true and what was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confusion {
    labels: usize,
    /// Row by row: what was true, then what was told.
    counts: Vec<u64>,
}

/// How one label fares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LabelScores {
    /// Of the posts told to have it, the part that has it.
    pub precision: f64,
    /// Of the posts that have it, the part told to.
    pub recall: f64,
    /// Their harmonic mean.
    pub f1: f64,
    /// Posts that have it.
    pub posts: u64,
    /// Posts told to have it.
    pub told: u64,
}

/// Means over labels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Averages {
    /// Of the labels' precision.
    pub precision: f64,
    /// Of the labels' recall.
    pub recall: f64,
    /// Of the labels' F1.
    pub f1: f64,
}

impl Confusion {
    /// Counts pairs of what is true and what was told, both below `labels`.
    pub fn of(labels: usize, pairs: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let mut counts = vec![0; labels * labels];
        for (truth, told) in pairs {
            if let Some(count) = counts.get_mut(truth * labels + told) {
                *count += 1;
            }
        }
        Self { labels, counts }
    }

    /// How many posts that are `truth` were told to be `told`.
    pub fn count(&self, truth: usize, told: usize) -> u64 {
        self.counts.get(truth * self.labels + told).copied().unwrap_or(0)
    }

    /// All counts, a row for each true label.
    pub fn rows(&self) -> Vec<Vec<u64>> {
        self.counts.chunks(self.labels.max(1)).map(<[u64]>::to_vec).collect()
    }

    /// Posts.
    pub fn posts(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Posts told right.
    pub fn right(&self) -> u64 {
        (0..self.labels).map(|label| self.count(label, label)).sum()
    }

    /// The part told right; 0 of none.
    pub fn accuracy(&self) -> f64 {
        part(self.right(), self.posts())
    }

    /// Each label's scores.
    pub fn by_label(&self) -> Vec<LabelScores> {
        let all = 0..self.labels;
        let scores = all.clone().map(|label| {
            let right = self.count(label, label);
            let posts = all.clone().map(|told| self.count(label, told)).sum();
            let told = all.clone().map(|truth| self.count(truth, label)).sum();
            let f1 = part(2 * right, posts + told);
            LabelScores { precision: part(right, told), recall: part(right, posts), f1, posts, told }
        });
        scores.collect()
    }

    /// Every label that is there or was told counts the same.
    pub fn macro_average(&self) -> Averages {
        averages(&self.by_label(), |scores| if scores.posts + scores.told > 0 { 1.0 } else { 0.0 })
    }

    /// Labels count as often as they are there.
    pub fn weighted_average(&self) -> Averages {
        averages(&self.by_label(), |scores| count(scores.posts))
    }
}

fn averages(scores: &[LabelScores], weight: impl Fn(&LabelScores) -> f64) -> Averages {
    let all: f64 = scores.iter().map(&weight).sum();
    let mean = |value: fn(&LabelScores) -> f64| {
        let sum: f64 = scores.iter().map(|scores| weight(scores) * value(scores)).sum();
        if all > 0.0 { sum / all } else { 0.0 }
    };
    Averages { precision: mean(|s| s.precision), recall: mean(|s| s.recall), f1: mean(|s| s.f1) }
}

/// How often something true has a higher score than something false, ties counting half: the area under the ROC curve.
/// `None` where there is only one of the two.
pub fn roc_auc(scores: impl IntoIterator<Item = (f32, bool)>) -> Option<f64> {
    let mut scores: Vec<(f32, bool)> = scores.into_iter().collect();
    scores.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    let (mut below, mut won, mut all_true) = (0.0, 0.0, 0.0);
    #[expect(clippy::float_cmp, reason = "a tie is exactly that")]
    for tied in scores.chunk_by(|(one, _), (other, _)| one == other) {
        let is_true = count(tied.iter().filter(|(_, is_true)| *is_true).count() as u64);
        let is_false = count(tied.len() as u64) - is_true;
        won += is_true * (below + is_false / 2.0);
        below += is_false;
        all_true += is_true;
    }
    (all_true > 0.0 && below > 0.0).then(|| won / (all_true * below))
}

/// `some` of `all`; 0 of none.
pub fn part(some: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { count(some) / count(all) }
}

/// A number of posts to calculate with.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 posts")]
pub fn count(posts: u64) -> f64 {
    posts as f64
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    // Made with numpy.random.default_rng(7); what is expected of them was calculated with scikit-learn 1.9 (accuracy_score,
    // precision_recall_fscore_support, confusion_matrix, roc_auc_score with multi_class="ovr") on the same numbers.
    pub(in crate::evaluate) const TRUTH: [usize; 24] =
        [2, 2, 2, 0, 1, 2, 0, 2, 2, 1, 1, 0, 0, 1, 2, 2, 2, 2, 2, 2, 0, 0, 2, 0];
    pub(in crate::evaluate) const TOLD: [usize; 24] =
        [0, 2, 2, 1, 1, 2, 2, 2, 1, 1, 1, 0, 0, 1, 1, 1, 2, 0, 1, 2, 0, 1, 1, 0];
    #[rustfmt::skip]
    pub(in crate::evaluate) const PROBABILITIES: [[f32; 3]; 24] = [
        [0.53, 0.37, 0.1], [0.13, 0.21, 0.66], [0.12, 0.33, 0.55], [0.27, 0.64, 0.09], [0.12, 0.81, 0.07], [0.18, 0.23, 0.59],
        [0.14, 0.19, 0.67], [0.04, 0.42, 0.54], [0.04, 0.54, 0.42], [0.06, 0.58, 0.36], [0.12, 0.75, 0.13], [0.53, 0.42, 0.05],
        [0.65, 0.12, 0.23], [0.12, 0.57, 0.31], [0.39, 0.5, 0.11], [0.17, 0.7, 0.13], [0.06, 0.08, 0.86], [0.43, 0.16, 0.41],
        [0.11, 0.64, 0.25], [0.16, 0.31, 0.53], [0.63, 0.09, 0.28], [0.25, 0.47, 0.28], [0.2, 0.4, 0.4], [0.74, 0.09, 0.17],
    ];

    pub(in crate::evaluate) fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found}, {expected} expected");
    }

    fn confusion() -> Confusion {
        Confusion::of(3, TRUTH.into_iter().zip(TOLD))
    }

    #[test]
    fn scores_are_those_of_scikit_learn() {
        let confusion = confusion();
        assert_eq!(confusion.rows(), [[4, 2, 1], [0, 4, 0], [2, 5, 6]]);
        close(confusion.accuracy(), 0.583_333_333_333);
        let weighted = confusion.weighted_average();
        close(weighted.precision, 0.719_336_219_336);
        close(weighted.recall, 0.583_333_333_333);
        close(weighted.f1, 0.593_376_068_376);
        let macro_average = confusion.macro_average();
        close(macro_average.precision, 0.629_148_629_148);
        close(macro_average.recall, 0.677_655_677_655);
        close(macro_average.f1, 0.582_905_982_905);
        let f1: Vec<f64> = confusion.by_label().iter().map(|label| label.f1).collect();
        f1.iter().zip([0.615_384_615_384, 0.533_333_333_333, 0.6]).for_each(|(f1, expected)| close(*f1, expected));
    }

    /// `f1_score([0, 0, 2, 2, 2], [0, 1, 2, 2, 0])` and `f1_score([0, 0, 2], [0, 2, 2])`, macro and weighted.
    #[test]
    fn a_label_that_is_not_there_counts_only_where_it_was_told() {
        let told = Confusion::of(3, [(0, 0), (0, 1), (2, 2), (2, 2), (2, 0)]);
        close(told.macro_average().f1, 0.433_333_333_333);
        close(told.weighted_average().f1, 0.68);
        let never_told = Confusion::of(3, [(0, 0), (0, 2), (2, 2)]);
        close(never_told.macro_average().f1, 0.666_666_666_666);
    }

    #[test]
    fn the_area_under_the_curve_is_that_of_scikit_learn() {
        for (label, expected) in [(0, 0.886_554_621_848), (1, 0.925), (2, 0.744_755_244_755)] {
            let scores = PROBABILITIES.iter().zip(TRUTH).map(|(row, truth)| (row[label], truth == label));
            close(roc_auc(scores).expect("both kinds"), expected);
        }
        let tied = [(0.5, true), (0.5, false), (0.5, true), (0.2, false), (0.9, true)];
        close(roc_auc(tied).expect("both kinds"), 0.833_333_333_333);
        assert_eq!(roc_auc([(0.1, true), (0.7, true)]), None);
        assert_eq!(roc_auc([]), None);
    }

    #[test]
    fn nothing_is_none_right() {
        let nothing = Confusion::of(3, []);
        assert!(nothing.accuracy() == 0.0 && nothing.macro_average().f1 == 0.0 && nothing.weighted_average().f1 == 0.0);
    }

    proptest! {
        #[test]
        fn scores_keep_their_bounds_and_their_laws(pairs in prop::collection::vec((0usize..4, 0usize..4), 1..80)) {
            let confusion = Confusion::of(4, pairs.iter().copied());
            prop_assert_eq!(confusion.posts(), pairs.len() as u64);
            let weighted = confusion.weighted_average();
            prop_assert!((weighted.recall - confusion.accuracy()).abs() < 1e-9, "weighted recall is accuracy");
            for averages in [weighted, confusion.macro_average()] {
                for value in [averages.precision, averages.recall, averages.f1] {
                    prop_assert!((0.0..=1.0 + 1e-9).contains(&value));
                }
            }
            let exchanged = Confusion::of(4, pairs.iter().map(|(truth, told)| (*told, *truth)));
            for (one, other) in confusion.by_label().iter().zip(exchanged.by_label()) {
                prop_assert!((one.precision - other.recall).abs() < 1e-9 && (one.f1 - other.f1).abs() < 1e-9);
            }
        }

        #[test]
        fn the_area_is_how_often_the_true_one_wins(scores in prop::collection::vec((0u8..6, any::<bool>()), 0..40)) {
            let scores: Vec<(f32, bool)> = scores.into_iter().map(|(score, is_true)| (f32::from(score), is_true)).collect();
            let of = |kind: bool| scores.iter().filter(move |(_, is_true)| *is_true == kind).map(|(score, _)| *score);
            let contests: Vec<f64> = of(true)
                .flat_map(|one| of(false).map(move |other| if one > other { 1.0 } else if one < other { 0.0 } else { 0.5 }))
                .collect();
            match roc_auc(scores.iter().copied()) {
                None => prop_assert!(contests.is_empty()),
                Some(area) => {
                    let mean = contests.iter().sum::<f64>() / count(contests.len() as u64);
                    prop_assert!((area - mean).abs() < 1e-9);
                }
            }
        }
    }
}
