//! The post in a feed's own JSON, where a [`Mapping`] says its fields stand. Feeds tell ids, times and tags in more ways than
//! posts of the documented shape do; otherwise the same holds of each field, and the same limits.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::value::RawValue;

use super::fields::{base64, check_lists, object, string};
use super::mapping::{Field, Found, Mapping};
use super::{Attributes, fetched, id, or, published_at, source};
use crate::decode::Settings;
use crate::decode::json::{self, bad_field};
use crate::error::{Reason, Refusal};
use crate::message::{Facts, Metadata, Object, Post, Record};

/// A number of seconds since 1970 that is this large is one of milliseconds: as seconds it is in the year 5138.
const MILLISECONDS: f64 = 1e11;

/// What a mapping finds, with what it is called.
struct Mapped<'a> {
    found: Found<'a>,
    mapping: &'a Mapping,
    settings: &'a Settings,
}

/// The post in a text that is a JSON object.
pub(super) fn read(
    record: &Record,
    json: &str,
    beside: Attributes<'_>,
    mapping: &Mapping,
    settings: &Settings,
    by_url: impl FnOnce(&str) -> Option<Bytes>,
) -> Result<Post, Refusal> {
    let mapped = Mapped { found: mapping.find(json, settings.tags)?, mapping, settings };
    let metadata = Metadata {
        caption: mapped.text(Field::Caption)?.unwrap_or_default(),
        scene: mapped.text(Field::Scene)?.unwrap_or_default(),
        objects: mapped.objects()?,
        tags: mapped.tags()?,
        place: mapped.text(Field::Place)?.unwrap_or_default(),
        taken_at: mapped.text(Field::TakenAt)?.unwrap_or_default(),
    };
    check_lists(&metadata, [mapping.pointer(Field::Tags), mapping.pointer(Field::Objects)], settings)?;
    let source = source(mapped.text(Field::Source)?, beside.source, settings)?;
    Ok(Post {
        facts: Facts {
            id: id(or(mapped.id()?.map(Into::into), beside.id)?, record)?,
            source,
            published_at: match mapped.published_at(record)? {
                Some(time) => Some(time),
                None => published_at(beside.time?, record)?,
            },
            tags: Vec::new(),
        },
        image: mapped.image(by_url)?,
        metadata,
    })
}

