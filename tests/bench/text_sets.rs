//! The time of one look-up in a list of a million client IDs, what loading it takes, and its memory
//! for each entry.

use std::{hint::black_box, time::Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use mqtt_lb::testing::rules::TextSet;

/// The most entries that a file may have.
const ENTRIES: usize = 1_000_000;
/// More than a cache holds of them.
const LOOKED_UP: usize = 1 << 16;

fn look_ups(criterion: &mut Criterion) {
    let mut random = fastrand::Rng::with_seed(7);
    let ids: Vec<String> = (0..ENTRIES).map(|_| format!("dev-{:016x}", random.u64(..))).collect();
    let began = Instant::now();
    let mut set = TextSet::default();
    assert!(ids.iter().all(|id| set.insert(id)));
    set.shrink();
    let text: usize = ids.iter().map(String::len).sum();
    let beyond = (set.heap_bytes() - text) as f64 / ENTRIES as f64;
    eprintln!("{ENTRIES} entries: {:?}, {beyond:.1} bytes each beyond its text", began.elapsed());
    // Half of them are in the set.
    let wanted: Vec<String> = (0..LOOKED_UP)
        .map(|_| match random.choice(&ids).filter(|_| random.bool()) {
            Some(id) => id.clone(),
            None => format!("dev-{:016x}", random.u64(..)),
        })
        .collect();
    let mut next = wanted.iter().cycle();
    criterion.bench_function("contains/client_ids", |bencher| {
        bencher.iter(|| next.next().map(|id| set.contains(black_box(id))));
    });
}

criterion_group!(benches, look_ups);
criterion_main!(benches);
