//! What the ledger of offsets costs: `cargo bench --bench offsets`.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use sentistream::offsets::{Ledger, Partition, Settled};

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
                let delivered: Vec<_> = (0..256).filter_map(|offset| ledger.deliver(&partition, offset, 0)).collect();
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

criterion_group!(offsets, ledger);
criterion_main!(offsets);
