//! From a post's metadata to the text of each field, exactly as `docs/bundle.md` says under *Preprocessing*. Pure.
//!
//! What the format leaves open is settled here: a value of white space alone is empty; hashtags are told apart by their
//! lower-case form and objects by their exact label, the first one stays; a value is put into a template as it is, so a
//! caption that holds `{scene}` stays that text.

use std::collections::HashSet;
use std::sync::LazyLock;

use regex::Regex;

use crate::message::Metadata;

const MIN_OBJECT_SCORE: f64 = 0.4;
/// Tags that travel to the result, and characters of each.
const MAX_TAGS: usize = 16;
const MAX_TAG_CHARS: usize = 64;

static LINK: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)(?:https?://|www\.)\S+"));
static MENTION: LazyLock<Regex> = LazyLock::new(|| pattern(r"@[\p{L}\p{N}_]+"));
static HASHTAG: LazyLock<Regex> = LazyLock::new(|| pattern(r"#([\p{L}\p{N}_]+)"));
/// Where a space goes into a hashtag, in the order they are applied.
static WORD_BORDERS: LazyLock<[Regex; 4]> = LazyLock::new(|| {
    [r"(\p{Ll})(\p{Lu})", r"(\p{Lu})(\p{Lu}\p{Ll})", r"(\p{L})(\p{N})", r"(\p{N})(\p{L})"].map(pattern)
});

#[expect(clippy::expect_used, reason = "patterns are literals of this file, and the tests use them all")]
fn pattern(pattern: &str) -> Regex {
    Regex::new(pattern).expect("valid pattern")
}

/// The values a template may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Caption,
    Hashtags,
    Scene,
    Objects,
    Place,
    TakenAt,
}

impl Name {
    const ALL: [(&'static str, Self); 6] = [
        ("caption", Self::Caption),
        ("hashtags", Self::Hashtags),
        ("scene", Self::Scene),
        ("objects", Self::Objects),
        ("place", Self::Place),
        ("taken_at", Self::TakenAt),
    ];

    fn parse(name: &str) -> Result<Self, String> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, found)| *found).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|(known, _)| *known).collect();
            format!("{{{name}}} names no value; the values are {}", known.join(", "))
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Value(Name),
}

/// One part of a field: a text with values named in braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(Vec<Piece>);

impl Template {
    /// Parses `the scene is {scene}`.
    ///
    /// # Errors
    /// With a value that does not exist, or a brace without its other half.
    pub(super) fn parse(template: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = template;
        while let Some((literal, opened)) = rest.split_once('{') {
            let (name, after) = opened.split_once('}').ok_or("a `{` is never closed")?;
            pieces.extend([Piece::Literal(literal.to_owned()), Piece::Value(Name::parse(name)?)]);
            rest = after;
        }
        pieces.push(Piece::Literal(rest.to_owned()));
        let closed_twice = |piece: &Piece| matches!(piece, Piece::Literal(text) if text.contains('}'));
        if pieces.iter().any(closed_twice) {
            return Err("a `}` closes nothing".to_owned());
        }
        Ok(Self(pieces))
    }

    /// The part's text; `None` where a value it names is empty.
    fn fill(&self, values: &Values) -> Option<String> {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Literal(literal) => text.push_str(literal),
                Piece::Value(name) => {
                    let value = values.get(*name);
                    if value.is_empty() {
                        return None;
                    }
                    text.push_str(value);
                }
            }
        }
        Some(text)
    }
}

/// The values made of one post's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Values {
    caption: String,
    hashtags: String,
    scene: String,
    objects: String,
    place: String,
    taken_at: String,
    tags: Vec<String>,
}

impl Values {
    pub(super) fn new(metadata: &Metadata) -> Self {
        let (caption, found) = split_caption(&metadata.caption);
        let given = metadata.tags.iter().map(|tag| {
            let tag = collapse(tag);
            tag.strip_prefix('#').map_or_else(|| tag.clone(), str::to_owned)
        });
        let hashtags = deduplicate(found.into_iter().chain(given).map(|tag| split_hashtag(&tag)), str::to_lowercase);
        let objects = object_labels(metadata);
        Self {
            caption,
            hashtags: hashtags.join(", "),
            scene: collapse(&metadata.scene.replace('_', " ")),
            objects: objects.join(", "),
            place: metadata.place.trim().to_owned(),
            taken_at: metadata.taken_at.trim().to_owned(),
            tags: told_tags(hashtags, objects),
        }
    }

