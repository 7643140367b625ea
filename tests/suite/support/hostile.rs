//! The hostile corpus of `tests/fixtures/hostile`, as its manifest tells it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::repository;

/// A record that means harm.
#[derive(Debug, Deserialize)]
pub struct Hostile {
    pub name: String,
    /// `result`, or the reason of its dead letter.
    pub ends: String,
    headers: Vec<(String, String)>,
    value: Vec<Part>,
}

/// A part of a value, once or many times over.
#[derive(Debug, Deserialize)]
struct Part {
    #[serde(flatten)]
    content: Content,
    #[serde(default = "once")]
    times: usize,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Content {
    File(String),
    Text(String),
    Base64(String),
}

fn once() -> usize {
    1
}

/// All of them, in the manifest's order.
pub fn corpus() -> Vec<Hostile> {
    let manifest = std::fs::read(repository("tests/fixtures/hostile/manifest.json")).expect("the manifest");
    serde_json::from_slice(&manifest).expect("a manifest")
}

impl Hostile {
    pub fn value(&self) -> Vec<u8> {
        let part = |part: &Part| match &part.content {
            Content::File(name) => std::fs::read(repository("tests/fixtures/hostile").join(name)).expect("its file"),
            Content::Text(text) => text.as_bytes().repeat(part.times),
            Content::Base64(text) => STANDARD.decode(text).expect("base64").repeat(part.times),
        };
        self.value.iter().flat_map(part).collect()
    }

    pub fn headers(&self) -> Vec<(String, Vec<u8>)> {
        self.headers.iter().map(|(key, value)| (key.clone(), value.as_bytes().to_vec())).collect()
    }

    /// Whether its value is an image.
    pub fn is_image(&self) -> bool {
        self.headers.iter().any(|(key, value)| key == "content-type" && value.starts_with("image/"))
    }
}
