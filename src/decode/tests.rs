//! The stage as a whole: whatever a record holds, it ends in a prepared post or in one outcome with a stable reason.
//! Also what the tests of its parts are built from.

use std::io::Cursor;
use std::time::Instant;

use bytes::Bytes;
use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ExtendedColorType, ImageEncoder as _, ImageFormat, RgbImage};
use proptest::prelude::*;

use super::*;
use crate::budget::{Budget, Limits};
use crate::message::{Assignment, Fetched, Header, Origin, Position};

pub(super) fn settings() -> Settings {
    Settings {
        threads: 0,
        image_bytes: 1 << 20,
        image_pixels: 4_000_000,
        image_side: 4_000,
        frames: 3,
        timeout_ms: 60_000,
        text_chars: 1_000,
        tags: 8,
        json_depth: 16,
        headers: 8,
        mapping: None,
        registry: None,
    }
}

pub(super) fn picture(width: u32, height: u32) -> RgbImage {
    let level = |value: u32| u8::try_from(value % 256).expect("below 256");
    RgbImage::from_fn(width, height, |x, y| image::Rgb([level(x * 3), level(y * 5), level(x * y)]))
}

pub(super) fn jpeg(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let pixels = picture(width, height);
    let encoder = JpegEncoder::new_with_quality(&mut bytes, 90);
    encoder.write_image(&pixels, width, height, ExtendedColorType::Rgb8).expect("encodes");
    bytes
}

pub(super) fn encoded(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::ImageRgb8(picture(width, height)).write_to(&mut bytes, format).expect("encodes");
    bytes.into_inner()
}

pub(super) fn webp(width: u32, height: u32) -> Vec<u8> {
    encoded(width, height, ImageFormat::WebP)
}

pub(super) fn record(value: impl Into<Bytes>) -> Record {
    let gauge = |name: &str| prometheus::IntGauge::new(name, "test").expect("valid name");
    let limits = Limits { records: 1, bytes: 1 << 20, record_bytes: 1 << 20 };
    let permit = Budget::new(limits, gauge("records"), gauge("bytes")).admit(1);
    Record {
        position: Position {
            place: Origin { topic: "posts".into(), partition: 3, offset: 81_723 },
            origin: Origin { topic: "posts".into(), partition: 3, offset: 81_723 },
            assignment: Assignment::new(1),
            sequence: 0,
            permit,
            pulled_at: Instant::now(),
        },
        key: None,
        value: Some(value.into()),
        headers: Vec::new(),
        timestamp: None,
        fetched: None,
        schema: None,
        span: None,
    }
}

pub(super) fn with_header(mut record: Record, key: &str, value: &str) -> Record {
    record.headers.push(Header { key: key.to_owned(), value: Some(Bytes::copy_from_slice(value.as_bytes())) });
    record
}

pub(super) fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn field(name: &str, parts: &[&str]) -> FieldSpec {
    FieldSpec { name: name.into(), parts: parts.iter().map(|part| (*part).to_owned()).collect() }
}

pub(super) fn spec(width: u32, height: u32) -> Spec {
    Spec {
        width,
        height,
        crop: 0.875,
        max_tokens: 6,
        fields: vec![field("caption", &["{caption}"]), field("tags", &["{hashtags}"]), field("context", &["{scene}"])],
        tokenizer: PathBuf::new(),
    }
}

fn decoder() -> Decoder {
    let tokenizer = tokens::tests::words();
    Decoder::new(settings(), Spec { tokenizer: tokenizer.path().to_owned(), ..spec(16, 16) }).expect("a sound spec")
}

