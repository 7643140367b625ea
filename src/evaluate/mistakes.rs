//! The mistakes that the model was surest of, for people to look at: bounded in number, in the length of their texts and in
//! the bytes of their thumbnails.

use bytes::Bytes;
use serde::Serialize;

use super::cases::Case;
use crate::decode::Decoder;
use crate::error::one_line;
use crate::message::{Fetched, Metadata, Record, Scored};
use crate::metrics::Metrics;
use crate::result::Labelling;

/// Mistakes told.
const MOST: usize = 24;
/// Characters of each text.
const TEXT_CHARS: usize = 600;
/// Pixels of the longer side of a thumbnail.
const SIDE: u32 = 160;
/// A thumbnail of these pixels takes some 8 KB; one above this is left out.
const THUMBNAIL_BYTES: usize = 64 << 10;

/// A wrong answer.
#[derive(Debug, Clone, Serialize)]
pub struct Mistake {
    /// The post's id.
    pub id: String,
    /// What it is.
    pub label: String,
    /// What it was told to be.
    pub told: String,
    /// The probability of what it was told to be.
    pub confidence: f32,
    /// The probability of what it is.
    pub label_probability: f32,
    /// The image, then the fields.
    pub weights: Vec<Source>,
    /// As in the post's result.
    pub flags: Vec<String>,
    /// What the post says of its image, by name.
    pub texts: Vec<(&'static str, String)>,
    /// Mistakes made on posts that are the same to the model, which are not told each.
    pub alike: u64,
    /// A small JPEG.
    #[serde(skip)]
    pub thumbnail: Option<Vec<u8>>,
}

/// What the image or a field did.
#[derive(Debug, Clone, Serialize)]
pub struct Source {
    /// `image`, or the field.
    pub name: String,
    /// Its relevance.
    pub weight: f32,
    /// p(told | all) - p(told | without it); only of fields present, and where effects are told.
    pub effect: Option<f32>,
}

impl Mistake {
    /// What a case looks like to people. Reads the post's record again, which was read before without fault.
    pub fn of(
        case: &Case,
        scored: &Scored,
        mut record: Record,
        decoder: &Decoder,
        labelling: &Labelling,
        metrics: &Metrics,
    ) -> Self {
        let name = |label: usize| labelling.labels.get(label).map(|(name, _)| name.clone()).unwrap_or_default();
        // An image that was fetched is gone; without one here the texts would not be read.
        record.fetched = Some(Fetched { image: Bytes::new(), slot: None });
        let post = decoder.read(record, metrics).ok().map(|(_, post)| post);
        let thumbnail = post.as_ref().and_then(|post| decoder.thumbnail(&post.image, SIDE));
        let effects = std::iter::once(None).chain(scored.prediction.effects.iter().copied());
        let weights = labelling.weighed().zip(&case.relevance).zip(effects.chain(std::iter::repeat(None)));
        let mut flags: Vec<String> = scored.flags.iter().map(ToString::to_string).collect();
        flags.sort();
        flags.dedup();
        Self {
            id: case.id.clone(),
            label: name(case.label),
            told: name(case.told),
            confidence: case.confidence,
            label_probability: case.probabilities.get(case.label).copied().unwrap_or_default(),
            weights: weights
                .map(|((name, weight), effect)| Source { name: name.to_owned(), weight: *weight, effect })
                .collect(),
            flags,
            texts: post.map(|post| texts(&post.metadata, &scored.prediction.inferred_tags)).unwrap_or_default(),
            alike: 0,
            thumbnail: thumbnail.filter(|jpeg| jpeg.len() <= THUMBNAIL_BYTES),
        }
    }
}

fn texts(metadata: &Metadata, inferred: &[String]) -> Vec<(&'static str, String)> {
    let objects: Vec<&str> = metadata.objects.iter().map(|object| object.label.as_str()).collect();
    let all = [
        ("caption", metadata.caption.clone()),
        ("tags", metadata.tags.join(", ")),
        ("scene", metadata.scene.clone()),
        ("objects", objects.join(", ")),
        ("place", metadata.place.clone()),
        ("taken_at", metadata.taken_at.clone()),
        ("seen by the tagger", inferred.join(", ")),
    ];
    all.into_iter().filter(|(_, text)| !text.trim().is_empty()).map(|(name, text)| (name, shortened(&text))).collect()
}

/// A text in one line of at most [`TEXT_CHARS`], without characters that would turn the reading direction of what follows.
fn shortened(text: &str) -> String {
    let mut short = one_line(&text.chars().take(TEXT_CHARS).collect::<String>());
    if text.chars().nth(TEXT_CHARS).is_some() {
        short.push('…');
    }
    short
}

/// The mistakes of the highest confidence, those first.
#[derive(Debug, Default)]
pub struct Worst {
    kept: Vec<(Case, Mistake)>,
}

impl Worst {
    /// Keeps the mistake if it is among the worst so far; only then is it made.
    pub fn consider(&mut self, case: &Case, make: impl FnOnce() -> Mistake) {
        let alike = self.kept.iter_mut().find(|(kept, _)| kept.label == case.label && kept.looks_like(case));
        if let Some((_, mistake)) = alike {
            mistake.alike += 1;
            return;
        }
        let place = self.kept.partition_point(|(kept, _)| kept.confidence >= case.confidence);
        if place < MOST {
            self.kept.insert(place, (case.clone(), make()));
            self.kept.truncate(MOST);
        }
    }

