//! Decoding held against the Python package that trains the bundles (`tests/fixtures/goldens`): training and serving must agree.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use image::{ImageFormat, RgbImage};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::tests::{record, settings, spec};
use super::*;
use crate::model::Bundle;
use crate::model::fixture::image_embeddings;
use crate::scorer::spec as spec_of;

/// How far pixels may be from those expected on average, in levels of 255.
const MOST_APART: f64 = 1.0;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn goldens(name: &str) -> Value {
    let text = fs::read_to_string(fixtures().join("goldens").join(name)).expect("goldens");
    serde_json::from_str(&text).expect("JSON")
}

/// Mean difference of two pictures, in levels.
fn apart(one: &[u8], other: &[u8]) -> f64 {
    assert_eq!(one.len(), other.len());
    let differences = one.iter().zip(other).map(|(one, other)| f64::from(one.abs_diff(*other)));
    differences.sum::<f64>() / f64::from(u32::try_from(one.len()).expect("small"))
}

/// Not close: the same, for every format, colour and orientation.
#[test]
fn pixels_are_those_of_pillow_to_the_last_bit() {
    let golden = goldens("pixels.json");
    let side = |key: &str| u32::try_from(golden[key].as_u64().expect("a number")).expect("a side");
    let small = side("shown");
    let shown = image::open(fixtures().join("goldens/pixels.png")).expect("pixels.png").into_rgb8().into_raw();
    let cases = golden["cases"].as_array().expect("cases");
    assert_eq!(shown.len(), cases.len() * (small * small * 3) as usize);
    let mut wrong = Vec::new();
    for (case, shown) in cases.iter().zip(shown.chunks((small * small * 3) as usize)) {
        let file = case["file"].as_str().expect("a name");
        let bytes = fs::read(fixtures().join(file)).expect(file);
        let read = |side| {
            let spec = Spec { crop: golden["crop"].as_f64().expect("a number"), ..spec(side, side) };
            pixels::read(&bytes, &settings(), &spec).expect(file)
        };
        let apart = apart(&read(small), shown);
        let is_same = hex::encode(Sha256::digest(read(side("size")))) == case["sha256"];
        if !is_same || apart > 0.0 {
            let verdict = if apart > MOST_APART { "too far" } else { "near, and not the same" };
            wrong.push(format!("{file}: {verdict}: {apart:.2} levels apart on average at {small} x {small}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} pictures are not Pillow's:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// The gate of reduced decoding, on the sample photographs, each at every size that one of the reductions begins at.
#[test]
fn a_reduced_photograph_is_within_a_level_of_the_whole_one() {
    let folder = fixtures().join("photos");
    let names = ["astronaut", "cameraman", "cat", "coffee", "hubble", "temple"];
    // Each reduction, and how many times the wanted side the side of the square then is.
    for (name, reduction, times) in names.iter().flat_map(|name| [(name, 2, 4), (name, 4, 10), (name, 8, 20)]) {
        let bytes = fs::read(folder.join(format!("{name}.jpg"))).expect("a photograph");
        let photo = image::load_from_memory(&bytes).expect("decodes").into_rgb8();
        let side = photo.width().min(photo.height()) * 7 / 8 / times;
        let spec = spec(side, side);
        let reduced = pixels::read(&bytes, &settings(), &spec).expect("decodes");
        // The same pixels without a loss, in a format that is not reduced; libjpeg-turbo's, as `image` rounds otherwise.
        let whole = turbojpeg::decompress(&bytes, turbojpeg::PixelFormat::RGB).expect("decodes");
        let whole = RgbImage::from_raw(photo.width(), photo.height(), whole.pixels).expect("of that size");
        let mut png = Cursor::new(Vec::new());
        whole.write_to(&mut png, ImageFormat::Png).expect("encodes");
        let whole = pixels::read(png.get_ref(), &settings(), &spec).expect("decodes");
        let apart = apart(&reduced, &whole);
        assert!(apart > 0.0, "{name}: not reduced by {reduction}");
        assert!(apart <= MOST_APART, "{name} by {reduction}: {apart:.2} levels apart on average");
    }
}

/// From the file to the default bundle's embedding, by cosine.
#[test]
fn the_image_encoder_sees_what_it_saw_in_python() {
    let golden = goldens("goldens.json");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/default");
    let spec = spec_of(&Bundle::open(&folder).expect("the default bundle"));
    let posts = golden["posts"].as_array().expect("posts");
    let pixels = posts.iter().map(|post| {
        let file = fixtures().join("goldens").join(post["image"].as_str().expect("a name"));
        pixels::read(&fs::read(file).expect("a picture"), &settings(), &spec).expect("decoded")
    });
    let embeddings = image_embeddings(&folder, pixels.collect());
    for (post, found) in posts.iter().zip(embeddings.rows()) {
        let bytes = STANDARD.decode(post["image_direction"].as_str().expect("base64")).expect("base64");
        let expected: Vec<f64> =
            bytes.as_chunks().0.iter().map(|level| f64::from(i16::from_le_bytes(*level))).collect();
        let found: Vec<f64> = found.iter().map(|level| f64::from(*level)).collect();
        let cosine = cosine(&found, &expected);
        assert!(cosine >= 0.999, "{}: cosine {cosine}", post["image"]);
    }
}

fn cosine(one: &[f64], other: &[f64]) -> f64 {
    let dot = |one: &[f64], other: &[f64]| one.iter().zip(other).map(|(one, other)| one * other).sum::<f64>();
    assert_eq!(one.len(), other.len());
    dot(one, other) / (dot(one, one) * dot(other, other)).sqrt()
}

/// The tokenizer of `transformers`, on the files that the default bundle's was made of.
#[test]
fn tokens_are_those_of_transformers() {
    let golden = goldens("tokens.json");
    let bundle = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/default/tokenizer.json");
    let most = usize::try_from(golden["max_tokens"].as_u64().expect("a number")).expect("a length");
    let encoder = tokens::Encoder::load(&bundle, most).expect("loads");
    let cases = golden["cases"].as_array().expect("cases");
    assert!(cases.len() > 50);
    for case in cases {
        let text = case["text"].as_str().expect("a text");
        let found = encoder.encode(text).expect("tokens").ids;
        assert_eq!(serde_json::json!(found), case["ids"], "{text:?}");
    }
}

#[test]
fn texts_are_made_as_the_python_package_makes_them() {
    let goldens = goldens("text.json");
    let parts = [
        ("caption", vec!["{caption}"]),
        ("tags", vec!["{hashtags}"]),
        (
            "context",
            vec!["the scene or background of image is {scene}", "the image contains the following objects: {objects}"],
        ),
    ];
    let settings = Settings { text_chars: 100_000, tags: 1_000, ..settings() };
    for case in goldens["cases"].as_array().expect("cases") {
        let json = format!(r#"{{"id": "p", "image": {{"data": "AAAA"}}, "metadata": {}}}"#, case["metadata"]);
        let value = Bytes::from(json);
        let post = envelope::read(&record(value.clone()), &value, &settings).expect("a post");
        let values = text::Values::new(&post.metadata);
        for (field, parts) in &parts {
            let templates: Vec<_> = parts.iter().map(|part| text::Template::parse(part).expect("a template")).collect();
            let expected = case["field_texts"][field].as_str();
            assert_eq!(values.field(&templates).as_deref(), expected, "{field} of {}", case["metadata"]);
        }
    }
}