#[test]
fn an_image_that_was_encoded_before_is_not_decoded() {
    let (cache, metrics) = (Cache::new(1 << 20, "bundle").expect("not off"), Metrics::new());
    let image = b"no image at all";
    cache.keep_embedding(cache.image_key(image), Arc::from([1.0, 2.0]), &metrics);
    let decoder = decoder().with_cache(Some(Arc::clone(&cache)));
    let known = with_header(record(image.to_vec()), "content-type", "image/jpeg");
    let Decoded::Prepared(prepared) = decoder.decode(known, &metrics) else { panic!("refused") };
    let Picture::Known { embedding, key } = &prepared.input.picture else { panic!("decoded") };
    assert_eq!((&embedding[..], *key), ([1.0, 2.0].as_slice(), cache.image_key(image)));

    let new = encoded(20, 10, ImageFormat::Png);
    let unknown = with_header(record(new.clone()), "content-type", "image/png");
    let Decoded::Prepared(prepared) = decoder.decode(unknown, &metrics) else { panic!("refused") };
    assert!(prepared.input.picture.rgb().is_some());
    assert_eq!(prepared.input.picture.key(), Some(&cache.image_key(&new)));
}

/// The outcome of a value: `prepared`, `tombstone` or the reason it was refused for.
fn end(record: Record) -> String {
    match decoder().decode(record, &Metrics::new()) {
        Decoded::Prepared(_) => "prepared".to_owned(),
        Decoded::Settled(Outcome { verdict: Verdict::Tombstone, .. }) => "tombstone".to_owned(),
        Decoded::Settled(Outcome { verdict: Verdict::Refused { refusal, stage: Stage::Decode }, .. }) => {
            refusal.reason.to_string()
        }
        Decoded::Settled(other) => panic!("{other:?}"),
    }
}

