//! What the stages before and behind the model cost: `cargo bench`. The model itself and the whole stream are measured
//! with a bundle and a broker, not here.

#![expect(
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a benchmark over fixed samples"
)]

use std::hint::black_box;
use std::io::Cursor;
use std::path::Path;
use std::time::Instant;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use image::ImageFormat;
use image::imageops::FilterType;
use prometheus::IntGauge;
use sentistream::budget::{Budget, Limits};
use sentistream::decode::{Decoder, FieldSpec, Spec};
use sentistream::message::{Assignment, Header, Origin, Position, Record};
use sentistream::metrics::Metrics;
use sentistream::offsets::{Ledger, Partition, Settled};
use sentistream::settings;

fn repository(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A real photograph with this short side, as a camera's JPEG.
fn photo(side: u32) -> Vec<u8> {
    let photo = image::open(repository("tests/fixtures/photos/temple.jpg")).expect("sample photograph");
    let scale = f64::from(side) / f64::from(photo.width().min(photo.height()));
    let longer = |pixels: u32| (f64::from(pixels) * scale) as u32;
    let photo = photo.resize(longer(photo.width()), longer(photo.height()), FilterType::Lanczos3);
    let mut jpeg = Cursor::new(Vec::new());
    photo.write_to(&mut jpeg, ImageFormat::Jpeg).expect("encodes");
    jpeg.into_inner()
}

fn record(image: &[u8], budget: &std::sync::Arc<Budget>) -> Record {
    let header = |key: &str, value: &str| Header { key: key.into(), value: Some(value.as_bytes().to_vec().into()) };
    let metadata = r#"{"caption": "What a wonderful day at the lake with friends #travel", "scene": "temple"}"#;
    Record {
        position: Position {
            place: Origin { topic: "posts".into(), partition: 0, offset: 0 },
            origin: Origin { topic: "posts".into(), partition: 0, offset: 0 },
            assignment: Assignment::new(1),
            sequence: 0,
            permit: budget.admit(image.len()),
            pulled_at: Instant::now(),
        },
        key: None,
        value: Some(image.to_vec().into()),
        headers: vec![header("content-type", "image/jpeg"), header("metadata", metadata)],
        timestamp: None,
        fetched: None,
    }
}

fn decode(criterion: &mut Criterion) {
    let field = |name: &str, part: &str| FieldSpec { name: name.into(), parts: vec![part.into()] };
    let spec = Spec {
        width: 224,
        height: 224,
        crop: 0.875,
        max_tokens: 64,
        fields: vec![field("caption", "{caption}"), field("tags", "{hashtags}"), field("context", "{scene}")],
        tokenizer: repository("models/default/tokenizer.json"),
    };
    let settings = settings::load(None).expect("the defaults are valid");
    let decoder = Decoder::new(settings.decode, spec).expect("the default bundle");
    let metrics = Metrics::new();
    let gauge = |name: &str| IntGauge::new(name, "bench").expect("valid name");
    let limits = Limits { records: 1, bytes: 1 << 26, record_bytes: 1 << 22 };
    let budget = Budget::new(limits, gauge("records"), gauge("bytes"));
    for side in [512, 1080, 2048] {
        let jpeg = photo(side);
        criterion.bench_function(&format!("decode a post with a JPEG of {side} px"), |bencher| {
            bencher.iter_batched(
                || record(&jpeg, &budget),
                |record| black_box(decoder.decode(record, &metrics)),
                BatchSize::SmallInput,
            );
        });
    }
}

fn ledger(criterion: &mut Criterion) {
    let partition = Partition { topic: "posts".into(), number: 0 };
    criterion.bench_function("deliver and settle 256 records, the last first", |bencher| {
        bencher.iter_batched(
            || {
                let mut ledger = Ledger::default();
                ledger.assign(partition.clone());
                ledger
            },
            |mut ledger| {
                let delivered: Vec<_> = (0..256).filter_map(|offset| ledger.deliver(&partition, offset)).collect();
                for (assignment, sequence) in delivered.into_iter().rev() {
                    let generation = assignment.generation;
                    ledger.settle(&Settled { partition: partition.clone(), generation, sequence });
                }
                black_box(ledger.committable())
            },
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(stages, decode, ledger);
criterion_main!(stages);
