//! What it costs to make the encoder's input of a JPEG, beside Pillow: `make decode-cost`, or `cargo bench --bench decode`.
//!
//! The pictures are mosaics of the sample photographs, in which every pixel tells as much as in a sharp photograph, in the
//! chroma and at about the size of a phone's files. One thread, processor time on both sides, on average of many rounds: other
//! work on the machine hardly changes it. `PYTHON=path` names a Python with Pillow (`.deps/models-venv` has one); without it
//! only the own column is told. Below that: whole records with pictures of 16 x 16 pixels, from the record to the model's input.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark: it may stop, and tells"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use std::{env, fs};

use image::imageops::{self, FilterType};
use image::{ImageFormat, RgbImage};
use prometheus::IntGauge;
use sentistream::budget::{Budget, Limits};
use sentistream::decode::{Decoded, Decoder, FieldSpec, Spec};
use sentistream::message::{Assignment, Facts, Header, Metadata, Origin, Position, Post, Record};
use sentistream::metrics::Metrics;
use sentistream::settings;
use serde_json::Value;
use turbojpeg::{Compressor, PixelFormat, Subsamp};

const SIDES: [u32; 3] = [512, 1080, 2048];
/// Sides of the photographs in a mosaic.
const TILE: u32 = 270;
/// As phones and social networks write them, bytes a pixel.
const NATURAL: f64 = 0.17;
const ROUNDS: u32 = 100;
const TINY: u32 = 20_000;

fn main() {
    let decoder = decoder();
    let metrics = Metrics::new();
    let folder = tempfile::tempdir().expect("a folder");
    let files: Vec<PathBuf> = SIDES.iter().map(|side| folder.path().join(format!("{side}.jpg"))).collect();
    let tiles = tiles();
    for (side, file) in SIDES.iter().zip(&files) {
        fs::write(file, jpeg(&mosaic(&tiles, *side))).expect("written");
    }
    let own = files.iter().map(|file| own(&decoder, &fs::read(file).expect("read"), &metrics));
    let own: Vec<f64> = own.collect();
    let pillow = pillow(&files);
    println!("short side        here   Pillow: decode + resize   with exif_transpose, convert            with draft()");
    for (number, (side, own)) in SIDES.iter().zip(own).enumerate() {
        print!("{side:>7} px  {own:>7.2} ms");
        for key in ["full", "usual", "draft"] {
            let other = pillow.get(number).map(|pillow| pillow[key].as_f64().expect("a number"));
            print!("{}", other.map(|other| format!("  {other:>9.2} ms, ratio {:.3}", own / other)).unwrap_or_default());
        }
        println!();
    }
    for (format, name) in [(ImageFormat::Jpeg, "image/jpeg"), (ImageFormat::Png, "image/png")] {
        println!("a record with {name} of 16 x 16 pixels: {:.1} us", tiny(&decoder, format, name, &metrics));
    }
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// As the default bundle is read.
fn decoder() -> Decoder {
    let field = |name: &str, part: &str| FieldSpec { name: name.into(), parts: vec![part.into()] };
    let spec = Spec {
        width: 224,
        height: 224,
        crop: 0.875,
        max_tokens: 64,
        fields: vec![field("caption", "{caption}"), field("tags", "{hashtags}"), field("context", "{scene}")],
        tokenizer: repository("models/default/tokenizer.json"),
    };
    Decoder::new(settings::load(None).expect("the defaults are valid").decode, spec).expect("the default bundle")
}

fn tiles() -> Vec<RgbImage> {
    let mut names: Vec<PathBuf> = fs::read_dir(repository("tests/fixtures/photos"))
        .expect("the sample photographs")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.extension().is_some_and(|extension| ["jpg", "png", "webp"].iter().any(|of| extension == *of))
        })
        .collect();
    names.sort();
    let tile = |path: &PathBuf| {
        let photo = image::open(path).expect("a photograph").into_rgb8();
        let side = photo.width().min(photo.height());
        let square = imageops::crop_imm(&photo, (photo.width() - side) / 2, (photo.height() - side) / 2, side, side);
        imageops::resize(&square.to_image(), TILE, TILE, FilterType::Lanczos3)
    };
    names.iter().map(tile).collect()
}