    /// The post's own hashtags, then its objects, as they travel to the result.
    pub(super) fn into_tags(self) -> Vec<String> {
        self.tags
    }

    /// The text of a field with these parts; `None` is an absent field.
    pub(super) fn field(&self, parts: &[Template]) -> Option<String> {
        let used: Vec<String> = parts.iter().filter_map(|part| part.fill(self)).collect();
        (!used.is_empty()).then(|| used.join(", "))
    }

    fn get(&self, name: Name) -> &str {
        match name {
            Name::Caption => &self.caption,
            Name::Hashtags => &self.hashtags,
            Name::Scene => &self.scene,
            Name::Objects => &self.objects,
            Name::Place => &self.place,
            Name::TakenAt => &self.taken_at,
        }
    }
}

/// The caption without links, mentions and hashtags, and the hashtags as written, without `#`.
fn split_caption(caption: &str) -> (String, Vec<String>) {
    let without_links = LINK.replace_all(caption, " ");
    let text = MENTION.replace_all(&without_links, " ");
    let hashtags = HASHTAG.captures_iter(&text).filter_map(|found| found.get(1)).map(|tag| tag.as_str().to_owned());
    (collapse(&HASHTAG.replace_all(&text, " ")), hashtags.collect())
}

/// `NYCMarathon2026` becomes `NYC Marathon 2026`.
fn split_hashtag(tag: &str) -> String {
    let spaced = tag.replace('_', " ");
    collapse(&WORD_BORDERS.iter().fold(spaced, |words, border| border.replace_all(&words, "$1 $2").into_owned()))
}

/// Labels by descending score, ties as they came.
fn object_labels(metadata: &Metadata) -> Vec<String> {
    let mut kept: Vec<_> = metadata.objects.iter().filter(|object| object.score >= MIN_OBJECT_SCORE).collect();
    kept.sort_by(|one, other| other.score.total_cmp(&one.score));
    deduplicate(kept.iter().map(|object| collapse(&object.label.replace('_', " "))), str::to_owned)
}

fn told_tags(hashtags: Vec<String>, objects: Vec<String>) -> Vec<String> {
    let cut = |tag: String| tag.chars().take(MAX_TAG_CHARS).collect::<String>();
    let mut tags = deduplicate(hashtags.into_iter().chain(objects).map(cut), str::to_lowercase);
    tags.truncate(MAX_TAGS);
    tags
}

/// The first of the values that share a key, and no empty ones.
fn deduplicate(values: impl Iterator<Item = String>, key: impl Fn(&str) -> String) -> Vec<String> {
    let mut seen = HashSet::new();
    values.filter(|value| !value.is_empty() && seen.insert(key(value))).collect()
}

