//! What counting a result costs, and what a scrape costs: `cargo bench --bench metrics`.

#![expect(clippy::expect_used, reason = "a cycle of posts does not end")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use sentistream::message::{Facts, Flag, Prediction, Scored};
use sentistream::metrics::{Metrics, Readings};
use sentistream::result::Labelling;

fn scored(source: &str) -> Scored {
    Scored {
        facts: Facts { id: "p".into(), source: Some(source.into()), published_at: None, tags: vec![] },
        prediction: Prediction {
            probabilities: vec![0.2, 0.1, 0.7],
            relevance: vec![0.25; 4],
            effects: vec![],
            inferred: vec![false, false, true],
            inferred_tags: vec![],
            trace: None,
        },
        flags: vec![Flag::Missing("tags".into()), Flag::Inferred("context".into())],
    }
}

fn counting(criterion: &mut Criterion) {
    let labels = [("negative", -1.0), ("neutral", 0.0), ("positive", 1.0)];
    let labelling = Labelling {
        bundle: "b".into(),
        version: "1".into(),
        digest: "d".into(),
        labels: labels.map(|(name, polarity)| (name.to_owned(), polarity)).to_vec(),
        fields: ["caption", "tags", "context"].map(Into::into).to_vec(),
    };
    let metrics = Metrics::new().with_process();
    let readings = Readings::new(&metrics.sentiment, labelling, 20);
    let posts: Vec<Scored> = (0..40).map(|source| scored(&format!("instagram/account-{source}"))).collect();
    let mut next = posts.iter().cycle();
    criterion.bench_function("count a result", |bencher| {
        bencher.iter(|| readings.count(black_box(next.next().expect("endless"))));
    });
    criterion.bench_function("look a stage up and observe it", |bencher| {
        bencher.iter(|| metrics.stage_seconds.with_label_values(&[black_box("pixels")]).observe(0.01));
    });
    criterion.bench_function("expose everything", |bencher| bencher.iter(|| metrics.expose()));
}

criterion_group!(metrics, counting);
criterion_main!(metrics);
