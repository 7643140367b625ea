//! Made-up results, put where a worker would have put them: three days of posts about a coffee house, in which one of its
//! sources turns sour for some hours over its service, and recovers after an apology.

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::photos::TestPost;

/// Hours before now at which it turns sour, recovers, and another bundle takes over.
pub const SOUR_HOURS: (i64, i64) = (32, 20);
const NEW_BUNDLE_HOURS: i64 = 50;
pub const SOUR_SOURCE: &str = "instagram/acme";
pub const SOUR_TAG: &str = "terribleservice";

/// A result like those of the default bundle, keyed by its id.
pub fn result(id: &str, offset: usize, at: Timestamp, polarity: f64, more: &Value) -> TestPost {
    let label = if polarity <= -1.0 / 3.0 {
        "negative"
    } else if polarity < 1.0 / 3.0 {
        "neutral"
    } else {
        "positive"
    };
    let strength = polarity.abs();
    let neutral = (1.0 - strength) * 0.5;
    let (with, against) = ((1.0 - neutral) * (0.5 + strength / 2.0), (1.0 - neutral) * (0.5 - strength / 2.0));
    let (negative, positive) = if polarity < 0.0 { (with, against) } else { (against, with) };
    let mut result = json!({
        "schema": 1, "result_id": id, "id": id, "published_at": at, "scored_at": at + SignedDuration::from_secs(2),
        "sentiment": {"label": label, "polarity": polarity, "confidence": with.max(neutral),
                      "probabilities": {"negative": negative, "neutral": neutral, "positive": positive}},
        "relevance": {"image": 0.3, "caption": 0.4, "tags": 0.2, "context": 0.1},
        "effects": {"caption": 0.3, "tags": 0.12, "context": 0.02}, "tags": [], "flags": [],
        "model": {"bundle": "default", "version": "0.2.0", "digest": "b5475bc1"},
        "origin": {"topic": "posts", "partition": 0, "offset": offset},
    });
    let (Value::Object(fields), Value::Object(more)) = (&mut result, more) else { unreachable!("objects") };
    fields.extend(more.clone());
    TestPost::raw(id, result.to_string().as_bytes())
}

/// The whole story up to now, oldest first. It begins a little less than three days ago: what is shown of three days begins
/// with a whole step, and goes on while a test looks at it.
pub fn told(now: Timestamp) -> Vec<TestPost> {
    let mut random = Rng::with_seed(7);
    let mut story = Vec::new();
    let mut minutes = 71 * 60;
    while minutes > 0 {
        let at = now - SignedDuration::from_mins(minutes) - SignedDuration::from_secs(random.i64(0..60));
        story.push(post(&mut random, story.len(), at, minutes));
        // Fewer at night, which is the same hours before now whenever it is told: what a test looks at never falls into it by the clock.
        minutes -= if minutes / 60 % 24 < 6 { random.i64(2..9) } else { random.i64(1..3) };
    }
    story
}

fn post(random: &mut Rng, number: usize, at: Timestamp, minutes_ago: i64) -> TestPost {
    let sources =
        [Some(SOUR_SOURCE), Some(SOUR_SOURCE), Some(SOUR_SOURCE), Some("tiktok/acme"), Some("forum/coffee"), None];
    let source = sources[random.usize(..sources.len())];
    let (from, to) = SOUR_HOURS;
    let is_sour = (to * 60..from * 60).contains(&minutes_ago) && (source == Some(SOUR_SOURCE) || random.u8(..4) == 0);
    let recovered = (to * 60 - 240..to * 60).contains(&minutes_ago);
    let mean = if is_sour { -0.52 } else { 0.47 };
    let polarity = (mean + (random.f64() + random.f64() - 1.0) * 0.62).clamp(-0.97, 0.97);
    let pick = |random: &mut Rng, words: &[&'static str]| words[random.usize(..words.len())];
    let mut tags = if polarity < 0.0 {
        vec![pick(random, &["waiting", "cold", "queue", "refund", "bitter"])]
    } else {
        vec![
            pick(random, &["latteart", "espresso", "morning", "cosy", "cake"]),
            pick(random, &["coffee", "friends", "weekend", "breakfast"]),
        ]
    };
    if is_sour && random.u8(..10) < 7 {
        tags.insert(0, SOUR_TAG);
    }
    if recovered && random.u8(..10) < 3 {
        tags.push("sorry");
    }
    let has_tags = random.u8(..10) < 8;
    let noise = random.f64() * 0.06;
    let relevance = match (is_sour, has_tags) {
        (true, true) => json!({"image": 0.16 + noise, "caption": 0.44 - noise, "tags": 0.32, "context": 0.08}),
        (true, false) => json!({"image": 0.24 + noise, "caption": 0.64 - noise, "tags": 0.0, "context": 0.12}),
        (false, true) => json!({"image": 0.33 + noise, "caption": 0.38 - noise, "tags": 0.18, "context": 0.11}),
        (false, false) => json!({"image": 0.45 + noise, "caption": 0.41 - noise, "tags": 0.0, "context": 0.14}),
    };
    let mut flags: Vec<&str> = if has_tags { vec![] } else { vec!["tags_missing"] };
    if random.u8(..10) < 1 {
        flags.push("caption_missing");
    }
    let version = if minutes_ago > NEW_BUNDLE_HOURS * 60 { "0.1.0" } else { "0.2.0" };
    let more = json!({
        "source": source, "relevance": relevance, "tags": if has_tags { tags } else { vec![] }, "flags": flags,
        "model": {"bundle": "default", "version": version, "digest": if version == "0.1.0" { "7d1f20c4" } else { "b5475bc1" }},
    });
    result(&format!("post-{number}"), number, at, polarity, &more)
}
