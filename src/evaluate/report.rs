//! All numbers of an evaluation, as they stand in `report.json` (schema 1, `docs/evaluation.md`) and on the page.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::calibration::Bin;
use super::findings::Findings;
use super::intervals::Measured;
use super::measures::Averages;
use super::mistakes::Mistake;
use super::noise;

/// An evaluation.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Of this document.
    pub schema: u32,
    /// When.
    pub made_at: Timestamp,
    /// The path given.
    pub data: String,
    /// The bundle.
    pub model: ModelName,
    /// In the order of probabilities, rows and columns.
    pub labels: Vec<String>,
    /// The bundle's metadata fields.
    pub fields: Vec<String>,
    /// What became of the list.
    pub posts: Posts,
    /// Over all posts evaluated.
    pub scores: Scores,
    /// What always answering the commonest label would reach.
    pub floor: Floor,
    /// One for each label.
    pub by_label: Vec<OfLabel>,
    /// A row for each true label, a column for each label told.
    pub confusion: Vec<Vec<u64>>,
    /// Whether confidence means what it says.
    pub calibration: Calibration,
    /// With fields kept from the model.
    pub ablation: Vec<Ablated>,
    /// With metadata lost or swapped.
    pub noise: Noise,
    /// The image and each field.
    pub relevance: Vec<Relevance>,
    /// On the data.
    pub findings: Findings,
    /// Those the model was surest of.
    pub mistakes: Vec<Mistake>,
}

/// The bundle.
#[derive(Debug, Serialize)]
pub struct ModelName {
    pub bundle: String,
    pub version: String,
    pub digest: String,
}

/// What became of the posts of the list.
#[derive(Debug, Serialize)]
pub struct Posts {
    /// In the list.
    pub read: u64,
    /// Scored and compared with their label.
    pub evaluated: u64,
    /// Without a label.
    pub unlabelled: u64,
    /// With a label that the bundle does not have.
    pub unknown_label: u64,
    /// Those labels.
    pub unknown_labels: BTreeMap<String, u64>,
    /// Not read.
    pub unreadable: u64,
    /// Labelled but refused, by reason.
    pub refused: BTreeMap<&'static str, Refused>,
}

/// Posts refused for one reason.
#[derive(Debug, Serialize)]
pub struct Refused {
    /// How many.
    pub posts: u64,
    /// What was told of the first.
    pub first: String,
}

/// The measures of the whole.
#[derive(Debug, Serialize)]
pub struct Scores {
    /// Wilson's interval.
    pub accuracy: Measured,
    /// Bootstrapped interval.
    pub weighted_f1: Measured,
    /// Bootstrapped interval.
    pub macro_f1: Measured,
    /// Labels count as often as they are there.
    pub weighted: Averages,
    /// Every label counts the same.
    #[serde(rename = "macro")]
    pub macro_average: Averages,
    /// One label against the rest, the mean over labels; `null` where there is but one.
    pub roc_auc: Option<f64>,
    /// The same, labels counting as often as they are there.
    pub weighted_roc_auc: Option<f64>,
}

/// Always the commonest label.
#[derive(Debug, Serialize)]
pub struct Floor {
    pub label: String,
    pub accuracy: f64,
    pub weighted_f1: f64,
    pub macro_f1: f64,
}

/// One label.
#[derive(Debug, Serialize)]
pub struct OfLabel {
    /// Its name.
    pub label: String,
    /// Posts that have it.
    pub posts: u64,
    /// Posts told to have it.
    pub told: u64,
    /// Of those told, the part that has it.
    pub precision: f64,
    /// Of those that have it, the part told.
    pub recall: f64,
    /// Bootstrapped interval.
    pub f1: Measured,
    /// Against the rest.
    pub roc_auc: Option<f64>,
}

/// Whether confidence means what it says.
#[derive(Debug, Serialize)]
pub struct Calibration {
    /// By how much confidence and accuracy differ, on average over posts.
    pub expected_error: f64,
    /// What chance alone leaves of that with these posts.
    pub by_chance: f64,
    /// Bins of equal mass, the least sure first.
    pub bins: Vec<Bin>,
}

/// The answers with fields kept from the model.
#[derive(Debug, Serialize)]
pub struct Ablated {
    /// `all`, `image only`, `image and caption`, `without caption`.
    pub name: String,
    /// Wilson's interval.
    pub accuracy: Measured,
    /// Labels count as often as they are there.
    pub weighted_f1: f64,
    /// Every label counts the same.
    pub macro_f1: f64,
}

/// The answers with metadata lost or swapped.
#[derive(Debug, Serialize)]
pub struct Noise {
    /// Posts that have metadata to lose.
    pub posts_with_metadata: u64,
    /// Of those, posts that found another's to be swapped with.
    pub swapped_posts: u64,
    /// More and more posts without their metadata.
    pub removed: Vec<noise::Point>,
    /// More and more posts with another post's.
    pub swapped: Vec<noise::Point>,
    /// For each field how often its weight is higher with the post's own metadata than with another's; 0.5 is chance.
    pub weight_roc_auc: BTreeMap<String, Option<f64>>,
}

/// The weight of the image or a field.
#[derive(Debug, Serialize)]
pub struct Relevance {
    /// `image`, or the field.
    pub name: String,
    /// Mean over all posts; of an absent field it is 0.
    pub mean: f64,
    /// Over posts told right; `null` where there are none.
    pub right: Option<f64>,
    /// Over posts told wrong; `null` where there are none.
    pub wrong: Option<f64>,
    /// Over posts that have it, inferred or brought; `null` where there are none.
    pub where_present: Option<f64>,
}
