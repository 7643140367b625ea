//! The outcomes of labelled posts: scored posts beside their true label, and those that were refused.

use std::collections::BTreeMap;

use super::mistakes::{Mistake, Worst};
use crate::decode::Decoder;
use crate::error::one_line;
use crate::message::{Flag, Outcome, Scored, Trace, Verdict};
use crate::metrics::Metrics;
use crate::result::{Labelling, best};

/// A scored post with its true label.
#[derive(Debug, Clone)]
pub struct Case {
    /// The post's id.
    pub id: String,
    /// What it is, by the bundle's number of the label.
    pub label: usize,
    /// What it was told to be.
    pub told: usize,
    /// The probability of what it was told to be.
    pub confidence: f32,
    /// One per label.
    pub probabilities: Vec<f32>,
    /// The image's weight, then the fields'.
    pub relevance: Vec<f32>,
    /// For each field whether the tagger stood in for it.
    pub inferred: Vec<bool>,
    /// Whether a text was cut.
    pub truncated: bool,
    /// What the heads run on again.
    pub trace: Trace,
}

impl Case {
    /// Whether it was told right.
    pub fn is_right(&self) -> bool {
        self.label == self.told
    }

    /// Whether two posts are the same to the model.
    pub fn looks_like(&self, other: &Self) -> bool {
        self.trace.picture == other.trace.picture && self.texts().eq(other.texts())
    }

    /// The tokens of each field.
    pub fn texts(&self) -> impl Iterator<Item = Option<&[u32]>> {
        self.trace.texts.iter().map(|text| text.as_ref().map(|text| text.tokens.as_slice()))
    }

    /// Whether the post brought anything but its image.
    pub fn has_metadata(&self) -> bool {
        self.trace.texts.iter().any(Option::is_some)
    }

    /// `None` where the prediction came without a trace.
    fn of(scored: &Scored, label: usize) -> Option<Self> {
        let prediction = &scored.prediction;
        let (told, confidence) = best(&prediction.probabilities);
        Some(Self {
            id: scored.facts.id.clone(),
            label,
            told,
            confidence,
            probabilities: prediction.probabilities.clone(),
            relevance: prediction.relevance.clone(),
            inferred: prediction.inferred.clone(),
            truncated: scored.flags.contains(&Flag::TextTruncated),
            trace: prediction.trace.as_deref()?.clone(),
        })
    }
}

/// All outcomes so far.
#[derive(Debug, Default)]
pub struct Cases {
    /// Scored.
    pub scored: Vec<Case>,
    /// Refused, by reason: how many, and what the first was.
    pub refused: BTreeMap<&'static str, (u64, String)>,
    /// The worst mistakes.
    pub worst: Worst,
}

impl Cases {
    /// Takes an outcome in; returns what to tell of a post that was refused.
    pub fn add(
        &mut self,
        outcome: Outcome,
        label: usize,
        decoder: &Decoder,
        labelling: &Labelling,
        metrics: &Metrics,
    ) -> Option<String> {
        let Outcome { record, verdict } = outcome;
        match verdict {
            Verdict::Scored(scored) => {
                let case = Case::of(&scored, label)?;
                if !case.is_right() {
                    self.worst.consider(&case, || Mistake::of(&case, &scored, record, decoder, labelling, metrics));
                }
                self.scored.push(case);
                None
            }
            Verdict::Refused { refusal, .. } => {
                let key = record.key.as_ref().map(|key| String::from_utf8_lossy(key).into_owned()).unwrap_or_default();
                let told = format!("{} ({}): {refusal}", one_line(&key), record.position.origin);
                self.refused.entry(refusal.reason.as_str()).or_insert_with(|| (0, told.clone())).0 += 1;
                Some(told)
            }
            Verdict::Tombstone => None,
        }
    }

    /// Posts refused.
    pub fn refused_posts(&self) -> u64 {
        self.refused.values().map(|(posts, _)| posts).sum()
    }
}
