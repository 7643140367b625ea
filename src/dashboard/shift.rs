//! Where the mean moves suddenly. Pure: sums of steps in, edges out (`docs/dashboard.md` has the definition).
//!
//! For every edge between two steps the mean of up to [`WINDOW`] steps before it is compared with that of up to as many after it,
//! by Welch's standard error of a difference of means.

use std::cmp::Ordering;

use super::store::sums::Cell;

/// Steps on each side of an edge.
pub const WINDOW: usize = 6;
/// Posts on each side, at least.
const LEAST_POSTS: i64 = 10;
/// Difference of the means, at least.
const LEAST_DIFFERENCE: f64 = 0.2;
/// Standard errors between the means, at least.
const LEAST_SCORE: f64 = 5.0;
/// Posts that all say the very same have no deviation: the standard error is taken as this at least.
const LEAST_ERROR: f64 = 1e-3;

/// An edge where the mean moved.
#[derive(Debug, Clone, PartialEq)]
pub struct Shift {
    /// The first step after it.
    pub edge: usize,
    /// The first step looked at.
    pub from: usize,
    /// The step behind the last one looked at.
    pub to: usize,
    /// Sums before it.
    pub before: Cell,
    /// Sums after it.
    pub after: Cell,
    /// Difference of the means in standard errors.
    pub score: f64,
}

/// Mean of some posts; `None` where there are none.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "means are told with six digits")]
pub fn mean(cell: &Cell) -> Option<f64> {
    (cell.posts > 0).then(|| cell.polarity as f64 / 1e6 / cell.posts as f64)
}

/// Standard error of the mean, squared; 0 of a single post.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "as above")]
pub fn squared_error(cell: &Cell) -> f64 {
    if cell.posts < 2 {
        return 0.0;
    }
    let (posts, sum) = (cell.posts as f64, cell.polarity as f64 / 1e6);
    let deviation = (cell.squares as f64 / 1e9 - sum * sum / posts).max(0.0) / (posts - 1.0);
    deviation / posts
}

/// All shifts of a series, in order.
#[must_use]
pub fn shifts(steps: &[Cell]) -> Vec<Shift> {
    let edges: Vec<_> = (1..steps.len()).map(|edge| compare(steps, edge)).collect();
    let is_highest = |shift: &Shift| {
        let mut others = edges.iter().flatten().filter(|other| other.edge.abs_diff(shift.edge) <= WINDOW);
        // Of two that score the same the first one counts.
        others.all(|other| match other.score.total_cmp(&shift.score) {
            Ordering::Less => true,
            Ordering::Equal => other.edge >= shift.edge,
            Ordering::Greater => false,
        })
    };
    edges.iter().flatten().filter(|shift| is_highest(shift)).cloned().collect()
}

