//! Calculates a [`Report`] from the outcomes of labelled posts. Pure.

use std::cmp::Ordering;

use jiff::Timestamp;

use super::calibration;
use super::cases::{Case, Cases};
use super::conditions::Condition;
use super::findings::Findings;
use super::intervals::{Measured, bootstrap, wilson};
use super::labelled::Labelled;
use super::measures::{Confusion, LabelScores, count, roc_auc};
use super::noise::{self, Hit};
use super::report::{
    Ablated, Calibration, Floor, ModelName, Noise, OfLabel, Posts, Refused, Relevance, Report, Scores,
};
use crate::decode::Decoder;
use crate::model::Answer;
use crate::result::{Labelling, best};

/// Answers of every condition, in the order of the cases.
pub type Reruns = Vec<(Condition, Vec<Answer>)>;

/// What was evaluated.
#[derive(Debug)]
pub struct Sources<'a> {
    /// The path given.
    pub data: String,
    /// What the list held.
    pub labelled: &'a Labelled,
    /// The bundle's names.
    pub labelling: &'a Labelling,
    /// Knows the tokenizer.
    pub decoder: &'a Decoder,
}

impl Report {
    /// Calculates everything; `partners` are those that posts were swapped with.
    pub fn new(sources: &Sources<'_>, cases: Cases, reruns: &Reruns, partners: &[usize]) -> Self {
        let labels: Vec<String> = sources.labelling.labels.iter().map(|(name, _)| name.clone()).collect();
        let fields = sources.labelling.fields.clone();
        let scored = cases.scored;
        let confusion = Confusion::of(labels.len(), scored.iter().map(|case| (case.label, case.told)));
        let by_label = confusion.by_label();
        let areas: Vec<_> = (0..labels.len()).map(|label| area(&scored, label)).collect();
        let f1 = f1_intervals(&scored, labels.len());
        let refused = cases.refused.into_iter().map(|(reason, (posts, first))| (reason, Refused { posts, first }));
        Self {
            schema: 1,
            made_at: Timestamp::now(),
            data: sources.data.clone(),
            model: ModelName {
                bundle: sources.labelling.bundle.clone(),
                version: sources.labelling.version.clone(),
                digest: sources.labelling.digest.clone(),
            },
            posts: Posts {
                read: sources.labelled.read,
                evaluated: scored.len() as u64,
                unlabelled: sources.labelled.unlabelled,
                unknown_label: sources.labelled.unknown_posts(),
                unknown_labels: sources.labelled.unknown.clone(),
                unreadable: sources.labelled.unreadable,
                refused: refused.collect(),
            },
            scores: scores(&confusion, &by_label, &areas, &f1),
            floor: floor(&by_label, &labels),
            by_label: of_labels(&labels, &by_label, &f1, &areas),
            confusion: confusion.rows(),
            calibration: calibration(&scored),
            ablation: ablation(&scored, &fields, labels.len(), reruns),
            noise: noise(&scored, partners, &fields, labels.len(), reruns),
            relevance: sources
                .labelling
                .weighed()
                .enumerate()
                .map(|(place, name)| weight(&scored, place, name))
                .collect(),
            findings: Findings::of(&scored, &labels, &fields, |tokens| sources.decoder.is_mostly_unknown(tokens)),
            mistakes: cases.worst.into_mistakes(),
            labels,
            fields,
        }
    }
}

/// The area under the ROC curve of one label against the rest.
fn area(cases: &[Case], label: usize) -> Option<f64> {
    let probability = |case: &Case| case.probabilities.get(label).copied().unwrap_or_default();
    roc_auc(cases.iter().map(|case| (probability(case), case.label == label)))
}

/// Weighted F1, macro F1, then each label's.
fn f1_intervals(cases: &[Case], labels: usize) -> Vec<Measured> {
    let pairs: Vec<(usize, usize)> = cases.iter().map(|case| (case.label, case.told)).collect();
    bootstrap(pairs.len(), |posts| {
        let confusion = Confusion::of(labels, posts.filter_map(|post| pairs.get(post).copied()));
        let means = [confusion.weighted_average().f1, confusion.macro_average().f1];
        means.into_iter().chain(confusion.by_label().iter().map(|label| label.f1)).collect()
    })
}