fn post(image: &[u8], metadata: &str) -> Vec<u8> {
    format!(r#"{{"id": "p", "image": {{"data": "{}"}}, "metadata": {metadata}}}"#, base64(image)).into_bytes()
}

#[test]
fn a_post_is_prepared() {
    let metrics = Metrics::new();
    let metadata = r#"{"caption": "The dog at the beach, the dog #Beach", "objects": [{"label": "dog"}]}"#;
    let Decoded::Prepared(prepared) = decoder().decode(record(post(&jpeg(50, 40), metadata)), &metrics) else {
        panic!("refused")
    };
    assert_eq!(prepared.input.picture.rgb().map(<[u8]>::len), Some(16 * 16 * 3));
    assert_eq!(prepared.input.fields, vec![Some(vec![2, 4, 6, 1, 4, 3]), Some(vec![2, 5, 3]), None]);
    assert_eq!(prepared.flags, vec![Flag::TextTruncated]);
    assert_eq!(prepared.facts.tags, ["Beach", "dog"]);
    assert_eq!(prepared.facts.id, "p");
    for stage in ["envelope", "pixels", "tokens"] {
        assert_eq!(metrics.stage_seconds.with_label_values(&[stage]).get_sample_count(), 1, "{stage}");
    }
}

#[test]
fn both_encodings_of_a_post_are_read_alike() {
    let metadata = r#"{"caption": "the dog", "scene": "beach"}"#;
    let binary = with_header(record(jpeg(50, 40)), "content-type", "Image/JPEG; q=1");
    let binary = with_header(with_header(binary, "metadata", metadata), "ce_id", "p");
    let Decoded::Prepared(binary) = decoder().decode(binary, &Metrics::new()) else { panic!("refused") };
    let json = record(post(&jpeg(50, 40), metadata));
    let Decoded::Prepared(json) = decoder().decode(json, &Metrics::new()) else { panic!("refused") };
    assert_eq!(binary.facts, json.facts);
    assert_eq!(binary.input.picture.rgb(), json.input.picture.rgb());
    assert_eq!(binary.input.fields, json.input.fields);
}

#[test]
fn hostile_records_end_with_their_reason() {
    let photo = jpeg(50, 40);
    let huge_png: &[u8] = include_bytes!("../../tests/fixtures/hostile/30000x30000.png");
    let deep = format!(r#"{{"id": "p", "x": {}}}"#, "[".repeat(100_000));
    let metadata = |json: &str| post(&photo, json);
    for (value, reason) in [
        (post(&photo, "{}"), "prepared"),
        (post(&photo, "null"), "prepared"),
        (Vec::new(), "empty"),
        (b"hello".to_vec(), "not_json"),
        (b"[1]".to_vec(), "not_json"),
        (b"{\"id\": \"\xFF\"}".to_vec(), "not_json"),
        (deep.into_bytes(), "too_deep"),
        (br#"{"id": "p"}"#.to_vec(), "no_image"),
        (br#"{"image": {"data": "@@@"}}"#.to_vec(), "bad_base64"),
        (br#"{"image": {"url": "http://a/b"}}"#.to_vec(), "fetch_refused"),
        (post(&photo[..photo.len() / 2], "{}"), "corrupt_image"),
        (post(b"BM not a picture", "{}"), "unsupported_format"),
        (post(huge_png, "{}"), "too_many_pixels"),
        (metadata(r#"{"caption": 7}"#), "bad_field"),
        (metadata(r#"{"objects": [{"label": "a", "score": 1e999}]}"#), "bad_field"),
        (metadata(r#"{"objects": [{"label": "a", "score": NaN}]}"#), "not_json"),
        (metadata(&format!(r#"{{"caption": "{}"}}"#, "x".repeat(1_001))), "text_too_long"),
        (vec![b' '; 100], "not_json"),
    ] {
        assert_eq!(end(record(value.clone())), reason, "{}", String::from_utf8_lossy(&value[..value.len().min(60)]));
    }
}

#[test]
fn a_post_by_url_is_told_from_any_other() {
    let url =
        |value: &[u8]| decoder().image_url(&record(value.to_vec())).map(|url| url.map_err(|refusal| refusal.reason));
    let found = Some(Ok("https://a/b?c".to_owned()));
    assert_eq!(url(br#"{"id": "p", "image": {"url": "https://a/b?c"}, "metadata": {"caption": "hi"}}"#), found);
    assert_eq!(url(br#"{"im\u0061ge": {"\u0075rl": "https:\/\/a\/b?c"}}"#), found);
    assert_eq!(url(br#"{"image": {"u\u0072l": "https://a/b?c", "data": null}}"#), found);
    assert_eq!(url(br#"{"image": {"ur\u006C": "https://a/b?c"}}"#), found);
    assert_eq!(url(br#"{"image": {"url": "a"}, "metadata": {"caption": 7}}"#), Some(Err(Reason::BadField)));
    for other in [
        post(&jpeg(50, 40), r#"{"caption": "\"url\"", "url": "https://a/b"}"#),
        br#"{"image": {"url": "a", "data": "AAAA"}}"#.to_vec(),
        br#"{"image": {"url": 7}}"#.to_vec(),
        br#"{"url": "https://a/b"}"#.to_vec(),
        br#""url""#.to_vec(),
        b"\"url\" \xFF".to_vec(),
        Vec::new(),
    ] {
        assert_eq!(url(&other), None, "{}", String::from_utf8_lossy(&other));
    }
    let binary = with_header(record(r#"{"image": {"url": "a"}}"#), "content-type", "image/jpeg");
    assert!(decoder().image_url(&binary).is_none());
}

#[test]
fn a_fetched_image_is_decoded_as_the_same_inline_and_let_go() {
    let metadata = r#"{"caption": "the dog", "scene": "beach"}"#;
    let inline = record(post(&jpeg(50, 40), metadata));
    let mut by_url = record(format!(r#"{{"id": "p", "image": {{"url": "https://a/b"}}, "metadata": {metadata}}}"#));
    by_url.fetched = Some(Fetched { image: jpeg(50, 40).into(), slot: None });
    let Decoded::Prepared(inline) = decoder().decode(inline, &Metrics::new()) else { panic!("refused") };
    let Decoded::Prepared(by_url) = decoder().decode(by_url, &Metrics::new()) else { panic!("refused") };
    assert_eq!(
        (by_url.facts, by_url.input.picture.rgb().map(<[u8]>::to_vec), by_url.input.fields),
        (inline.facts, inline.input.picture.rgb().map(<[u8]>::to_vec), inline.input.fields)
    );
    assert!(by_url.record.fetched.is_none(), "its slot is free while the post waits for the model");
}

#[test]
fn a_tombstone_passes_whatever_its_headers() {
    let mut tombstone = with_header(record(""), "content-type", "video/mp4");
    tombstone.value = None;
    assert_eq!(end(tombstone), "tombstone");
}

#[test]
fn a_panic_becomes_its_message() {
    assert_eq!(contained(|| 7), Ok(7));
    assert_eq!(contained(|| -> u8 { panic!("literal") }), Err("literal".to_owned()));
    assert_eq!(contained(|| -> u8 { panic!("number {}", 7) }), Err("number 7".to_owned()));
    assert_eq!(contained(|| std::panic::panic_any(7)), Err::<u8, _>("a panic without a message".to_owned()));
}

#[test]
fn a_panicking_codec_costs_its_record_only() {
    let metrics = Metrics::new();
    let watch = Watch::new(Duration::from_mins(1), 1);
    let panicking = || Ready(refusing_panics(&metrics, || panic!("index out of bounds")));
    let Some((record, Some(ready))) = watch.during(record("x"), panicking) else { panic!("not in time") };
    let Decoded::Settled(Outcome { record, verdict: Verdict::Refused { refusal, .. } }) = ready.end(record) else {
        panic!("not refused")
    };
    assert_eq!(refusal.to_string(), "codec_panicked: index out of bounds");
    assert_eq!(record.value.as_deref(), Some(b"x".as_slice()));
    assert_eq!(metrics.panics.get(), 1);
}

#[test]
fn a_spec_that_cannot_be_done_is_refused() {
    let words = tokens::tests::words();
    let sound = Spec { tokenizer: words.path().to_owned(), ..spec(16, 16) };
    for (broken, problem) in [
        (Spec { width: 0, ..sound.clone() }, "image size 0 x 16"),
        (Spec { crop: f64::NAN, ..sound.clone() }, "image crop NaN"),
        (Spec { crop: 1.01, ..sound.clone() }, "image crop 1.01"),
        (Spec { max_tokens: 1, ..sound.clone() }, "max_tokens is 1"),
        (Spec { tokenizer: "missing.json".into(), ..sound.clone() }, "tokenizer missing.json"),
        (Spec { fields: vec![field("mood", &["{mood}"])], ..sound.clone() }, r#"field mood: part "{mood}""#),
    ] {
        let error = Decoder::new(settings(), broken).expect_err(problem).to_string();
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn settings_name_the_key_and_the_fix() {
    assert_eq!(settings().validate(), Ok(()));
    for (broken, key) in [
        (Settings { image_pixels: 0, ..settings() }, "decode.image_pixels is 0"),
        (Settings { frames: 0, ..settings() }, "decode.frames is 0"),
        (Settings { timeout_ms: 0, ..settings() }, "decode.timeout_ms is 0"),
        (Settings { timeout_ms: 3_600_001, ..settings() }, "decode.timeout_ms is 3600001; set it"),
        (Settings { image_side: 70_000, ..settings() }, "decode.image_side is 70000; set it"),
        (Settings { json_depth: 3, ..settings() }, "decode.json_depth is 3; set it between 4 and 127"),
    ] {
        let problem = broken.validate().expect_err(key);
        assert!(problem.contains(key), "{problem}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_bytes_end_somewhere(value in proptest::collection::vec(any::<u8>(), 0..200), binary: bool) {
        let record = record(value);
        let record = if binary { with_header(record, "content-type", "image/png") } else { record };
        prop_assert_ne!(end(record), "codec_panicked");
    }

    #[test]
    fn a_flipped_byte_ends_somewhere(at in any::<prop::sample::Index>(), byte: u8, format in 0_usize..4) {
        let format = [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP, ImageFormat::Gif][format];
        let mut image = encoded(19, 23, format);
        let at = at.index(image.len());
        image[at] = byte;
        prop_assert_ne!(end(with_header(record(image), "content-type", "image/png")), "codec_panicked");
    }
}