fn compare(steps: &[Cell], edge: usize) -> Option<Shift> {
    let (from, to) = (edge.saturating_sub(WINDOW), (edge + WINDOW).min(steps.len()));
    let sum = |steps: &[Cell]| {
        steps.iter().fold(Cell::default(), |mut sum, step| {
            sum.add(*step);
            sum
        })
    };
    let (before, after) = (sum(steps.get(from..edge)?), sum(steps.get(edge..to)?));
    if before.posts.min(after.posts) < LEAST_POSTS {
        return None;
    }
    let difference = (mean(&after)? - mean(&before)?).abs();
    let error = (squared_error(&before) + squared_error(&after)).sqrt().max(LEAST_ERROR);
    let score = difference / error;
    (difference >= LEAST_DIFFERENCE && score >= LEAST_SCORE).then_some(Shift { edge, from, to, before, after, score })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// So many posts, of which every other is `spread` above and below `polarity`, in hundredths.
    fn step(posts: i64, polarity: i64, spread: i64) -> Cell {
        let mut sum = Cell::default();
        for number in 0..posts {
            let side = if number % 2 == 0 { spread } else { -spread };
            sum.add(Cell::of((polarity + side) * 10_000, 500_000));
        }
        sum
    }

    fn series(parts: &[(usize, i64, i64)]) -> Vec<Cell> {
        parts.iter().flat_map(|(steps, posts, polarity)| vec![step(*posts, *polarity, 30); *steps]).collect()
    }

    #[test]
    fn a_swing_is_found_where_it_is_and_once() {
        let found = shifts(&series(&[(20, 10, 50), (20, 10, -20)]));
        assert_eq!(found.len(), 1);
        let shift = &found[0];
        assert_eq!((shift.edge, shift.from, shift.to, shift.before.posts, shift.after.posts), (20, 14, 26, 60, 60));
        // 0.7 by two standard errors of 0.3 / sqrt(59).
        assert!((shift.score - 0.7 / (2.0f64 * 0.09 / 59.0).sqrt()).abs() < 1e-3, "{}", shift.score);
    }

    #[test]
    fn there_and_back_are_two() {
        let found: Vec<_> =
            shifts(&series(&[(20, 10, 50), (10, 10, -20), (20, 10, 50)])).iter().map(|shift| shift.edge).collect();
        assert_eq!(found, [20, 30]);
    }

    #[test]
    fn few_posts_a_small_step_and_noise_are_none() {
        for parts in [
            &[(20, 10, 30), (20, 10, 49)][..], // below 0.2
            &[(1, 9, 90), (20, 10, -90)],      // nine posts before it, nowhere near an edge with more
            &[(40, 10, 30)],
            &[(40, 0, 0)],
            &[],
        ] {
            assert_eq!(shifts(&series(parts)), [], "{parts:?}");
        }
        // 0.3 apart, but all over the place.
        let noisy: Vec<_> = [vec![step(4, 0, 100); 20], vec![step(4, 30, 100); 20]].concat();
        assert_eq!(shifts(&noisy), []);
    }

    #[test]
    fn gaps_and_posts_that_say_the_very_same_make_no_trouble() {
        let silent = [vec![step(10, 50, 0); 6], vec![Cell::default(); 3], vec![step(10, -50, 0); 6]].concat();
        let found = shifts(&silent);
        assert_eq!(found.len(), 1);
        assert!((6..=9).contains(&found[0].edge) && found[0].score.is_finite());
    }

    proptest! {
        #[test]
        fn what_is_found_keeps_its_definition(steps in prop::collection::vec((0i64..40, -90i64..90, 0i64..10), 0..60)) {
            let steps: Vec<_> = steps.into_iter().map(|(posts, polarity, spread)| step(posts, polarity, spread)).collect();
            let found = shifts(&steps);
            for (place, shift) in found.iter().enumerate() {
                prop_assert!(shift.score >= LEAST_SCORE && shift.score.is_finite());
                prop_assert!(shift.before.posts >= LEAST_POSTS && shift.after.posts >= LEAST_POSTS);
                let difference = mean(&shift.after).unwrap_or(0.0) - mean(&shift.before).unwrap_or(0.0);
                prop_assert!(difference.abs() >= LEAST_DIFFERENCE);
                if let Some(next) = found.get(place + 1) {
                    prop_assert!(next.edge > shift.edge + WINDOW);
                }
            }
            // Wherever an edge qualifies, one that scores as much at least is told within reach of the chain of higher ones.
            let best = (1..steps.len()).filter_map(|edge| compare(&steps, edge)).max_by(|one, other| one.score.total_cmp(&other.score));
            prop_assert_eq!(best.is_some(), !found.is_empty());
            if let Some(best) = best {
                prop_assert!(found.iter().any(|shift| shift.score >= best.score));
            }
        }

        #[test]
        fn the_same_upside_down_shifts_at_the_same_edges(steps in prop::collection::vec((0i64..40, -90i64..90), 0..60)) {
            let cells = |sign: i64| steps.iter().map(|(posts, polarity)| step(*posts, sign * polarity, sign * 7)).collect::<Vec<_>>();
            let edges = |cells: &[Cell]| shifts(cells).iter().map(|shift| shift.edge).collect::<Vec<_>>();
            prop_assert_eq!(edges(&cells(1)), edges(&cells(-1)));
        }
    }
}
