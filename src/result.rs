//! What is published of a scored post: the JSON of the output topic, schema 1. The same for the stream and for `score`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use sha2::{Digest, Sha256};

use crate::message::{Origin, Scored};

/// What of the bundle every result tells or needs.
#[derive(Debug, Clone)]
pub struct Labelling {
    /// Bundle name.
    pub bundle: String,
    /// Bundle version.
    pub version: String,
    /// SHA-256 of its manifest, hex.
    pub digest: String,
    /// Labels with their polarity, in the order of the probabilities.
    pub labels: Vec<(String, f64)>,
    /// Field names, in the order of the relevance weights.
    pub fields: Vec<String>,
}

/// A result as it travels.
#[derive(Debug, Serialize)]
pub struct SentimentResult<'a> {
    schema: u32,
    /// SHA-256 over the bundle's digest and the origin, the first 32 hex digits: the same post scored again by the same
    /// bundle has the same one, so that consumers can deduplicate.
    pub result_id: String,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    published_at: Option<Timestamp>,
    scored_at: Timestamp,
    sentiment: Sentiment<'a>,
    relevance: Pairs<'a, f32>,
    /// Left out where `model.effects` is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    effects: Option<Pairs<'a, f32>>,
    tags: &'a [String],
    flags: Vec<String>,
    model: ModelName<'a>,
    origin: OriginJson<'a>,
}

#[derive(Debug, Serialize)]
struct Sentiment<'a> {
    label: &'a str,
    polarity: f64,
    confidence: f32,
    probabilities: Pairs<'a, f32>,
}

#[derive(Debug, Serialize)]
struct ModelName<'a> {
    bundle: &'a str,
    version: &'a str,
    digest: &'a str,
}

#[derive(Debug, Serialize)]
struct OriginJson<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
}

/// A JSON object that keeps the bundle's order.
#[derive(Debug)]
struct Pairs<'a, V>(Vec<(&'a str, V)>);

impl<V: Serialize> Serialize for Pairs<'_, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl Labelling {
    /// The result of a scored post.
    pub fn result<'a>(&'a self, scored: &'a Scored, origin: &'a Origin, scored_at: Timestamp) -> SentimentResult<'a> {
        let prediction = &scored.prediction;
        let mut flags: Vec<_> = scored.flags.clone();
        flags.sort();
        flags.dedup();
        SentimentResult {
            schema: 1,
            result_id: result_id(&self.digest, origin),
            id: &scored.facts.id,
            source: scored.facts.source.as_deref(),
            published_at: scored.facts.published_at,
            scored_at,
            sentiment: self.sentiment(&prediction.probabilities),
            relevance: Pairs(self.weighed().zip(prediction.relevance.iter().copied()).collect()),
            effects: self.effects(&prediction.effects),
            tags: &scored.facts.tags,
            flags: flags.iter().map(ToString::to_string).collect(),
            model: ModelName { bundle: &self.bundle, version: &self.version, digest: &self.digest },
            origin: OriginJson { topic: &origin.topic, partition: origin.partition, offset: origin.offset },
        }
    }

    /// The label of the highest probability, and the polarity: the mean of the labels' polarities, weighed by probability.
    pub fn reading(&self, probabilities: &[f32]) -> (&str, f64, f32) {
        let polarity = self.labels.iter().zip(probabilities).map(|((_, polarity), p)| polarity * f64::from(*p)).sum();
        let (best, confidence) = best(probabilities);
        self.labels.get(best).map_or(("", polarity, 0.0), |(label, _)| (label.as_str(), polarity, confidence))
    }

    fn sentiment(&self, probabilities: &[f32]) -> Sentiment<'_> {
        let (label, polarity, confidence) = self.reading(probabilities);
        let names = self.labels.iter().map(|(label, _)| label.as_str());
        Sentiment {
            label,
            polarity,
            confidence,
            probabilities: Pairs(names.zip(probabilities.iter().copied()).collect()),
        }
    }

    /// Of each field present; `None` where effects are not told.
    fn effects(&self, effects: &[Option<f32>]) -> Option<Pairs<'_, f32>> {
        let told = self.fields.iter().zip(effects).filter_map(|(field, effect)| Some((field.as_str(), (*effect)?)));
        (!effects.is_empty()).then(|| Pairs(told.collect()))
    }

    /// What has a weight: the image, then the fields.
    pub fn weighed(&self) -> impl Iterator<Item = &str> {
        std::iter::once("image").chain(self.fields.iter().map(String::as_str))
    }
}

