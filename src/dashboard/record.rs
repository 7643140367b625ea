//! What a record of the results topic or the dead-letter topic says. Whoever can write to a topic writes these: everything
//! has a limit here, and what is beyond is cut (tags, flags, a source's name) or makes the record `not_a_result`.

use std::collections::HashSet;

use jiff::Timestamp;
use serde::Deserialize;

use crate::message::{Header, Origin, header, replayed_origin};

/// A result takes a few kilobytes; what is larger is not looked into.
const MOST_BYTES: usize = 256 * 1024;
const MOST_ID_BYTES: usize = 1024;
const MOST_NAME_CHARS: usize = 256;
/// Of a label, a field, a tag, a flag, a reason.
const MOST_WORD_CHARS: usize = 64;
/// Labels of one result, and fields.
const MOST_WEIGHTS: usize = 64;
const MOST_TAGS: usize = 16;
const MOST_FLAGS: usize = 64;
const DAY_MS: i64 = 86_400_000;
/// One is kept in so many parts: sums of integers are exact.
pub const MILLION: f64 = 1e6;

/// Name and millionths.
pub type Weight = (String, i64);

/// A result, checked and within the limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scored {
    /// Where its post stood.
    pub origin: Origin,
    /// The post's id.
    pub id: String,
    /// What a tombstone would name it by: a hash of the record's key.
    pub key: Option<i64>,
    /// Empty where the post has none.
    pub source: String,
    /// When it was published, milliseconds since 1970.
    pub at: i64,
    /// When it was scored, milliseconds since 1970.
    pub scored_at: i64,
    /// Label of the highest probability.
    pub label: String,
    /// Millionths.
    pub polarity: i64,
    /// Millionths.
    pub confidence: i64,
    /// By label.
    pub probabilities: Vec<Weight>,
    /// By field.
    pub relevance: Vec<Weight>,
    /// By field.
    pub effects: Vec<Weight>,
    /// Each once.
    pub tags: Vec<String>,
    /// Remarks.
    pub flags: Vec<String>,
    /// What scored it: name, version, digest.
    pub bundle: [String; 3],
}

/// A dead letter as it is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Where its record stood; of a letter that does not say so, where the letter itself stands.
    pub origin: Origin,
    /// Hash of its record's key; 0 without one.
    pub key: i64,
    /// Stable code.
    pub reason: String,
    /// Milliseconds since 1970.
    pub at: i64,
}

/// What a record comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A result.
    Scored(Box<Scored>),
    /// A tombstone: whatever has this key goes.
    Erased(i64),
    /// A dead letter.
    Letter(Letter),
    /// Counted, and nothing else.
    NotAResult,
}

#[derive(Deserialize)]
struct Wire {
    schema: u32,
    id: String,
    #[serde(default)]
    source: Option<String>,
    #[serde(default)]
    published_at: Option<Timestamp>,
    scored_at: Timestamp,
    sentiment: Sentiment,
    #[serde(default)]
    relevance: Weights,
    #[serde(default)]
    effects: Option<Weights>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    flags: Vec<String>,
    model: Model,
    origin: WireOrigin,
}

/// Weights in the order of the record, which is the bundle's.
type Weights = serde_json::Map<String, serde_json::Value>;

#[derive(Deserialize)]
struct Sentiment {
    label: String,
    polarity: f64,
    confidence: f64,
    #[serde(default)]
    probabilities: Weights,
}

#[derive(Deserialize)]
struct Model {
    bundle: String,
    version: String,
    digest: String,
}

#[derive(Deserialize)]
struct WireOrigin {
    topic: String,
    partition: i32,
    offset: i64,
}

/// What a record of the results topic says; `timestamp` is the record's own, `now` the clock, in milliseconds.
#[must_use]
pub fn result(key: Option<&[u8]>, value: Option<&[u8]>, timestamp: Option<i64>, now: i64) -> Entry {
    let key = key.map(key_hash);
    match (value, key) {
        (Some(value), key) => {
            scored(key, value, timestamp, now).map_or(Entry::NotAResult, |scored| Entry::Scored(Box::new(scored)))
        }
        (None, Some(key)) => Entry::Erased(key),
        // It names nothing.
        (None, None) => Entry::NotAResult,
    }
}

/// What the headers of a dead letter say; `place` is where it stands.
#[must_use]
pub fn letter(key: Option<&[u8]>, headers: &[Header], timestamp: Option<i64>, place: Origin, now: i64) -> Entry {
    let text = |key| header(headers, key).and_then(|value| str::from_utf8(value).ok());
    let told = text("dlq.at").and_then(|at| at.parse::<Timestamp>().ok()).map(Timestamp::as_millisecond);
    let at = told.or(timestamp).unwrap_or(now);
    match text("dlq.reason").filter(|reason| is_word(reason)) {
        Some(reason) if (0..=now.saturating_add(DAY_MS)).contains(&at) => {
            let origin = replayed_origin(headers).unwrap_or(place);
            Entry::Letter(Letter { origin, key: key.map_or(0, key_hash), reason: reason.to_owned(), at })
        }
        _ => Entry::NotAResult,
    }
}

