//! Configurations of one pool, drawn at random.

use std::path::Path;

use fastrand::Rng;
use mqtt_lb::testing::config::{self, Config};

/// The brokers that there may ever be.
pub(crate) const BROKERS: u16 = 6;

/// Those that DNS has, if it is asked.
pub(crate) const DISCOVERED: std::ops::Range<u16> = 4..BROKERS;

const BACKUP: &str = ", backup: true";

/// A pool of some of the brokers, with some of the keys.
pub(crate) fn draw(rng: &mut Rng) -> config::Pool {
    let mut lines = vec![format!("balance: {{ algorithm: {} }}", algorithm(rng))];
    let optional = [
        format!(
            "admission: {{ rate: {}, burst: {}, max_wait: 2s }}",
            rng.u32(1..50),
            rng.u32(1..5)
        ),
        format!("rebalance: {{ rate: {} }}", rng.u32(1..1000)),
        "slow_start: 5s".to_owned(),
        format!("on_down: {}", if rng.bool() { "keep" } else { "close" }),
        "discover: { dns: brokers.test }".to_owned(),
        format!("connect_timeout: {}ms", rng.u32(100..2000)),
    ];
    lines.extend(optional.into_iter().filter(|_| rng.bool()));
    lines.push(format!("health: {{ {} }}", health(rng)));
    let upstreams: Vec<_> = (0..BROKERS).filter(|_| rng.u8(..4) > 0).collect();
    let upstreams = if upstreams.is_empty() { vec![0] } else { upstreams };
    let mut upstreams: Vec<_> = upstreams.into_iter().map(|id| upstream(rng, id)).collect();
    // One at least has to be a primary.
    upstreams[0] = upstreams[0].replace(BACKUP, "");
    lines.push(format!("upstreams: [ {} ]", upstreams.join(", ")));
    parse(&lines.join(", "))
}

/// A broker as DNS would say it.
pub(crate) fn discovered(rng: &mut Rng, id: u16) -> config::Upstream {
    let broker = upstream(rng, id).replace(BACKUP, "");
    let broker = parse(&format!("upstreams: [ {broker} ]")).upstreams.remove(0);
    config::Upstream { backup: rng.u8(..5) == 0, ..broker }
}

fn parse(pool: &str) -> config::Pool {
    let text = format!(
        "{{ listeners: [ {{ name: l, bind: \"127.0.0.1:0\", pool: p }} ], \
         pools: [ {{ name: p, {pool} }} ] }}"
    );
    let config = Config::parse(&text, Path::new("seed.yaml"), &|_| None);
    config.unwrap_or_else(|faults| panic!("{faults}: {text}")).pools.remove(0)
}

fn algorithm(rng: &mut Rng) -> &'static str {
    // Maglev's table takes too long to build so often without optimization.
    rng.choice(["rendezvous", "ketama", "least_connections", "round_robin"]).unwrap()
}

fn health(rng: &mut Rng) -> String {
    let mut keys = Vec::new();
    match rng.u8(..5) {
        0 => {}
        1 => keys.push("active: { type: tcp, interval: 1s, fall: 2, rise: 2 }".to_owned()),
        2 => keys.push(format!("active: {{ type: http, port: {}, fall: 1 }}", rng.u16(80..82))),
        3 => keys.push("active: { type: mqtt, interval: 2s, fall: 3, rise: 1 }".to_owned()),
        _ => keys.push("active: { type: mqtt, expect: [0, 5], fall: 2 }".to_owned()),
    }
    if rng.bool() {
        let (failures, seconds) = (rng.u32(..3), rng.u32(1..20));
        keys.push(format!("passive: {{ failures: {failures}, eject_for: {seconds}s }}"));
    }
    if rng.bool() {
        keys.push(format!("fail_open_percent: {}", rng.choice([0, 50, 90, 100]).unwrap()));
    }
    keys.join(", ")
}

/// Some configurations have a broker at another address, or of another weight or rank.
fn upstream(rng: &mut Rng, id: u16) -> String {
    let port = 1000 + 10 * id + rng.u16(..2);
    let mut keys = vec![format!("name: b{id}, address: \"127.0.0.1:{port}\"")];
    if rng.bool() {
        keys.push(format!(", weight: {}", rng.u8(1..4)));
    }
    if rng.u8(..4) == 0 {
        keys.push(format!(", max_connections: {}", rng.u8(1..5)));
    }
    if rng.u8(..5) == 0 {
        keys.push(BACKUP.to_owned());
    }
    let keys = keys.concat();
    format!("{{ {keys} }}")
}