fn scores(confusion: &Confusion, by_label: &[LabelScores], areas: &[Option<f64>], f1: &[Measured]) -> Scores {
    let none = Measured { value: 0.0, low: 0.0, high: 0.0 };
    let told = |place: usize| f1.get(place).copied().unwrap_or(none);
    let mean = |weight: &dyn Fn(&LabelScores) -> f64| {
        let defined = areas.iter().zip(by_label).filter_map(|(area, label)| Some(((*area)?, weight(label))));
        let (sum, all) = defined.fold((0.0, 0.0), |(sum, all), (area, weight)| (sum + area * weight, all + weight));
        (all > 0.0).then_some(sum / all)
    };
    Scores {
        accuracy: wilson(confusion.right(), confusion.posts()),
        weighted_f1: told(0),
        macro_f1: told(1),
        weighted: confusion.weighted_average(),
        macro_average: confusion.macro_average(),
        roc_auc: mean(&|_| 1.0),
        weighted_roc_auc: mean(&|label| count(label.posts)),
    }
}

fn calibration(cases: &[Case]) -> Calibration {
    let bins = calibration::bins(cases.iter().map(|case| (case.confidence, case.is_right())));
    let confidences: Vec<f32> = cases.iter().map(|case| case.confidence).collect();
    let by_chance = calibration::error_by_chance(&confidences);
    Calibration { expected_error: calibration::expected_error(&bins), by_chance, bins }
}

fn floor(by_label: &[LabelScores], labels: &[String]) -> Floor {
    let commonest =
        by_label.iter().enumerate().rev().max_by_key(|(_, label)| label.posts).map_or(0, |(place, _)| place);
    let posts = by_label.iter().enumerate().flat_map(|(label, scores)| (0..scores.posts).map(move |_| label));
    let confusion = Confusion::of(labels.len(), posts.map(|label| (label, commonest)));
    Floor {
        label: labels.get(commonest).cloned().unwrap_or_default(),
        accuracy: confusion.accuracy(),
        weighted_f1: confusion.weighted_average().f1,
        macro_f1: confusion.macro_average().f1,
    }
}

fn of_labels(labels: &[String], scores: &[LabelScores], f1: &[Measured], areas: &[Option<f64>]) -> Vec<OfLabel> {
    let all = labels.iter().zip(scores).zip(f1.iter().skip(2)).zip(areas);
    all.map(|(((label, scores), f1), area)| OfLabel {
        label: label.clone(),
        posts: scores.posts,
        told: scores.told,
        precision: scores.precision,
        recall: scores.recall,
        f1: *f1,
        roc_auc: *area,
    })
    .collect()
}

fn ablation(cases: &[Case], fields: &[String], labels: usize, reruns: &Reruns) -> Vec<Ablated> {
    let name = |field: usize| fields.get(field).map_or("?", String::as_str);
    let as_scored = ablated("all".into(), labels, cases.iter().map(|case| (case.label, case.told)));
    let kept_from_the_heads = reruns.iter().filter_map(|(condition, answers)| {
        let name = match *condition {
            Condition::ImageOnly => "image only".to_owned(),
            Condition::Alone(field) => format!("image and {}", name(field)),
            Condition::Without(field) => format!("without {}", name(field)),
            Condition::Removed | Condition::Swapped => return None,
        };
        let pairs = cases.iter().zip(answers).map(|(case, answer)| (case.label, best(&answer.probabilities).0));
        Some(ablated(name, labels, pairs))
    });
    std::iter::once(as_scored).chain(kept_from_the_heads).collect()
}

fn ablated(name: String, labels: usize, pairs: impl Iterator<Item = (usize, usize)>) -> Ablated {
    let confusion = Confusion::of(labels, pairs);
    Ablated {
        name,
        accuracy: wilson(confusion.right(), confusion.posts()),
        weighted_f1: confusion.weighted_average().f1,
        macro_f1: confusion.macro_average().f1,
    }
}