/// The place of the highest probability, and that probability.
pub fn best(probabilities: &[f32]) -> (usize, f32) {
    let highest = probabilities.iter().copied().enumerate().max_by(|(_, one), (_, other)| one.total_cmp(other));
    highest.unwrap_or_default()
}

/// See [`SentimentResult::result_id`].
pub fn result_id(digest: &str, origin: &Origin) -> String {
    let mut hex = hex::encode(Sha256::digest(format!("{digest}\n{origin}")));
    hex.truncate(32);
    hex
}

/// The headers of a dead letter besides the record's own, by name (see `docs/messages.md`).
pub fn dead_letter_headers(
    refusal: &crate::error::Refusal,
    stage: crate::error::Stage,
    origin: &Origin,
    attempts: u32,
    at: Timestamp,
) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("dlq.reason", refusal.reason.as_str().to_owned()),
        ("dlq.detail", refusal.detail.clone()),
        ("dlq.stage", stage.as_str().to_owned()),
        ("dlq.origin", origin.to_string()),
        ("dlq.at", at.to_string()),
        ("dlq.attempts", attempts.to_string()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Facts, Flag, Prediction};

    fn labelling() -> Labelling {
        Labelling {
            bundle: "b".into(),
            version: "1".into(),
            digest: "d".into(),
            labels: vec![("negative".into(), -1.0), ("neutral".into(), 0.0), ("positive".into(), 1.0)],
            fields: vec!["caption".into(), "tags".into()],
        }
    }

    fn scored() -> Scored {
        Scored {
            facts: Facts { id: "p1".into(), source: None, published_at: None, tags: vec!["dog".into()] },
            prediction: Prediction {
                probabilities: vec![0.25, 0.25, 0.5],
                relevance: vec![0.75, 0.25, 0.0],
                effects: vec![Some(0.125), None],
                inferred: vec![false, false],
                inferred_tags: vec![],
                trace: None,
            },
            flags: vec![Flag::TextTruncated, Flag::Missing("tags".into()), Flag::TextTruncated],
        }
    }

    fn origin(offset: i64) -> Origin {
        Origin { topic: "posts".into(), partition: 3, offset }
    }

    #[test]
    fn a_result_travels_in_the_documented_shape() {
        let (labelling, scored, origin) = (labelling(), scored(), origin(7));
        let json = serde_json::to_string(&labelling.result(&scored, &origin, Timestamp::UNIX_EPOCH)).expect("json");
        let expected = concat!(
            r#"{"schema":1,"result_id":"RID","id":"p1","scored_at":"1970-01-01T00:00:00Z","#,
            r#""sentiment":{"label":"positive","polarity":0.25,"confidence":0.5,"probabilities":{"negative":0.25,"neutral":0.25,"positive":0.5}},"#,
            r#""relevance":{"image":0.75,"caption":0.25,"tags":0.0},"effects":{"caption":0.125},"tags":["dog"],"#,
            r#""flags":["tags_missing","text_truncated"],"model":{"bundle":"b","version":"1","digest":"d"},"#,
            r#""origin":{"topic":"posts","partition":3,"offset":7}}"#
        );
        assert_eq!(json, expected.replace("RID", &result_id("d", &origin)));
    }

    #[test]
    fn effects_that_are_not_told_are_left_out_and_those_of_no_field_are_empty() {
        let (labelling, mut scored, origin) = (labelling(), scored(), origin(7));
        let mut told = |effects: &[Option<f32>]| {
            scored.prediction.effects = effects.to_vec();
            let result = serde_json::to_value(labelling.result(&scored, &origin, Timestamp::UNIX_EPOCH)).expect("json");
            result.get("effects").cloned()
        };
        assert_eq!(told(&[]), None);
        assert_eq!(told(&[None, None]), Some(serde_json::json!({})));
    }

    #[test]
    fn result_ids_are_stable_and_tell_origins_and_bundles_apart() {
        assert_eq!(result_id("d", &origin(1)), result_id("d", &origin(1)));
        assert_ne!(result_id("d", &origin(1)), result_id("d", &origin(2)));
        assert_ne!(result_id("d", &origin(1)), result_id("e", &origin(1)));
        assert_eq!(result_id("d", &origin(1)).len(), 32);
    }
}
