//! What posts would have scored with other metadata: the heads run again on what the encoders made of them.

use fastrand::Rng;

use super::cases::Case;
use crate::metrics::Metrics;
use crate::model::{Answer, ModelError, Rerun, Variation};

/// Rows handed to the heads at once.
const ROWS: usize = 256;
/// Posts that are looked at for a partner: where so many in a row are the same, so are most.
const TRIES: usize = 100;
const SEED: u64 = 20_261_124;

/// What is done to every post.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// All fields are kept from the heads, inferred ones too.
    ImageOnly,
    /// One field is kept from the heads.
    Without(usize),
    /// All fields but one are kept from the heads.
    Alone(usize),
    /// The post brings no metadata; the tagger stands in as in the stream.
    Removed,
    /// The post brings another post's metadata; the tagger stands in as in the stream.
    Swapped,
}

/// The conditions that tell something of a bundle with so many fields: with one field, alone is all; with two, without the
/// one is the other alone.
pub fn conditions(fields: usize) -> Vec<Condition> {
    let alone = (0..fields).filter(|_| fields > 1).map(Condition::Alone);
    let without = (0..fields).filter(|_| fields > 2).map(Condition::Without);
    let noise = [Condition::Removed, Condition::Swapped];
    [Condition::ImageOnly].into_iter().chain(alone).chain(without).chain(noise).collect()
}

impl Condition {
    fn of<'a>(self, case: &'a Case, partner: &'a Case) -> Variation<'a> {
        let count = case.trace.texts.len();
        let own = if self == Self::Swapped { partner } else { case };
        let brought = own.trace.texts.iter().map(|text| text.as_ref().map(|text| text.embedding.as_slice()));
        let fields = if self == Self::Removed { vec![None; count] } else { brought.collect() };
        let without = (0..count).map(|field| match self {
            Self::ImageOnly => true,
            Self::Without(taken) => field == taken,
            Self::Alone(kept) => field != kept,
            Self::Removed | Self::Swapped => false,
        });
        Variation { image: &case.trace.image, fields, without: without.collect() }
    }
}

/// For each post another one whose metadata it could have by mistake: one with metadata, and other metadata. A post that has none, or
/// finds none, is its own partner. The same posts have the same partners.
pub fn partners(cases: &[Case]) -> Vec<usize> {
    let mut circle: Vec<usize> = (0..cases.len()).collect();
    Rng::with_seed(SEED).shuffle(&mut circle);
    let mut partners: Vec<usize> = (0..cases.len()).collect();
    for (place, post) in circle.iter().enumerate() {
        let (before, from) = circle.split_at(place);
        let mut others = from.iter().skip(1).chain(before).take(TRIES);
        let differs = |other: &&usize| match (cases.get(*post), cases.get(**other)) {
            (Some(post), Some(other)) => post.has_metadata() && other.has_metadata() && !post.texts().eq(other.texts()),
            _ => false,
        };
        if let (Some(partner), Some(other)) = (partners.get_mut(*post), others.find(differs)) {
            *partner = *other;
        }
    }
    partners
}

/// What every post would have scored under a condition; `progress` is told how many more have.
///
/// # Errors
/// When the heads fail.
pub fn rerun(
    heads: &mut Rerun,
    condition: Condition,
    cases: &[Case],
    partners: &[usize],
    metrics: &Metrics,
    mut progress: impl FnMut(u64),
) -> Result<Vec<Answer>, ModelError> {
    let mut answers = Vec::with_capacity(cases.len());
    for (cases_of_run, partners) in cases.chunks(ROWS).zip(partners.chunks(ROWS)) {
        let pairs = cases_of_run.iter().zip(partners);
        let variations: Vec<_> =
            pairs.map(|(case, partner)| condition.of(case, cases.get(*partner).unwrap_or(case))).collect();
        answers.extend(heads.answer(&variations, metrics)?);
        progress(variations.len() as u64);
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::super::mistakes::tests::case;
    use super::*;

    #[test]
    fn conditions_that_say_the_same_are_left_out() {
        use Condition::{Alone, ImageOnly, Removed, Swapped, Without};
        assert_eq!(conditions(1), [ImageOnly, Removed, Swapped]);
        assert_eq!(conditions(2), [ImageOnly, Alone(0), Alone(1), Removed, Swapped]);
        let three = [ImageOnly, Alone(0), Alone(1), Alone(2), Without(0), Without(1), Without(2), Removed, Swapped];
        assert_eq!(conditions(3), three);
    }

    #[test]
    fn a_variation_brings_and_keeps_what_its_condition_says() {
        let (one, other) = (case(1, 0.5), case(2, 0.5));
        let of = |condition: Condition| {
            let variation = condition.of(&one, &other);
            assert_eq!(variation.image, [1.0], "the picture stays");
            (variation.fields[0].map(|embedding| embedding[0]), variation.without)
        };
        assert_eq!(of(Condition::ImageOnly), (Some(1.0), vec![true, true]));
        assert_eq!(of(Condition::Without(0)), (Some(1.0), vec![true, false]));
        assert_eq!(of(Condition::Alone(0)), (Some(1.0), vec![false, true]));
        assert_eq!(of(Condition::Removed), (None, vec![false, false]));
        assert_eq!(of(Condition::Swapped), (Some(2.0), vec![false, false]));
    }

    #[test]
    fn a_partner_is_another_post_with_other_metadata_where_there_is_one() {
        let cases: Vec<Case> = [1, 1, 1, 1, 2, 3].into_iter().map(|picture| case(picture, 0.5)).collect();
        let found = partners(&cases);
        for (post, partner) in found.iter().enumerate() {
            assert!(!cases[post].texts().eq(cases[*partner].texts()), "{post} has {partner}");
        }
        assert_eq!(found, partners(&cases));
        assert_eq!(partners(&cases[..2]), [0, 1], "none differs");
        let mut bare = vec![case(1, 0.5), case(2, 0.5), case(3, 0.5)];
        bare[1].trace.texts[0] = None;
        assert_eq!(partners(&bare), [2, 1, 0], "none to lose, and none to give");
        assert!(partners(&[]).is_empty());
    }
}
