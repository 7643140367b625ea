//! Every way a post can be told, and every way to tell it wrongly.

use super::super::tests::{base64, record, settings, with_header};
use super::*;
use crate::message::Header;

fn read_post(record: &Record) -> Result<Post, Refusal> {
    let value = record.value.clone().expect("a value");
    read(record, &value, &settings())
}

/// A post with an image of three bytes and this beside it.
fn with(fields: &str) -> Record {
    record(format!(r#"{{"image": {{"data": "AAEC"}}, {fields}}}"#))
}

fn refused(record: &Record) -> String {
    read_post(record).expect_err("refused").to_string()
}

fn binary() -> Record {
    with_header(record("image"), "content-type", "image/png")
}

#[test]
fn a_whole_post_is_read() {
    let post = read_post(&with(
        r#""id": "post-123", "source": "instagram/acme", "published_at": "2026-11-23T10:00:00+01:00", "unknown": [1, {}],
        "metadata": {"caption": "first \"day\" \u00e9", "scene": "beach", "tags": ["summer", "friends"], "mood": 3,
          "objects": [{"label": "dog", "score": 0.93, "box": [1, 2]}, {"label": "hat"}, {"label": "x", "score": null}],
          "place": "Lisbon", "taken_at": "2026-08-01"}"#,
    ))
    .expect("a post");
    assert_eq!(post.image.as_ref(), [0, 1, 2]);
    assert_eq!(post.facts.id, "post-123");
    assert_eq!(post.facts.source.as_deref(), Some("instagram/acme"));
    assert_eq!(post.facts.published_at, "2026-11-23T09:00:00Z".parse().ok());
    assert_eq!(post.metadata.caption, "first \"day\" é");
    assert_eq!(post.metadata.tags, ["summer", "friends"]);
    let objects: Vec<_> = post.metadata.objects.iter().map(|object| (object.label.as_str(), object.score)).collect();
    assert_eq!(objects, [("dog", 0.93), ("hat", 1.0), ("x", 1.0)]);
}

#[test]
fn null_is_absent() {
    let nulls = r#""id": null, "source": null, "published_at": null, "metadata": {"caption": null, "tags": null}"#;
    let post = read_post(&with(nulls)).expect("a post");
    assert_eq!(post.facts.id, "posts/3/81723");
    assert_eq!((post.facts.source, post.facts.published_at), (None, None));
    assert_eq!(post.metadata, Metadata::default());
}

#[test]
fn the_id_falls_back_to_the_key_and_then_to_the_origin() {
    let id = |key: Option<&'static [u8]>, given: &str| {
        let mut record = with(given);
        record.key = key.map(Bytes::from_static);
        read_post(&record).map(|post| post.facts.id)
    };
    assert_eq!(id(Some(b"key"), r#""id": "own""#).expect("id"), "own");
    assert_eq!(id(Some(b"key"), r#""x": 0"#).expect("id"), "key");
    assert_eq!(id(Some(b"\xFF\xFE"), r#""x": 0"#).expect("id"), "posts/3/81723");
    assert_eq!(id(Some(b""), r#""x": 0"#).expect("id"), "posts/3/81723");
    assert_eq!(id(None, r#""id": """#).expect_err("empty").to_string(), "bad_field: id is empty");
    assert!(id(Some(&[b'k'; 257]), r#""x": 0"#).is_err());
    assert!(id(None, &format!(r#""id": "{}""#, "é".repeat(128))).is_ok());
    assert!(id(None, &format!(r#""id": "{}""#, "é".repeat(129))).is_err());
}

#[test]
fn the_record_time_stands_in_for_the_post_time() {
    let mut record = with(r#""id": "p""#);
    record.timestamp = Timestamp::from_millisecond(7).ok();
    assert_eq!(read_post(&record).expect("a post").facts.published_at, record.timestamp);
}

#[test]
fn a_wrong_type_is_named_by_its_path() {
    for (fields, detail) in [
        (r#""id": 7"#, "id must be a string"),
        (r#""source": []"#, "source must be a string"),
        (r#""published_at": 1790000000"#, "published_at must be a string"),
        (r#""metadata": "caption""#, "metadata must be an object"),
        (r#""metadata": {"caption": ["a"]}"#, "metadata.caption must be a string"),
        (r#""metadata": {"tags": "a b"}"#, "metadata.tags must be a list"),
        (r#""metadata": {"tags": ["a", 2026]}"#, "metadata.tags[1] must be a string"),
        (r#""metadata": {"objects": ["dog"]}"#, "metadata.objects[0] must be an object"),
        (r#""metadata": {"objects": [null]}"#, "metadata.objects[0] must be an object"),
        (r#""metadata": {"objects": [{}]}"#, "metadata.objects[0].label is missing"),
        (r#""metadata": {"objects": [{"label": "a", "score": "1"}]}"#, "metadata.objects[0].score must be a number"),
        (r#""metadata": {"objects": [{"label": "a", "score": 1e999}]}"#, "metadata.objects[0].score must be a number"),
        (
            r#""metadata": {"objects": [{"label": "a"}, {"label": "b", "score": 93}]}"#,
            "metadata.objects[1].score must be in [0, 1], it is 93",
        ),
        (r#""metadata": {"tags": [1,2,3,4,5,6,7,8,9]}"#, "metadata.tags has more than 8 items"),
    ] {
        assert_eq!(refused(&with(fields)), format!("bad_field: {detail}"));
    }
    for time in ["yesterday", "-009999-06-01T00:00:00Z", "-000001-12-31T23:59:59Z"] {
        let refused = refused(&with(&format!(r#""published_at": "{time}""#)));
        assert!(refused.starts_with("bad_field: published_at (ce_time) must be"), "{refused}");
    }
    assert!(refused(&with(r#""metadata": {"caption": "\ud800"}"#)).starts_with("bad_field: metadata.caption: "));
    assert!(refused(&with(r#""id": "a", "id": "b""#)).starts_with("bad_field: the post: duplicate field `id`"));
}

#[test]
fn a_score_may_miss_its_range_by_rounding_only() {
    let score =
        |text: &str| read_post(&with(&format!(r#""metadata": {{"objects": [{{"label": "a", "score": {text}}}]}}"#)));
    assert!((score("1.0000001").expect("rounded").metadata.objects[0].score - 1.0).abs() < f64::EPSILON);
    assert!(score("-0.5").is_err());
}

#[test]
fn an_image_comes_in_exactly_one_way() {
    for (image, refusal) in [
        ("null", "no_image: "),
        ("{}", "no_image: "),
        (r#"{"data": null, "url": null}"#, "no_image: "),
        (r#"{"data": ""}"#, "no_image: image.data is empty"),
        (r#""AAEC""#, "bad_field: image must be an object"),
        (r#"{"data": 7}"#, "bad_field: image.data must be a string"),
        (r#"{"url": 7}"#, "bad_field: image.url must be a string"),
        (r#"{"data": "AAEC", "url": "https://a/b"}"#, "bad_field: image must have one of data and url"),
        (r#"{"url": "https://a/b"}"#, "fetch_refused: image.url: images are not fetched unless"),
        (r#"{"data": "AA EC"}"#, "bad_base64: image.data: "),
        (r#"{"data": "AAEC\n"}"#, "bad_base64: image.data: "),
        (r#"{"data": "A"}"#, "bad_base64: image.data: "),
        (r#"{"data": "AA-_"}"#, "bad_base64: image.data: "),
    ] {
        let refused = refused(&record(format!(r#"{{"image": {image}}}"#)));
        assert!(refused.starts_with(refusal), "{image}: {refused}");
    }
    assert!(refused(&record("{}")).starts_with("no_image: "));
}

#[test]
fn base64_may_lack_padding_and_have_escaped_slashes() {
    for (data, bytes) in
        [("AA==", vec![0]), ("AA", vec![0]), (r"\/\/\/\/", vec![255; 3]), (r"\u0041AEC", vec![0, 1, 2])]
    {
        let record = record(format!(r#"{{"image": {{"data": "{data}"}}}}"#));
        assert_eq!(read_post(&record).expect("a post").image, bytes);
    }
}

#[test]
fn an_image_larger_than_its_limit_is_refused_in_either_encoding() {
    let limit = settings().image_bytes;
    let json = |bytes: usize| record(format!(r#"{{"image": {{"data": "{}"}}}}"#, base64(&vec![0; bytes])));
    let raw = |bytes: usize| with_header(record(vec![0; bytes]), "content-type", "image/gif");
    for make in [&json as &dyn Fn(usize) -> Record, &raw] {
        assert!(read_post(&make(limit)).is_ok());
        assert!(refused(&make(limit + 1)).starts_with("too_large: the image has "));
    }
}

#[test]
fn a_text_beyond_its_limit_is_named_with_both_numbers() {
    let (long, half) = ("é".repeat(1_001), "é".repeat(500));
    for (fields, path) in [
        (format!(r#""source": "{long}""#), "source"),
        (format!(r#""metadata": {{"caption": "{long}"}}"#), "metadata.caption"),
        (format!(r#""metadata": {{"tags": ["a", "{long}"]}}"#), "metadata.tags[1]"),
        (format!(r#""metadata": {{"objects": [{{"label": "{long}"}}]}}"#), "metadata.objects[0].label"),
        // A list becomes one text.
        (format!(r#""metadata": {{"tags": ["{half}", "{half}b"]}}"#), "metadata.tags"),
        (format!(r#""metadata": {{"objects": [{{"label": "{half}"}}, {{"label": "{half}b"}}]}}"#), "metadata.objects"),
    ] {
        assert_eq!(refused(&with(&fields)), format!("text_too_long: {path} has 1001 characters, the limit is 1000"));
    }
    assert!(read_post(&with(&format!(r#""source": "{}""#, "é".repeat(1_000)))).is_ok());
    assert!(read_post(&with(&format!(r#""metadata": {{"tags": ["{half}", "{half}"]}}"#))).is_ok());
}

#[test]
fn the_binary_encoding_has_its_attributes_in_headers() {
    let mut record = binary();
    for (key, value) in [
        ("ce_id", "post-123"),
        ("ce_source", "instagram/acme"),
        ("ce_time", "2026-11-23T09:00:00Z"),
        ("metadata", r#" {"caption": "hello"} "#),
    ] {
        record = with_header(record, key, value);
    }
    let post = read_post(&record).expect("a post");
    assert_eq!((post.facts.id.as_str(), post.facts.source.as_deref()), ("post-123", Some("instagram/acme")));
    assert_eq!(post.facts.published_at, "2026-11-23T09:00:00Z".parse().ok());
    assert_eq!(post.metadata.caption, "hello");
    assert_eq!(post.image, "image");
    let bare = read_post(&binary()).expect("a post");
    assert_eq!((bare.facts.id.as_str(), bare.metadata), ("posts/3/81723", Metadata::default()));
}

#[test]
fn headers_that_are_wrong_are_named() {
    let deep = "[".repeat(17);
    for (key, value, refusal) in [
        ("metadata", "{", "not_json: the header metadata is not JSON"),
        ("metadata", "[]", "bad_field: metadata must be an object"),
        ("metadata", &deep, "too_deep: the header metadata is nested deeper than 16"),
        ("metadata", r#"{"place": 1}"#, "bad_field: metadata.place must be a string"),
        ("ce_time", "today", "bad_field: published_at (ce_time) must be an RFC 3339 time"),
        ("ce_id", "", "bad_field: id is empty"),
    ] {
        let refused = refused(&with_header(binary(), key, value));
        assert!(refused.starts_with(refusal), "{key}: {refused}");
    }
    let mut binary = binary();
    binary.headers.push(Header { key: "ce_id".into(), value: Some(Bytes::from_static(b"\xFF")) });
    assert_eq!(refused(&binary), "bad_field: the header ce_id must be UTF-8");
}

#[test]
fn the_encoding_is_told_by_the_content_type() {
    let typed = |content_type| with_header(with(r#""id": "p""#), "content-type", content_type);
    assert!(read_post(&typed("APPLICATION/JSON ; charset=utf-8")).is_ok());
    for other in ["", "text/plain", "image/tiff", "application/jsonx", "\u{0}"] {
        assert!(refused(&typed(other)).starts_with("unsupported_content_type: content-type is "), "{other}");
    }
}

#[test]
fn headers_are_counted() {
    let mut record = with(r#""id": "p""#);
    record.headers = vec![Header { key: "x".into(), value: None }; 8];
    assert!(read_post(&record).is_ok());
    record.headers.push(Header { key: "x".into(), value: None });
    assert_eq!(refused(&record), "too_many_headers: 9 headers, the limit is 8");
}

#[test]
fn control_characters_are_harmless() {
    let post = read_post(&with(r#""id": "a\u0000b", "metadata": {"caption": "\u0000\u001b[31m"}"#)).expect("a post");
    assert_eq!((post.facts.id.as_str(), post.metadata.caption.as_str()), ("a\0b", "\0\u{1b}[31m"));
}

/// A `CloudEvent` in structured mode.
fn event(value: &str) -> Record {
    with_header(record(value.to_owned()), "content-type", "application/cloudevents+json; charset=UTF-8")
}

#[test]
fn an_event_that_holds_a_post_tells_what_the_post_does_not() {
    let post = read_post(&event(
        r#"{"specversion": "1.0", "type": "post", "id": "event", "source": "/feed", "time": "2026-11-23T09:00:00Z",
            "datacontenttype": "application/json", "data": {"image": {"data": "AAEC"}, "metadata": {"caption": "hello"}}}"#,
    ))
    .expect("a post");
    assert_eq!((post.facts.id.as_str(), post.facts.source.as_deref()), ("event", Some("/feed")));
    assert_eq!(post.facts.published_at, "2026-11-23T09:00:00Z".parse().ok());
    assert_eq!((post.metadata.caption.as_str(), post.image.as_ref()), ("hello", [0, 1, 2].as_slice()));
    let post = read_post(&event(
        r#"{"specversion": "1.0", "id": "event", "source": "/feed", "time": "never", "data":
            {"id": "own", "source": "mine", "published_at": "2026-11-24T09:00:00Z", "image": {"data": "AAEC"}}}"#,
    ))
    .expect("a post");
    assert_eq!((post.facts.id.as_str(), post.facts.source.as_deref()), ("own", Some("mine")));
    assert_eq!(post.facts.published_at, "2026-11-24T09:00:00Z".parse().ok());
}

#[test]
fn an_event_that_holds_an_image_has_its_metadata_in_an_attribute() {
    let post = read_post(&event(
        r#"{"specversion": "1.0", "id": "event", "source": "/feed", "datacontenttype": "image/png", "data_base64": "AAEC",
            "metadata": "{\"caption\": \"hello\"}"}"#,
    ))
    .expect("a post");
    assert_eq!((post.facts.id.as_str(), post.metadata.caption.as_str()), ("event", "hello"));
    assert_eq!(post.image.as_ref(), [0, 1, 2]);
    let bare = r#"{"specversion": "1.0", "datacontenttype": "image/png", "data_base64": "AAEC"}"#;
    assert_eq!(read_post(&event(bare)).expect("a post").facts.id, "posts/3/81723");
}

#[test]
fn events_that_are_wrong_are_named() {
    for (fields, refusal) in [
        (r#""specversion": "0.3", "data": {}"#, "bad_field: specversion must be \"1.0\""),
        (r#""data": {}"#, "bad_field: specversion must be \"1.0\""),
        (r#""specversion": "1.0", "id": 7, "data": {}"#, "bad_field: id must be a string"),
        (r#""specversion": "1.0", "id": "", "data": {"image": {"data": "AAEC"}}"#, "bad_field: id is empty"),
        (r#""specversion": "1.0""#, "no_image: the event has no data"),
        (r#""specversion": "1.0", "data": "text""#, "bad_field: data must be an object"),
        (r#""specversion": "1.0", "data": {}, "data_base64": "AAEC""#, "bad_field: an event must have one of"),
        (r#""specversion": "1.0", "data_base64": "AAEC""#, "unsupported_content_type: the event's datacontenttype is"),
        (r#""specversion": "1.0", "datacontenttype": "text/xml", "data": "<a>""#, "unsupported_content_type: "),
        (r#""specversion": "1.0", "datacontenttype": "image/png", "data": {}"#, "unsupported_content_type: "),
        (r#""specversion": "1.0", "datacontenttype": "image/png""#, "no_image: the event has no data_base64"),
        (
            r#""specversion": "1.0", "datacontenttype": "image/png", "data_base64": "AAEC", "metadata": {}"#,
            "bad_field: metadata must be a string",
        ),
        (
            r#""specversion": "1.0", "datacontenttype": "image/png", "data_base64": "AAEC", "metadata": "{""#,
            "not_json: the attribute metadata is not JSON",
        ),
        (r#""specversion": "1.0", "time": "today", "data": {"image": {"data": "AAEC"}}"#, "bad_field: published_at"),
    ] {
        let refused = refused(&event(&format!("{{{fields}}}")));
        assert!(refused.starts_with(refusal), "{fields}: {refused}");
    }
    assert!(refused(&event("[]")).starts_with("not_json: "));
    let batch = with_header(record("[]"), "content-type", "application/cloudevents-batch+json");
    assert!(refused(&batch).contains("send each event of the batch as a record of its own"));
}

#[test]
fn a_header_that_nobody_needs_is_not_read() {
    let own = r#""id": "own", "source": "mine", "published_at": "2026-11-24T09:00:00Z""#;
    for key in ["ce_id", "ce_source", "ce_time"] {
        let bad = |mut record: Record| {
            record.headers.push(Header { key: key.into(), value: Some(Bytes::from_static(b"\xFF")) });
            record
        };
        assert_eq!(read_post(&bad(with(own))).expect("a post").facts.id, "own");
        assert_eq!(refused(&bad(with(r#""x": 0"#))), format!("bad_field: the header {key} must be UTF-8"));
    }
}

#[test]
fn headers_tell_what_a_json_post_does_not() {
    let mut post = with_header(with(r#""x": 0"#), "ce_id", "event");
    post = with_header(post, "ce_source", "/feed");
    post = with_header(post, "ce_time", "2026-11-23T09:00:00Z");
    let read = read_post(&post).expect("a post");
    assert_eq!((read.facts.id.as_str(), read.facts.source.as_deref()), ("event", Some("/feed")));
    assert_eq!(read.facts.published_at, "2026-11-23T09:00:00Z".parse().ok());
    let own = with_header(with(r#""id": "own""#), "ce_id", "event");
    assert_eq!(read_post(&own).expect("a post").facts.id, "own");
}

/// A schema that every value is JSON by, behind its first byte.
#[derive(Debug)]
struct Behind;

impl crate::message::Encoding for Behind {
    fn json(&self, value: &[u8]) -> Result<Vec<u8>, Refusal> {
        Ok(value.get(1..).unwrap_or_default().to_vec())
    }
}

#[test]
fn what_is_written_by_a_schema_is_read_as_the_json_that_it_is() {
    let mut post = with_header(record("\0{\"image\": {\"data\": \"AAEC\"}}"), "ce_id", "event");
    let refused = refused(&post);
    assert!(refused.starts_with("not_json: ") && refused.ends_with("set decode.registry"), "{refused}");
    post = with_header(post, "content-type", "application/avro");
    post.schema = Some(std::sync::Arc::new(Behind));
    let read = read_post(&post).expect("a post");
    assert_eq!((read.facts.id.as_str(), read.image.as_ref()), ("event", [0, 1, 2].as_slice()));
}