    /// The worst first.
    pub fn into_mistakes(self) -> Vec<Mistake> {
        self.kept.into_iter().map(|(_, mistake)| mistake).collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;
    use crate::message::{Trace, TracedText};

    /// A mistake of this confidence on a picture of its own.
    pub(in crate::evaluate) fn case(picture: u8, confidence: f32) -> Case {
        let text = TracedText { tokens: vec![u32::from(picture)], embedding: vec![f32::from(picture), 1.0] };
        Case {
            id: format!("post {picture}"),
            label: 0,
            told: 1,
            confidence,
            probabilities: vec![1.0 - confidence, confidence],
            relevance: vec![0.5, 0.5, 0.0],
            inferred: vec![false, true],
            truncated: false,
            trace: Trace { picture: [picture; 32], image: vec![f32::from(picture)], texts: vec![Some(text), None] },
        }
    }

    fn mistake(case: &Case) -> Mistake {
        Mistake {
            id: case.id.clone(),
            label: "a".into(),
            told: "b".into(),
            confidence: case.confidence,
            label_probability: 0.0,
            weights: vec![],
            flags: vec![],
            texts: vec![],
            alike: 0,
            thumbnail: None,
        }
    }

    #[test]
    fn a_mistake_made_again_on_the_same_post_is_counted_and_told_once() {
        let mut worst = Worst::default();
        for again in [case(1, 0.9), case(2, 0.8), case(1, 0.9), Case { label: 2, ..case(1, 0.9) }] {
            worst.consider(&again, || mistake(&again));
        }
        let told: Vec<_> = worst.into_mistakes().into_iter().map(|mistake| (mistake.id, mistake.alike)).collect();
        assert_eq!(told, [("post 1".into(), 1), ("post 1".into(), 0), ("post 2".to_owned(), 0)]);
    }

    #[test]
    fn a_text_is_cut_and_steers_nothing() {
        assert_eq!(shortened("a\u{202E}b\nc"), "a b c");
        assert_eq!(shortened(&"é".repeat(601)).chars().count(), 601);
        assert!(shortened(&"é".repeat(601)).ends_with('…') && !shortened(&"é".repeat(600)).ends_with('…'));
    }

    proptest! {
        #[test]
        fn the_worst_are_kept_and_few_are_made(confidences in prop::collection::vec(0.0f32..1.0, 0..200)) {
            let made = Cell::new(0);
            let mut worst = Worst::default();
            for (picture, confidence) in (0u8..).zip(&confidences) {
                let case = case(picture, *confidence);
                worst.consider(&case, || { made.set(made.get() + 1); mistake(&case) });
            }
            let mut expected = confidences.clone();
            expected.sort_by(|one, other| other.total_cmp(one));
            expected.truncate(MOST);
            let told: Vec<f32> = worst.into_mistakes().iter().map(|mistake| mistake.confidence).collect();
            prop_assert_eq!(told, expected);
            let surer = |place: usize, own: f32| confidences.iter().take(place).filter(|other| **other >= own).count();
            let needed = confidences.iter().enumerate().filter(|(place, own)| surer(*place, **own) < MOST).count();
            prop_assert_eq!(made.get(), needed, "none is made in vain");
        }
    }
}
