//! What reading a CONNECT costs, and choosing a broker for it.

use std::{hint::black_box, num::NonZeroU32};

use criterion::{Criterion, criterion_group, criterion_main};
use mqtt_lb::testing::{
    balance::{Algorithm, Router, WeightedBroker},
    proto::mqtt::{Progress, Strictness, connect},
};

/// A device that logs in, in 3.1.1.
const V311: &[u8] = b"\x10\x3D\x00\x04MQTT\x04\xC2\x00\x3C\x00\x16meter-4f2c-0193-77ab-e\
    \x00\x09tenant-17\x00\x0Es3cret-s3cret-";

/// The same in 5.0, with a session expiry, limits, a user property and a Will.
const V5: &[u8] = b"\x10\x82\x01\x00\x04MQTT\x05\xEE\x00\x3C\
    \x1E\x11\x00\x00\x0E\x10\x21\x00\x14\x27\x00\x01\x00\x00\x26\x00\x02fw\x00\x0A2026.08-r1\
    \x00\x16meter-4f2c-0193-77ab-e\
    \x05\x18\x00\x00\x00\x1E\x00\x18meters/4f2c-0193/offline\x00\x04gone\
    \x00\x09tenant-17\x00\x0Es3cret-s3cret-";

fn parse(c: &mut Criterion) {
    // The default of `limits.connect_packet`.
    let limit = 64 * 1024;
    for (name, packet) in [("3.1.1", V311), ("5.0", V5)] {
        assert!(
            matches!(connect::parse(packet, limit, Strictness::Strict), Ok(Progress::Complete(_))),
            "{name}"
        );
        c.bench_function(&format!("connect/{name}"), |b| {
            b.iter(|| connect::parse(black_box(packet), black_box(limit), Strictness::Strict));
        });
        let head = &packet[..packet.len() - 1];
        c.bench_function(&format!("connect/{name}/incomplete"), |b| {
            b.iter(|| connect::parse(black_box(head), black_box(limit), Strictness::Strict));
        });
    }
}

fn parse_and_route(c: &mut Criterion) {
    let broker = |i| WeightedBroker {
        name: format!("broker-{i}").into(),
        weight: NonZeroU32::MIN,
        backup: false,
    };
    let brokers: Vec<_> = (0..10).map(broker).collect();
    let mut router = Router::new(Algorithm::Rendezvous, &brokers);
    for (name, packet) in [("3.1.1", V311), ("5.0", V5)] {
        c.bench_function(&format!("connect/{name}/and route over 10 brokers"), |b| {
            b.iter(|| {
                let packet = black_box(packet);
                match connect::parse(packet, 64 * 1024, Strictness::Strict) {
                    Ok(Progress::Complete(connect)) => {
                        router.pick(connect.client_id.of(packet).as_bytes(), &|_| Some(0))
                    }
                    _ => None,
                }
            });
        });
    }
}

criterion_group!(benches, parse, parse_and_route);
criterion_main!(benches);