impl Mapped<'_> {
    fn one<T>(
        &self,
        field: Field,
        read: impl FnOnce(&RawValue, &str) -> Result<T, Refusal>,
    ) -> Result<Option<T>, Refusal> {
        self.found.one(field).map(|raw| read(raw, self.mapping.pointer(field))).transpose()
    }

    fn text(&self, field: Field) -> Result<Option<String>, Refusal> {
        self.one(field, |raw, path| string(raw, path, self.settings))
    }

    /// A number is an id as it is written.
    fn id(&self) -> Result<Option<String>, Refusal> {
        self.one(Field::Id, |raw, path| match raw.get() {
            number if number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') => Ok(number.to_owned()),
            _ => json::string(raw, path).map(Into::into),
        })
    }

    fn published_at(&self, record: &Record) -> Result<Option<Timestamp>, Refusal> {
        let read = |raw: &RawValue, path: &str| {
            if raw.get().starts_with('"') {
                return published_at(Some(json::string(raw, path)?), record);
            }
            let number = json::number(raw, path)?;
            let seconds = if number.abs() < MILLISECONDS { number } else { number / 1000.0 };
            let time = std::time::Duration::try_from_secs_f64(seconds)
                .ok()
                .and_then(|since| Timestamp::UNIX_EPOCH.checked_add(since).ok());
            time.map(Some).ok_or_else(|| bad_field(format!("{path} must be a time: RFC 3339, or seconds since 1970")))
        };
        self.one(Field::PublishedAt, read).map(Option::flatten)
    }

    fn image(&self, by_url: impl FnOnce(&str) -> Option<Bytes>) -> Result<Bytes, Refusal> {
        let [data, url] = [Field::ImageData, Field::ImageUrl].map(|field| self.mapping.pointer(field));
        match (self.found.one(Field::ImageData), self.found.one(Field::ImageUrl)) {
            (Some(raw), _) => base64(raw, data, self.settings),
            (None, Some(raw)) => fetched(raw, url, by_url),
            (None, None) => {
                let pointers: Vec<_> = [data, url].into_iter().filter(|pointer| !pointer.is_empty()).collect();
                let detail = format!("the post has no image: there is nothing at {}", pointers.join(" or "));
                Err(Refusal::new(Reason::NoImage, detail))
            }
        }
    }

    /// The items of a list, which is one value or, by a `*` in its pointer, many.
    fn items<T>(
        &self,
        field: Field,
        read: impl Fn(&RawValue, &str, &Settings) -> Result<T, Refusal>,
    ) -> Result<Vec<T>, Refusal> {
        let (path, mut items) = (self.mapping.pointer(field), Vec::new());
        for raw in self.found.all(field) {
            if raw.get().starts_with('[') {
                items.extend(json::list(raw, path, self.settings.tags)?);
            } else {
                items.push(raw);
            }
        }
        if items.len() > self.settings.tags {
            return Err(bad_field(format!("{path} has more than {} items", self.settings.tags)));
        }
        items.into_iter().map(|item| read(item, path, self.settings)).collect()
    }

    /// A string may hold several.
    fn tags(&self) -> Result<Vec<String>, Refusal> {
        let texts = self.items(Field::Tags, string)?;
        let is_text = self.found.one(Field::Tags).is_some_and(|raw| raw.get().starts_with('"'));
        if self.mapping.is_of_items(Field::Tags) || !is_text {
            return Ok(texts);
        }
        let between = |char: char| char.is_whitespace() || char == ',' || char == ';';
        let tags: Vec<String> =
            texts.iter().flat_map(|text| text.split(between)).filter(|tag| !tag.is_empty()).map(Into::into).collect();
        if tags.len() > self.settings.tags {
            let path = self.mapping.pointer(Field::Tags);
            return Err(bad_field(format!("{path} has more than {} items", self.settings.tags)));
        }
        Ok(tags)
    }

    fn objects(&self) -> Result<Vec<Object>, Refusal> {
        self.items(Field::Objects, |raw, path, settings| {
            if raw.get().starts_with('"') {
                return Ok(Object { label: string(raw, path, settings)?, score: 1.0 });
            }
            object(raw, path, settings)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::decode::envelope;
    use crate::decode::tests::{record, settings};

    fn mapping(pointers: &serde_json::Value) -> Mapping {
        serde_json::from_value(pointers.clone()).expect("a mapping")
    }

    fn read_with(pointers: &serde_json::Value, post: &str) -> Result<Post, Refusal> {
        let settings = Settings { mapping: Some(mapping(pointers)), ..settings() };
        let record = record(post.to_owned());
        let value = record.value.clone().expect("a value");
        envelope::read(&record, &value, &settings)
    }

    fn refused(pointers: &serde_json::Value, post: &str) -> String {
        read_with(pointers, post).expect_err("refused").to_string()
    }

    /// The documented shape, as a mapping.
    fn documented() -> serde_json::Value {
        json!({
            "id": "/id", "source": "/source", "published_at": "/published_at", "image_data": "/image/data", "image_url": "/image/url",
            "caption": "/metadata/caption", "scene": "/metadata/scene", "objects": "/metadata/objects", "tags": "/metadata/tags",
            "place": "/metadata/place", "taken_at": "/metadata/taken_at"
        })
    }

    #[test]
    fn a_post_of_another_shape_is_read() {
        let pointers = json!({
            "id": "/status/id", "source": "/account/acct", "published_at": "/status/created_at", "image_data": "/media/1/bytes",
            "caption": "/status/a~1b", "tags": "/entities/hashtags/*/text", "objects": "/labels", "place": "/~0", "scene": "/not/there"
        });
        let post = read_with(
            &pointers,
            r#"{"status": {"id": 17, "created_at": 1795770000, "a/b": "hello"}, "account": {"acct": "acme"}, "~": "Lisbon", "not": 7,
                "media": [{"bytes": "////"}, {"bytes": "AAEC"}], "entities": {"hashtags": [{"text": "New York", "at": [1, 2]}, {}]},
                "labels": ["dog", {"label": "hat", "score": 0.5}]}"#,
        )
        .expect("a post");
        assert_eq!((post.facts.id.as_str(), post.facts.source.as_deref()), ("17", Some("acme")));
        assert_eq!(post.facts.published_at, Timestamp::from_second(1_795_770_000).ok());
        assert_eq!((post.image.as_ref(), post.metadata.caption.as_str()), ([0, 1, 2].as_slice(), "hello"));
        assert_eq!((post.metadata.tags, post.metadata.place.as_str()), (vec!["New York".to_owned()], "Lisbon"));
        let objects: Vec<_> =
            post.metadata.objects.iter().map(|object| (object.label.as_str(), object.score)).collect();
        assert_eq!(objects, [("dog", 1.0), ("hat", 0.5)]);
    }

    #[test]
    fn a_string_of_tags_is_taken_apart_and_a_list_is_not() {
        let tags = |tags: &str| {
            let post = format!(r#"{{"image": {{"data": "AAEC"}}, "metadata": {{"tags": {tags}}}}}"#);
            read_with(&documented(), &post).map(|post| post.metadata.tags)
        };
        assert_eq!(tags(r##""#summer, friends;dog""##).expect("tags"), ["#summer", "friends", "dog"]);
        assert_eq!(tags(r#"["New York"]"#).expect("tags"), ["New York"]);
        assert_eq!(tags("null").expect("tags"), [""; 0]);
        assert!(tags(r#""a b c d e f g h i""#).is_err(), "eight are the limit");
        assert!(tags(r#"["a","b","c","d","e","f","g","h","i"]"#).is_err());
    }

    #[test]
    fn times_are_told_in_seconds_milliseconds_and_words() {
        let pointers = json!({"published_at": "/at", "image_data": "/image"});
        let time = |at: &str| {
            read_with(&pointers, &format!(r#"{{"at": {at}, "image": "AAEC"}}"#)).map(|post| post.facts.published_at)
        };
        let expected = "2026-11-27T07:40:00Z".parse::<Timestamp>().ok();
        for at in ["1795765200", "1795765200000", "1795765200.0", r#""2026-11-27T07:40:00Z""#] {
            assert_eq!(time(at).expect(at), expected, "{at}");
        }
        for at in ["-1", "1e300", "true", r#""yesterday""#, "[]"] {
            assert!(time(at).is_err(), "{at}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_by_its_pointer() {
        let pointers = json!({"id": "/a/id", "caption": "/text", "tags": "/tags/*/name", "image_url": "/photo", "image_data": "/bytes"});
        for (post, refusal) in [
            (r#"{"text": 7, "bytes": "AAEC"}"#, "bad_field: /text must be a string"),
            (r#"{"a": {"id": [1]}, "bytes": "AAEC"}"#, "bad_field: /a/id must be a string"),
            (r#"{"tags": [{"name": 1}], "bytes": "AAEC"}"#, "bad_field: /tags/*/name must be a string"),
            (r#"{"bytes": "?"}"#, "bad_base64: /bytes: "),
            (r#"{"bytes": ""}"#, "no_image: /bytes is empty"),
            (r#"{"photo": "https://a/b"}"#, "fetch_refused: /photo: images are not fetched unless"),
            (r#"{"text": "no image"}"#, "no_image: the post has no image: there is nothing at /bytes or /photo"),
            (
                r#"{"text": "a", "text": "b", "bytes": "AAEC"}"#,
                "bad_field: the post: what Caption is mapped to is there twice",
            ),
            ("[]", "not_json: "),
        ] {
            let refused = refused(&pointers, post);
            assert!(refused.starts_with(refusal), "{post}: {refused}");
        }
    }

    #[test]
    fn pointers_that_make_no_sense_are_refused_with_the_fix() {
        for (pointers, expected) in [
            (
                json!({"image_data": "image/data"}),
                "decode.mapping.image_data is \"image/data\"; a JSON pointer begins with /",
            ),
            (
                json!({"image_url": "/a", "caption": "/texts/*"}),
                "decode.mapping.caption is \"/texts/*\"; one * stands for",
            ),
            (json!({"image_url": "/a", "tags": "/a/*/b/*"}), "decode.mapping.tags"),
            (json!({"caption": "/text"}), "decode.mapping names no image"),
            (json!({"image_url": "/a", "title": "/t"}), "unknown field `title`"),
        ] {
            let error = serde_json::from_value::<Mapping>(pointers).expect_err("refused").to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    fn text() -> impl Strategy<Value = serde_json::Value> {
        prop_oneof![Just(json!(null)), "[a-z \"\\\\é]{0,12}".prop_map(|text| json!(text))]
    }

    proptest! {
        #[test]
        fn the_documented_shape_as_a_mapping_reads_as_without(
            id in "[a-z]{1,9}",
            (source, caption, scene, place) in (text(), text(), text(), text()),
            tags in prop::collection::vec("[a-zé]{1,8}", 0..8),
            labels in prop::collection::vec("[a-z]{1,8}", 0..8),
            unknown in text(),
        ) {
            let objects: Vec<_> = labels.iter().map(|label| json!({"label": label, "score": 0.5, "box": [1, {}]})).collect();
            let post = json!({
                "id": id, "source": source, "published_at": "2026-11-23T09:00:00Z", "unknown": {"caption": unknown},
                "image": {"data": "AAEC", "caption": unknown},
                "metadata": {"caption": caption, "scene": scene, "objects": objects, "tags": tags, "place": place, "id": unknown}
            })
            .to_string();
            let record = record(post.clone());
            let plain = envelope::read(&record, &post.clone().into(), &settings()).expect("a post");
            prop_assert_eq!(read_with(&documented(), &post).expect("a post"), plain);
        }

        #[test]
        fn nothing_panics_whatever_is_pointed_at(post in "[{}\\[\\],:\"a1* /~]{0,60}", pointer in "(/[a1*~/]{0,3}){1,3}") {
            let pointers = json!({"tags": pointer, "objects": "/a/*", "id": "/a", "image_data": "/a/1", "caption": "/1/a"});
            if let Ok(mapping) = serde_json::from_value::<Mapping>(pointers) {
                let settings = Settings { mapping: Some(mapping), ..settings() };
                let record = record(post.clone());
                let _ = envelope::read(&record, &post.into(), &settings);
            }
        }
    }
}