/// 4 to 3, with this short side.
fn mosaic(tiles: &[RgbImage], side: u32) -> RgbImage {
    let mut mosaic = RgbImage::new(side * 4 / 3, side);
    let places =
        (0..side).step_by(TILE as usize).flat_map(|y| (0..side * 4 / 3).step_by(TILE as usize).map(move |x| (x, y)));
    for ((x, y), tile) in places.zip(tiles.iter().cycle()) {
        imageops::replace(&mut mosaic, tile, x.into(), y.into());
    }
    mosaic
}

/// In the best quality that makes no more than natural bytes of it.
fn jpeg(picture: &RgbImage) -> Vec<u8> {
    let mut compressor = Compressor::new().expect("libjpeg-turbo");
    compressor.set_subsamp(Subsamp::Sub2x2).expect("a chroma");
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let mut at = |quality| {
        compressor.set_quality(quality).expect("a quality");
        let pixels = picture.as_raw().as_slice();
        let image = turbojpeg::Image { pixels, width, pitch: width * 3, height, format: PixelFormat::RGB };
        compressor.compress_to_vec(image).expect("encodes")
    };
    let most = NATURAL * f64::from(picture.width()) * f64::from(picture.height());
    let found = (1..20)
        .map(|step| at(95 - step * 5))
        .find(|bytes| f64::from(u32::try_from(bytes.len()).expect("small")) <= most);
    found.expect("some quality is small enough")
}

/// Milliseconds from the encoded picture to the model's input.
fn own(decoder: &Decoder, jpeg: &[u8], metrics: &Metrics) -> f64 {
    let image = bytes::Bytes::copy_from_slice(jpeg);
    let once = || {
        let facts = Facts { id: "post".to_owned(), source: None, published_at: None, tags: Vec::new() };
        let post = Post { facts, image: image.clone(), metadata: Metadata::default() };
        std::hint::black_box(decoder.prepare(post, metrics));
    };
    once();
    processor_seconds(|| (0..ROUNDS).for_each(|_| once())) * 1e3 / f64::from(ROUNDS)
}

/// What some work takes of the processor, to within a few milliseconds.
fn processor_seconds(work: impl FnOnce()) -> f64 {
    let so_far = || {
        let told = fs::read_to_string("/proc/self/schedstat").expect("Linux");
        told.split(' ').next().and_then(|first| first.parse::<f64>().ok()).expect("nanoseconds") * 1e-9
    };
    let before = so_far();
    work();
    so_far() - before
}

/// What the files cost in Pillow, where a Python with Pillow is named.
fn pillow(files: &[PathBuf]) -> Vec<Value> {
    let Some(python) = env::var_os("PYTHON").filter(|python| !python.is_empty()) else { return Vec::new() };
    let told = Command::new(python).arg(repository("benches/decode.py")).args(files).output().expect("Python starts");
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    String::from_utf8_lossy(&told.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Microseconds from a record with a tiny picture and a caption to the model's input.
fn tiny(decoder: &Decoder, format: ImageFormat, content_type: &str, metrics: &Metrics) -> f64 {
    let picture = imageops::resize(&tiles()[0], 16, 16, FilterType::Triangle);
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).expect("encodes");
    let value = bytes::Bytes::from(bytes.into_inner());
    let gauge = |name: &str| IntGauge::new(name, "bench").expect("a valid name");
    let limits = Limits { records: 1, bytes: 1 << 20, record_bytes: 1 << 20 };
    let budget = Budget::new(limits, gauge("records"), gauge("bytes"));
    let once = || {
        let end = decoder.decode(record(&value, content_type, &budget), metrics);
        assert!(matches!(end, Decoded::Prepared(_)), "refused");
    };
    processor_seconds(|| (0..TINY).for_each(|_| once())) * 1e6 / f64::from(TINY)
}

fn record(value: &bytes::Bytes, content_type: &str, budget: &std::sync::Arc<Budget>) -> Record {
    let header = |key: &str, value: &str| Header { key: key.into(), value: Some(value.as_bytes().to_vec().into()) };
    let place = Origin { topic: "posts".into(), partition: 0, offset: 0 };
    Record {
        position: Position {
            place: place.clone(),
            origin: place,
            assignment: Assignment::new(1),
            sequence: 0,
            permit: budget.admit(value.len()),
            pulled_at: Instant::now(),
        },
        key: None,
        value: Some(value.clone()),
        headers: vec![
            header("content-type", content_type),
            header("metadata", r#"{"caption": "What a wonderful day at the lake #travel"}"#),
        ],
        timestamp: None,
        fetched: None,
        schema: None,
        span: None,
    }
}
