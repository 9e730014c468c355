//! Many reloads, and large ones.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use super::{says, take};
use crate::{
    client::Client,
    config::Config,
    harness::{heavy, is_end, wait_for},
    routing::brokers,
};

const SESSIONS: usize = 200;
const RELOADS: usize = 40;

/// Every session carries traffic all the while, and each byte comes back.
#[test]
fn many_reloads_under_traffic_lose_and_leak_nothing() {
    let _alone = heavy();
    let [b1, b2, b3] = brokers();
    let with = |brokers: [&crate::broker::Broker; 3], count: usize, n: usize| {
        let mut config = Config::of(brokers.into_iter().take(count)).workers(2);
        config = config.pool(&format!("connack_timeout: {}s", 10 + n % 3));
        config = config.pool("on_down: keep").pool("health: { active: { type: tcp } }");
        config.more(&format!("limits: {{ max_connections_per_ip: {} }}", 100_000 + n % 2))
    };
    let all = [&b1, &b2, &b3];
    let proxy = with(all, 2, 0).start();
    let stop = Arc::new(AtomicBool::new(false));
    let rounds = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..4)
        .map(|part| {
            let mut sessions: Vec<_> = (0..SESSIONS / 4)
                .map(|n| Client::session(proxy.address(), &format!("c{part}-{n}")))
                .collect();
            let (stop, rounds) = (stop.clone(), rounds.clone());
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    for session in &mut sessions {
                        session.echo(b"\x30\x05\x00\x01tab");
                    }
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
                sessions
            })
        })
        .collect();
    let reload = |n: usize| {
        let count = if n.is_multiple_of(2) { 3 } else { 2 };
        take(&proxy, &with(all, count, n));
    };
    (0..10).for_each(reload);
    let threads = || std::fs::read_dir(format!("/proc/{}/task", proxy.id())).unwrap().count();
    let (descriptors, memory, threads_before) = (proxy.descriptors(), proxy.memory(), threads());
    (10..RELOADS).for_each(reload);
    let seen = rounds.load(Ordering::Relaxed);
    wait_for("traffic after the last reload", || {
        (rounds.load(Ordering::Relaxed) > seen + 8).then_some(())
    });
    assert!(!proxy.log().iter().any(is_end), "no session has ended");
    // A check may be under way: one connection a broker.
    let now = proxy.descriptors();
    assert!(now <= descriptors + 6, "{descriptors} descriptors, then {now}");
    let grown = proxy.memory().saturating_sub(memory);
    assert!(grown < 2 << 20, "{grown} bytes more after {} reloads", RELOADS - 10);
    assert!(threads() <= threads_before + 1, "{threads_before} threads, then {}", threads());
    stop.store(true, Ordering::Relaxed);
    let sessions: Vec<_> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    assert_eq!(sessions.len(), SESSIONS);
    let applied = proxy.metric("mqtt_lb_config_reloads_total", &["outcome=\"applied\""]);
    assert_eq!(applied as usize, RELOADS);
}

#[test]
fn ten_thousand_brokers_come_and_go() {
    let _alone = heavy();
    let [broker] = brokers();
    let config = Config::of([&broker]);
    let proxy = config.start();
    let mut session = Client::session(proxy.address(), "there");
    let mut large = config.clone();
    large.upstreams.extend((0..9_999).map(|n| {
        format!(
            "{{ name: far-{n}, address: \"127.1.{}.{}:1\", backup: true }}",
            n / 250,
            n % 250 + 1
        )
    }));
    says(&take(&proxy, &large), "pool brokers: far-0, far-1,");
    session.echo(b"\xC0\x00");
    Client::session(proxy.address(), "new");
    assert_eq!(proxy.wait_end("new")["upstream"], "b1");
    says(&take(&proxy, &config), "and 9979 more removed");
    session.echo(b"\xC0\x00");
    wait_for("their metrics to be gone", || {
        (!proxy.get("/metrics").contains("far-")).then_some(())
    });
}