fn noise(cases: &[Case], partners: &[usize], fields: &[String], labels: usize, reruns: &Reruns) -> Noise {
    let answers =
        |wanted: Condition| reruns.iter().find(|(condition, _)| *condition == wanted).map(|(_, answers)| answers);
    let curve = |condition: Condition| {
        let hit = answers(condition).into_iter().flatten().zip(cases);
        let hits: Vec<Hit> = hit.map(|(answer, case)| (case.label, case.told, best(&answer.probabilities).0)).collect();
        noise::curve(labels, &hits)
    };
    let swapped = answers(Condition::Swapped).map_or(&[][..], Vec::as_slice);
    let separations = fields.iter().enumerate();
    Noise {
        swapped_posts: partners.iter().enumerate().filter(|(post, partner)| post != *partner).count() as u64,
        posts_with_metadata: cases.iter().filter(|case| case.has_metadata()).count() as u64,
        removed: curve(Condition::Removed),
        swapped: curve(Condition::Swapped),
        weight_roc_auc: separations
            .map(|(place, field)| (field.clone(), separation(cases, swapped, partners, place)))
            .collect(),
    }
}

/// How often a field's weight is higher with the post's own metadata than with its partner's, ties by half, over posts that bring
/// the field and whose partner brings another text for it.
fn separation(cases: &[Case], swapped: &[Answer], partners: &[usize], field: usize) -> Option<f64> {
    let tokens = |case: &Case| case.trace.texts.get(field)?.as_ref().map(|text| text.tokens.clone());
    let weight = |relevance: &[f32]| relevance.get(1 + field).copied();
    let pairs = cases.iter().zip(swapped).zip(partners).filter_map(|((case, answer), partner)| {
        (tokens(case)? != tokens(cases.get(*partner)?)?)
            .then_some((weight(&case.relevance)?, weight(&answer.relevance)?))
    });
    let wins = pairs.map(|(own, other)| match own.partial_cmp(&other) {
        Some(Ordering::Greater) => 1.0,
        Some(Ordering::Equal) => 0.5,
        _ => 0.0,
    });
    let (sum, posts) = wins.fold((0.0, 0u64), |(sum, posts), win| (sum + win, posts + 1));
    (posts > 0).then(|| sum / count(posts))
}

fn weight(cases: &[Case], place: usize, name: &str) -> Relevance {
    let mean = |of: &dyn Fn(&Case, f32) -> bool| {
        let weights = cases.iter().filter_map(|case| case.relevance.get(place).map(|weight| (case, *weight)));
        let weights = weights.filter(|(case, weight)| of(case, *weight)).map(|(_, weight)| f64::from(weight));
        let (sum, posts) = weights.fold((0.0, 0u64), |(sum, posts), weight| (sum + weight, posts + 1));
        (posts > 0).then(|| sum / count(posts))
    };
    Relevance {
        name: name.to_owned(),
        mean: mean(&|_, _| true).unwrap_or_default(),
        right: mean(&|case, _| case.is_right()),
        wrong: mean(&|case, _| !case.is_right()),
        where_present: mean(&|_, weight| weight > 0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::super::mistakes::tests::case;
    use super::*;

    #[test]
    fn a_weight_is_compared_with_that_of_another_post_s_text_only() {
        let answer = |weight: f32| Answer { probabilities: vec![], relevance: vec![1.0 - weight, weight, 0.0] };
        let mut cases: Vec<Case> = [1, 1, 2, 3, 4].into_iter().map(|picture| case(picture, 0.5)).collect();
        cases[4].trace.texts[0] = None;
        let told = |weights: [f32; 5], partners: [usize; 5]| separation(&cases, &weights.map(answer), &partners, 0);
        // Won by the first, lost by the second, even for the third; the fourth's partner and the fifth itself bring nothing.
        assert_eq!(told([0.1, 0.9, 0.5, 0.1, 0.1], [2, 2, 3, 4, 0]), Some(0.5));
        assert_eq!(
            told([0.1, 0.9, 0.5, 0.1, 0.1], [2, 0, 3, 4, 0]),
            Some(0.75),
            "the second's partner has the same text"
        );
        assert_eq!(told([0.1; 5], [0, 1, 2, 3, 4]), None, "nobody found another");
    }
}