fn collapse(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::Object;

    fn object(label: &str, score: f64) -> Object {
        Object { label: label.to_owned(), score }
    }

    fn captioned(caption: &str) -> Values {
        Values::new(&Metadata { caption: caption.to_owned(), ..Metadata::default() })
    }

    #[test]
    fn a_caption_loses_links_mentions_and_hashtags() {
        let values =
            captioned("  Great day\u{3000}at HTTPS://t.co/x?y#z www.a.b\twith @anna_1! #NYCMarathon2026 #süß_heit ");
        assert_eq!(values.caption, "Great day at with !");
        assert_eq!(values.hashtags, "NYC Marathon 2026, süß heit");
    }

    #[test]
    fn hashtags_split_into_words() {
        for (tag, words) in [
            ("NYCMarathon2026", "NYC Marathon 2026"),
            ("throwbackThursday", "throwback Thursday"),
            ("4thOfJuly", "4 th Of July"),
            ("__a__b__", "a b"),
            ("ABC", "ABC"),
            ("日本2026", "日本 2026"),
            ("a1b2", "a 1 b 2"),
        ] {
            assert_eq!(split_hashtag(tag), words);
        }
    }

    #[test]
    fn hashtags_of_the_caption_come_first_and_once() {
        let metadata = Metadata {
            caption: "x #Summer #beachDay".to_owned(),
            tags: ["#summer", "beach day", " # ", "Friends", "#two words", "##x"].map(str::to_owned).to_vec(),
            ..Metadata::default()
        };
        assert_eq!(Values::new(&metadata).hashtags, "Summer, beach Day, Friends, two words, #x");
    }

    #[test]
    fn objects_are_sorted_by_score_and_the_weak_dropped() {
        let objects = [("dog", 0.5), ("fire_truck", 0.9), ("cat", 0.39), ("dog", 1.0), ("hat", 0.5), ("cap", 0.4)];
        let objects = objects.map(|(label, score)| object(label, score)).to_vec();
        let metadata = Metadata { objects, scene: " beach_house ".to_owned(), ..Metadata::default() };
        let values = Values::new(&metadata);
        assert_eq!(values.objects, "dog, fire truck, hat, cap");
        assert_eq!(values.scene, "beach house");
    }

    #[test]
    fn a_score_that_is_no_number_is_dropped() {
        let objects = vec![object("a", f64::NAN), object("b", f64::INFINITY), object("c", f64::NEG_INFINITY)];
        assert_eq!(Values::new(&Metadata { objects, ..Metadata::default() }).objects, "b");
    }

    #[test]
    fn a_part_is_used_only_when_all_it_names_is_there() {
        let parts: Vec<_> = ["scene {scene} at {place}", "objects: {objects}"]
            .iter()
            .map(|part| Template::parse(part).expect("valid"))
            .collect();
        let mut metadata = Metadata { scene: "beach".to_owned(), ..Metadata::default() };
        assert_eq!(Values::new(&metadata).field(&parts), None);
        metadata.objects = vec![object("{place}", 1.0)];
        assert_eq!(Values::new(&metadata).field(&parts).as_deref(), Some("objects: {place}"));
        metadata.place = "Lisbon".to_owned();
        assert_eq!(Values::new(&metadata).field(&parts).as_deref(), Some("scene beach at Lisbon, objects: {place}"));
    }

    #[test]
    fn a_template_that_names_nothing_known_is_refused_with_what_is() {
        let refused = Template::parse("a {mood} b").expect_err("unknown");
        assert!(refused.contains("{mood}") && refused.contains("caption, hashtags, scene"), "{refused}");
        for broken in ["{", "{caption", "caption}", "{caption}}", "{{caption}}", "{}"] {
            assert!(Template::parse(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn told_tags_are_hashtags_then_objects_at_most_sixteen_and_short() {
        let tags = (0..20).map(|tag| format!("{}{tag}", "é".repeat(80))).chain(["dog".to_owned()]).collect();
        let metadata = Metadata { tags, objects: vec![object("Dog", 1.0), object("hat", 0.9)], ..Metadata::default() };
        let told = Values::new(&metadata).into_tags();
        assert_eq!(told, vec!["é".repeat(64), "dog".to_owned(), "hat".to_owned()]);
        let many = Metadata { tags: (0..40).map(|tag| format!("t{tag}")).collect(), ..Metadata::default() };
        assert_eq!(Values::new(&many).into_tags().len(), 16);
    }

    proptest! {
        #[test]
        fn no_link_mention_or_hashtag_is_left(caption in r"(\PC|[#@_ ]|www\.|https?://|#A1b|\s){0,40}") {
            let values = captioned(&caption);
            for left in [&*LINK, &*MENTION, &*HASHTAG] {
                prop_assert!(!left.is_match(&values.caption), "{:?}", values.caption);
            }
            prop_assert_eq!(&captioned(&values.caption).caption, &values.caption);
        }

        #[test]
        fn splitting_into_words_keeps_every_letter_in_order(tag in r"[\p{L}\p{N}_]{0,30}") {
            let bare = |text: &str| text.replace([' ', '_'], "");
            prop_assert_eq!(bare(&split_hashtag(&tag)), bare(&tag));
        }

        #[test]
        fn any_metadata_makes_values(
            texts in proptest::collection::vec(any::<String>(), 6),
            score in any::<f64>(),
        ) {
            let [caption, scene, label, tag, place, taken_at]: [String; 6] = texts.try_into().expect("six");
            let objects = vec![Object { label, score }];
            let metadata = Metadata { caption, scene, objects, tags: vec![tag], place, taken_at };
            let values = Values::new(&metadata);
            for text in [&values.caption, &values.place, &values.scene] {
                prop_assert_eq!(text.trim(), text.as_str());
            }
            prop_assert!(values.into_tags().iter().all(|tag| tag.chars().count() <= 64));
        }
    }
}