/// What a key is kept as.
#[must_use]
pub fn key_hash(key: &[u8]) -> i64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(blake3::hash(key).as_bytes().first_chunk::<8>().unwrap_or(&[0; 8]));
    i64::from_le_bytes(bytes)
}

fn scored(key: Option<i64>, value: &[u8], timestamp: Option<i64>, now: i64) -> Option<Scored> {
    if value.len() > MOST_BYTES {
        return None;
    }
    let wire: Wire = serde_json::from_slice(value).ok()?;
    let origin = origin(wire.origin)?;
    let scored_at = wire.scored_at.as_millisecond();
    let believed = scored_at >= 0 && scored_at <= now.saturating_add(DAY_MS);
    if wire.schema != 1 || !believed || !(1..=MOST_ID_BYTES).contains(&wire.id.len()) || !is_word(&wire.sentiment.label)
    {
        return None;
    }
    let at = wire.published_at.map(Timestamp::as_millisecond).or(timestamp).unwrap_or(scored_at);
    let Model { bundle, version, digest } = wire.model;
    Some(Scored {
        origin,
        id: wire.id,
        key,
        source: cut(wire.source.unwrap_or_default(), MOST_NAME_CHARS),
        at: if at > scored_at.saturating_add(DAY_MS) { scored_at } else { at },
        scored_at,
        label: wire.sentiment.label,
        polarity: millionths(wire.sentiment.polarity, -1.0)?,
        confidence: millionths(wire.sentiment.confidence, 0.0)?,
        probabilities: weights(&wire.sentiment.probabilities, 0.0)?,
        relevance: weights(&wire.relevance, 0.0)?,
        effects: weights(&wire.effects.unwrap_or_default(), -1.0)?,
        tags: words(wire.tags, MOST_TAGS),
        flags: words(wire.flags, MOST_FLAGS),
        bundle: [bundle, version, digest].map(|text| cut(text, MOST_NAME_CHARS)),
    })
}

fn origin(wire: WireOrigin) -> Option<Origin> {
    let WireOrigin { topic, partition, offset } = wire;
    let named = (1..=MOST_NAME_CHARS).contains(&topic.len());
    (named && partition >= 0 && offset >= 0).then(|| Origin { topic: topic.into(), partition, offset })
}

/// A number within [least, 1]; a little beyond is what rounding does.
fn millionths(number: f64, least: f64) -> Option<i64> {
    const SLACK: f64 = 1e-3;
    let within = number >= least - SLACK && number <= 1.0 + SLACK;
    #[expect(clippy::cast_possible_truncation, reason = "within a million")]
    let millionths = (number.clamp(least, 1.0) * MILLION).round() as i64;
    within.then_some(millionths)
}

fn weights(map: &Weights, least: f64) -> Option<Vec<Weight>> {
    if map.len() > MOST_WEIGHTS {
        return None;
    }
    map.iter()
        .map(|(name, weight)| Some((is_word(name).then(|| name.clone())?, millionths(weight.as_f64()?, least)?)))
        .collect()
}

fn is_word(word: &str) -> bool {
    !word.is_empty() && word.chars().count() <= MOST_WORD_CHARS
}

/// Each once, as many as are kept.
fn words(words: Vec<String>, most: usize) -> Vec<String> {
    let mut seen = HashSet::new();
    let cut = words.into_iter().filter(|word| !word.is_empty()).map(|word| cut(word, MOST_WORD_CHARS));
    cut.filter(|word| seen.insert(word.clone())).take(most).collect()
}

