//! Real photographs as posts: the samples of `tests/fixtures/photos`, each decoded, cut differently and encoded anew as
//! JPEG, PNG or WebP, with the captions of the sample posts.

use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::{DynamicImage, ImageFormat};
use serde_json::{Value, json};

use super::repository;

/// What a test publishes.
#[derive(Debug, Clone, Default)]
pub struct TestPost {
    pub id: String,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
}

impl TestPost {
    /// A post in the JSON encoding, keyed by its id.
    pub fn json(id: &str, image: &[u8], metadata: &Value) -> Self {
        let post = json!({"id": id, "source": "test", "image": {"data": STANDARD.encode(image)}, "metadata": metadata});
        Self::raw(id, post.to_string().as_bytes())
    }

    /// A post in the binary encoding, keyed by its id.
    pub fn binary(id: &str, content_type: &str, image: &[u8], metadata: &Value) -> Self {
        let header = |key: &str, value: &str| (key.to_owned(), value.as_bytes().to_vec());
        let headers = vec![
            header("content-type", content_type),
            header("ce_id", id),
            header("ce_source", "test"),
            header("metadata", &metadata.to_string()),
        ];
        Self { headers, ..Self::raw(id, image) }
    }

    /// Any value under a key.
    pub fn raw(id: &str, value: &[u8]) -> Self {
        Self { id: id.to_owned(), key: Some(id.into()), value: Some(value.to_vec()), headers: vec![] }
    }

    /// A null value.
    pub fn tombstone(id: &str) -> Self {
        Self { value: None, ..Self::raw(id, b"") }
    }
}

/// The sample posts' image files and metadata.
pub fn samples() -> Vec<(String, Vec<u8>, Value)> {
    let folder = repository("tests/fixtures/photos");
    let list = std::fs::read_to_string(folder.join("posts.jsonl")).expect("sample posts");
    list.lines()
        .map(|line| {
            let post: Value = serde_json::from_str(line).expect("JSON");
            let name = post["image"]["path"].as_str().expect("a path").to_owned();
            let image = std::fs::read(folder.join(&name)).expect("sample photograph");
            (name, image, post.get("metadata").cloned().unwrap_or(json!({})))
        })
        .collect()
}

/// `count` distinct posts `<prefix>-0` …: JPEG, PNG and WebP in turn, in both encodings.
pub fn posts(prefix: &str, count: usize) -> Vec<TestPost> {
    let samples: Vec<(DynamicImage, Value)> = samples()
        .into_iter()
        .map(|(_, image, metadata)| (image::load_from_memory(&image).expect("sample decodes"), metadata))
        .collect();
    (0..count)
        .map(|number| {
            let (photo, metadata) = &samples[number % samples.len()];
            let (image, content_type) = encode(&variant(photo, number / samples.len()), number);
            let id = format!("{prefix}-{number}");
            if number % 2 == 0 {
                TestPost::binary(&id, content_type, &image, metadata)
            } else {
                TestPost::json(&id, &image, metadata)
            }
        })
        .collect()
}

/// Another cut of the same photograph.
fn variant(photo: &DynamicImage, number: usize) -> DynamicImage {
    let inset = u32::try_from(number % 40).expect("small");
    let (width, height) = (photo.width() - inset, photo.height() - inset);
    photo.crop_imm(inset / 2, inset, width, height).thumbnail(256, 256)
}

fn encode(photo: &DynamicImage, number: usize) -> (Vec<u8>, &'static str) {
    let (format, content_type) =
        [(ImageFormat::Jpeg, "image/jpeg"), (ImageFormat::Png, "image/png"), (ImageFormat::WebP, "image/webp")]
            [number % 3];
    let mut encoded = Cursor::new(Vec::new());
    DynamicImage::from(photo.to_rgb8()).write_to(&mut encoded, format).expect("encodes");
    (encoded.into_inner(), content_type)
}
