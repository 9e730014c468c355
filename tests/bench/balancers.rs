//! The time of one pick, by balancer and number of brokers.

use std::{hint::black_box, num::NonZeroU32};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use mqtt_lb::testing::balance::{Algorithm, Router, WeightedBroker};

fn picks(criterion: &mut Criterion) {
    for (name, algorithm) in [
        ("rendezvous", Algorithm::Rendezvous),
        ("maglev", Algorithm::Maglev),
        ("ketama", Algorithm::Ketama),
        ("least_connections", Algorithm::LeastConnections),
        ("round_robin", Algorithm::RoundRobin),
    ] {
        bench(criterion, name, algorithm, |_| 1);
    }
    // Where weights differ, fewer brokers are ruled out without their logarithm.
    bench(criterion, "rendezvous_weighted", Algorithm::Rendezvous, |i| 1 + i % 10);
}

fn bench(criterion: &mut Criterion, name: &str, algorithm: Algorithm, weight: fn(u32) -> u32) {
    let keys = keys();
    let mut group = criterion.benchmark_group(name);
    for count in [10, 100, 1_000] {
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            let mut router = Router::new(algorithm, &brokers(count, weight));
            let mut keys = keys.iter().cycle();
            bencher.iter(|| {
                let key = keys.next().map_or(&[][..], Vec::as_slice);
                router.pick(black_box(key), &|i| Some(black_box(i as u32)))
            });
        });
    }
    group.finish();
}

fn brokers(count: u32, weight: fn(u32) -> u32) -> Vec<WeightedBroker> {
    let broker = |i| WeightedBroker {
        name: format!("emqx-{i}.emqx-headless.mqtt.svc").into(),
        weight: NonZeroU32::new(weight(i)).unwrap_or(NonZeroU32::MIN),
        backup: false,
    };
    (0..count).map(broker).collect()
}

/// Of 23 bytes, the most that MQTT 3.1 allows a client ID; many, since how many scores must be
/// computed in full depends on the key.
fn keys() -> Vec<Vec<u8>> {
    (0..4_096).map(|i| format!("sensor-{i:016x}").into_bytes()).collect()
}

criterion_group!(benches, picks);
criterion_main!(benches);