fn cut(text: String, most_chars: usize) -> String {
    match text.char_indices().nth(most_chars) {
        Some((end, _)) => text.get(..end).unwrap_or_default().to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::{Value, json};

    use super::*;

    const NOW: i64 = 1_763_683_200_000;

    fn wire() -> Value {
        json!({
            "schema": 1, "result_id": "r", "id": "p1", "source": "feed", "published_at": "2025-11-20T10:00:00.5Z",
            "scored_at": "2025-11-20T11:00:00Z",
            "sentiment": {"label": "negative", "polarity": -0.64, "confidence": 0.78,
                          "probabilities": {"negative": 0.78, "positive": 0.22}},
            "relevance": {"image": 0.25, "caption": 0.75}, "effects": {"caption": -0.5},
            "tags": ["a", "b", "a", ""], "flags": ["tags_missing"],
            "model": {"bundle": "default", "version": "0.2.0", "digest": "d"},
            "origin": {"topic": "posts", "partition": 3, "offset": 7}, "of_a_later_version": [1]
        })
    }

    fn read(wire: &Value) -> Option<Scored> {
        match result(Some(b"p1"), Some(wire.to_string().as_bytes()), Some(NOW), NOW) {
            Entry::Scored(scored) => Some(*scored),
            _ => None,
        }
    }

    fn with(pointer: &str, value: Value) -> Value {
        let mut wire = wire();
        *wire.pointer_mut(pointer).expect("a field") = value;
        wire
    }

    #[test]
    fn a_result_is_read_in_integers() {
        let scored = read(&wire()).expect("a result");
        assert_eq!((scored.polarity, scored.confidence), (-640_000, 780_000));
        assert_eq!(scored.relevance, [("image".to_owned(), 250_000), ("caption".to_owned(), 750_000)]);
        assert_eq!(
            (scored.effects[0].1, scored.tags, scored.key),
            (-500_000, vec!["a".into(), "b".into()], Some(key_hash(b"p1")))
        );
        assert_eq!((scored.at, scored.scored_at), (1_763_632_800_500, 1_763_636_400_000));
    }

    #[test]
    fn time_is_the_posts_else_the_records_and_never_far_ahead_of_the_scoring() {
        assert_eq!(read(&with("/published_at", Value::Null)).expect("a result").at, NOW);
        let ahead = read(&with("/published_at", json!("2025-11-21T11:00:01Z"))).expect("a result");
        assert_eq!(ahead.at, ahead.scored_at);
        let day = read(&with("/published_at", json!("2025-11-21T11:00:00Z"))).expect("a result");
        assert_eq!(day.at, day.scored_at + DAY_MS);
    }

    #[test]
    fn what_is_no_result_is_told_apart_and_nothing_panics() {
        let deep = "[".repeat(100_000);
        let large = format!("{{\"id\": \"{}\"}}", "x".repeat(MOST_BYTES));
        for value in [&b""[..], b"null", b"[]", b"{}", b"\xff\xfe", deep.as_bytes(), large.as_bytes()] {
            assert_eq!(result(None, Some(value), None, NOW), Entry::NotAResult);
        }
        let many: serde_json::Map<_, _> = (0..65).map(|number| (number.to_string(), json!(0.1))).collect();
        for (pointer, value) in [
            ("/schema", json!(2)),
            ("/id", json!("")),
            ("/id", json!("x".repeat(1025))),
            ("/sentiment/label", json!("")),
            ("/sentiment/label", json!("l".repeat(65))),
            ("/sentiment/polarity", json!(1.1)),
            ("/sentiment/polarity", json!("0")),
            ("/sentiment/confidence", json!(1e300)),
            ("/sentiment/probabilities", json!({"negative": "x"})),
            ("/relevance", json!(many)),
            ("/relevance", json!({"image": -1})),
            ("/tags", json!({})),
            ("/origin/offset", json!(-1)),
            ("/origin/partition", json!(1e10)),
            ("/origin/topic", json!("")),
            ("/scored_at", json!("9999-01-01T00:00:00Z")),
            ("/scored_at", json!("noon")),
        ] {
            assert_eq!(read(&with(pointer, value.clone())), None, "{pointer} {value}");
        }
    }

    #[test]
    fn what_is_long_is_cut() {
        let tags: Vec<_> = (0..100).map(|number| format!("{number}{}", "\u{e9}".repeat(100))).collect();
        let scored = read(&with("/tags", json!(tags))).expect("a result");
        assert_eq!((scored.tags.len(), scored.tags[0].chars().count()), (16, 64));
        let scored = read(&with("/source", json!("\u{e9}".repeat(300)))).expect("a result");
        assert_eq!(scored.source.chars().count(), 256);
    }

    #[test]
    fn a_tombstone_erases_by_its_key_and_without_one_names_nothing() {
        assert_eq!(result(Some(b"k"), None, None, NOW), Entry::Erased(key_hash(b"k")));
        assert_eq!(result(None, None, None, NOW), Entry::NotAResult);
    }

    #[test]
    fn a_letter_stands_for_the_record_it_names_else_for_itself() {
        let header = |key: &str, value: &'static str| Header {
            key: key.into(),
            value: Some(Bytes::from_static(value.as_bytes())),
        };
        let place = || Origin { topic: "dead".into(), partition: 0, offset: 5 };
        let told = [
            header("dlq.reason", "not_json"),
            header("dlq.origin", "posts/0/7"),
            header("dlq.at", "2025-11-20T10:00:00Z"),
        ];
        let Entry::Letter(letter_of_a_record) = letter(None, &told, None, place(), NOW) else { panic!("a letter") };
        assert_eq!(
            (letter_of_a_record.origin.to_string().as_str(), letter_of_a_record.at),
            ("posts/0/7", 1_763_632_800_000)
        );
        let Entry::Letter(bare) = letter(None, &told[..1], Some(NOW), place(), NOW) else { panic!("a letter") };
        assert_eq!((bare.origin, bare.at), (place(), NOW));
        assert_eq!(letter(None, &[], None, place(), NOW), Entry::NotAResult);
    }
}
