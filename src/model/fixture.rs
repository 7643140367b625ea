//! For tests: the bundles of `tests/fixtures/bundles` (see `make.py` there), posts for `tiny`, and altered copies of it.

use std::fs;
use std::path::{Path, PathBuf};

use ndarray::Array2;
use tempfile::TempDir;

use super::{Bundle, Model, ModelError, Provider, Settings, encode};
use crate::message::{ModelInput, Picture};
use crate::metrics::Metrics;
use sha2::{Digest, Sha256};

const SIDE: usize = 16;
/// Token ids of the empty text in `tiny`.
pub(crate) const EMPTY: &[u32] = &[2, 3];

pub(crate) fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bundles").join(name)
}

pub(crate) fn settings(bundle: &Path, provider: Provider) -> Settings {
    Settings {
        bundle: bundle.to_path_buf(),
        provider,
        device_id: 0,
        threads: 1,
        sessions: 1,
        cache_bytes: 0,
        effects: true,
        onnxruntime: None,
    }
}

/// The model of an untampered bundle, or why its graphs are refused.
pub(crate) fn load(bundle: &Path, settings: &Settings) -> Result<Model, ModelError> {
    Model::load(&Bundle::open(bundle).expect("untampered"), settings, EMPTY)
}

pub(crate) fn model() -> Model {
    let tiny = folder("tiny");
    load(&tiny, &settings(&tiny, Provider::Cpu)).expect("a sound bundle")
}

/// What a bundle's image encoder makes of these pixels.
pub(crate) fn image_embeddings(bundle: &Path, pixels: Vec<Vec<u8>>) -> Array2<f32> {
    let mut model = load(bundle, &settings(bundle, Provider::Cpu)).expect("a sound bundle");
    let inputs: Vec<ModelInput> =
        pixels.into_iter().map(|pixels| ModelInput { picture: self::pixels(pixels), fields: vec![] }).collect();
    let inputs: Vec<&ModelInput> = inputs.iter().collect();
    let run = encode::Run { provider: Provider::Cpu, max_tokens: 1, cache: None, metrics: &Metrics::new() };
    encode::images(&mut model.image_encoder, &inputs, run).expect("embedded")
}

/// A picture outside of any cache.
pub(crate) fn pixels(rgb: Vec<u8>) -> Picture {
    Picture::Pixels { rgb, key: None }
}

/// An even picture of this brightness, and the token ids of its fields.
pub(crate) fn post(brightness: u8, fields: [Option<&[u32]>; 3]) -> ModelInput {
    let fields = fields.into_iter().map(|text| text.map(<[u32]>::to_vec)).collect();
    ModelInput { picture: pixels(vec![brightness; SIDE * SIDE * 3]), fields }
}

/// The post with another top left pixel; (1, 2, 3) makes the image encoder give NaN.
pub(crate) fn with_corner(mut post: ModelInput, colour: [u8; 3]) -> ModelInput {
    let Picture::Pixels { rgb, .. } = &mut post.picture else { panic!("no pixels") };
    rgb[..3].copy_from_slice(&colour);
    post
}

pub(crate) fn close(one: &[f32], other: &[f32]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| (one - other).abs() < 2e-6)
}

/// A copy of the tiny bundle whose manifest is `alter`ed.
pub(crate) fn altered(alter: impl FnOnce(String) -> String) -> TempDir {
    let copy = tempfile::tempdir().expect("folder");
    for file in fs::read_dir(folder("tiny")).expect("fixture") {
        let file = file.expect("file");
        fs::copy(file.path(), copy.path().join(file.file_name())).expect("copied");
    }
    let manifest = copy.path().join("bundle.toml");
    let text = fs::read_to_string(&manifest).expect("manifest");
    fs::write(manifest, alter(text)).expect("written");
    copy
}

/// A copy of the tiny bundle with one file replaced, its sum in the manifest made right.
pub(crate) fn replaced(file: &str, bytes: &[u8]) -> TempDir {
    let old = fs::read(folder("tiny").join(file)).expect("fixture");
    let sum = |bytes: &[u8]| hex::encode(Sha256::digest(bytes));
    let copy = altered(|manifest| manifest.replace(&sum(&old), &sum(bytes)));
    fs::write(copy.path().join(file), bytes).expect("written");
    copy
}
