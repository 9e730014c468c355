//! Samples of listeners, pools and brokers: exposed while those exist, and continued if they
//! return.

use std::{collections::BTreeSet, thread, time::Duration};

use rustix::time::{ClockId, clock_gettime};

use super::families::{samples, touch, touched};
use crate::{
    labels::RouteKind,
    metrics::{owners::MAX_FORMER_OWNERS, registry::Metrics},
};

/// The value of a sample, if it is exposed.
fn value(metrics: &Metrics, sample: &str) -> Option<String> {
    let start = format!("mqtt_lb_{sample} ");
    samples(metrics).iter().find_map(|line| Some(line.strip_prefix(&start)?.to_owned()))
}

fn bytes_in(metrics: &Metrics, upstream: &str) -> Option<String> {
    value(metrics, &format!(r#"bytes_total{{direction="in",pool="p",upstream="{upstream}"}}"#))
}

/// Only owned families have the owners' labels.
#[test]
fn every_sample_has_an_owner() {
    let (metrics, kept) = touched();
    let is_owned = |line: &&String| {
        ["listener=\"", "pool=\"", "upstream=\""].iter().any(|label| line.contains(label))
    };
    let names: BTreeSet<_> = samples(&metrics)
        .iter()
        .filter(is_owned)
        .filter_map(|sample| Some(sample.split('{').next()?.to_owned()))
        .collect();
    // Five families of listeners, seven of pools, eight of brokers, and four histograms with three
    // names each.
    assert_eq!(names.len(), 5 + 7 + 8 + 4 * 3, "{names:?}");
    drop(kept);
    let left: Vec<_> = samples(&metrics).into_iter().filter(|line| is_owned(&line)).collect();
    assert!(left.is_empty(), "{left:#?}");
}

/// No sample of a removed broker is exposed, and no sample of others is lost.
#[test]
fn a_broker_that_goes_takes_its_samples_and_no_others() {
    let metrics = Metrics::new();
    // They share one of the two names or part of one, or are equal when concatenated.
    let others = [("brokers", "broker-10"), ("brokers-2", "broker-1"), ("brokersb", "roker-1")];
    let others = others.map(|(pool, upstream)| metrics.upstream(pool, upstream));
    let _admissions = others.each_ref().map(touch);
    let before = samples(&metrics);
    for (pool, upstream) in [("brokers", "broker-1"), ("kü\\che", "b\"1\n#2")] {
        let gone = metrics.upstream(pool, upstream);
        let clone = gone.clone();
        let admission = touch(&gone);
        assert!(samples(&metrics).len() > before.len());
        drop((gone, admission));
        assert!(samples(&metrics).len() > before.len());
        drop(clone);
        assert_eq!(samples(&metrics), before);
    }
}

/// A clone, or a second registration of a name, shares the counters; another registry does not.
#[test]
fn those_of_one_name_share_their_samples() {
    let metrics = Metrics::new();
    let first = metrics.clone().listener("a");
    first.connections_total.inc();
    let second = metrics.listener("a");
    second.connections_total.inc();
    drop(first);
    assert_eq!(second.connections_total.get(), 2);
    assert_eq!(value(&metrics, r#"connections_total{listener="a"}"#).unwrap(), "2");
    assert_eq!(Metrics::new().listener("a").connections_total.get(), 0);
}

#[test]
fn one_that_comes_back_counts_on_and_is_gauged_anew() {
    let metrics = Metrics::new();
    let upstream = metrics.upstream("p", "b");
    let admission = touch(&upstream);
    // The broker is removed while its gauge is not 0.
    assert_eq!(upstream.sessions_active.get(), 2);
    drop((upstream, admission));
    assert!(bytes_in(&metrics, "b").is_none());

    let upstream = metrics.upstream("p", "b");
    let of = r#"{pool="p",upstream="b"}"#;
    upstream.bytes_in.inc();
    upstream.count_check("ok");
    upstream.connect_seconds.observe(0.1);
    assert_eq!(bytes_in(&metrics, "b").unwrap(), "12");
    for (sample, expected) in [
        (format!("upstream_connect_seconds_count{of}"), "2"),
        (r#"health_checks_total{outcome="ok",pool="p",upstream="b"}"#.to_owned(), "3"),
        (r#"connacks_total{pool="p",reason="success",upstream="b"}"#.to_owned(), "1"),
        (format!("upstream_sessions_active{of}"), "0"),
        (format!("upstream_up{of}"), "0"),
    ] {
        assert_eq!(value(&metrics, &sample).as_deref(), Some(expected), "{sample}");
    }

    let pool = metrics.pool("p");
    pool.count_route(RouteKind::Hash);
    pool.count_lookup("ok");
    pool.failing_open.set(1);
    drop(pool);
    let pool = metrics.pool("p");
    pool.count_route(RouteKind::Hash);
    for (sample, expected) in [
        (r#"routes_total{pool="p",route="hash"}"#, "2"),
        (r#"discovery_lookups_total{outcome="ok",pool="p"}"#, "1"),
        (r#"pool_failing_open{pool="p"}"#, "0"),
    ] {
        assert_eq!(value(&metrics, sample).as_deref(), Some(expected), "{sample}");
    }

    let listener = metrics.listener("l");
    listener.handshake_seconds.observe(0.2);
    listener.connections_active.inc();
    listener.count_session(Some(5));
    drop(listener);
    let _listener = metrics.listener("l");
    for (sample, expected) in [
        (r#"handshake_seconds_count{listener="l"}"#, "1"),
        (r#"sessions_total{listener="l",version="5"}"#, "1"),
        (r#"connections_active{listener="l"}"#, "0"),
    ] {
        assert_eq!(value(&metrics, sample).as_deref(), Some(expected), "{sample}");
    }
}

/// A sample that depends on a broker's configuration is not exposed after a reload removes it.
#[test]
fn parts_of_a_broker_come_and_go_while_it_stays() {
    let metrics = Metrics::new();
    let upstream = metrics.upstream("p", "b");
    let ports = r#"upstream_ports_active{pool="p",source="10.0.0.1",upstream="b"}"#;
    let waited = r#"admission_wait_seconds_count{pool="p",upstream="b"}"#;
    let waiting = r#"admission_waiting{pool="p",upstream="b"}"#;
    let (before, after) = (upstream.ports_active("10.0.0.1"), upstream.ports_active("10.0.0.1"));
    before.inc();
    let admission = upstream.admission();
    admission.1.observe(1.0);
    drop(before);
    assert_eq!(value(&metrics, ports).unwrap(), "1");
    drop((after, admission));
    for sample in [ports, waiting, waited] {
        assert_eq!(value(&metrics, sample), None, "{sample}");
    }
    assert_eq!(upstream.ports_active("10.0.0.1").get(), 0);
    let _admission = upstream.admission();
    assert_eq!(value(&metrics, waiting).unwrap(), "0");
    assert_eq!(value(&metrics, waited).unwrap(), "1");
    // A scoped sample keeps its owner registered, even if that is dropped first.
    drop(upstream);
    assert_eq!(value(&metrics, waited).unwrap(), "1");
    assert_eq!(bytes_in(&metrics, "b").unwrap(), "0");
}

/// In whatever order threads drop the last registration and add the next, no count is lost, and the
/// exposed values are correct.
#[test]
fn threads_that_drop_and_register_one_name() {
    const THREADS: u64 = 4;
    const ROUNDS: u64 = 5_000;
    let metrics = Metrics::new();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for round in 0..ROUNDS {
                    let upstream = metrics.upstream("p", "b");
                    upstream.bytes_in.inc();
                    upstream.connect_seconds.observe(1.0);
                    upstream.sessions_active.inc();
                    let ports = upstream.ports_active("auto");
                    ports.inc();
                    if round % 1024 == 0 {
                        assert!(bytes_in(&metrics, "b").is_some());
                    }
                    ports.dec();
                    upstream.sessions_active.dec();
                }
            });
        }
    });
    assert_eq!(bytes_in(&metrics, "b"), None);
    let upstream = metrics.upstream("p", "b");
    assert_eq!(upstream.bytes_in.get(), THREADS * ROUNDS);
    assert_eq!(upstream.connect_seconds.get_sample_count(), THREADS * ROUNDS);
    assert_eq!(upstream.sessions_active.get(), 0);
    assert_eq!(bytes_in(&metrics, "b").unwrap(), (THREADS * ROUNDS).to_string());
}

/// Brokers that come and go do not accumulate: only the last ones removed are remembered.
#[test]
fn those_that_are_gone_are_remembered_within_bounds() {
    let metrics = Metrics::new();
    let touch = |n: usize| metrics.upstream("p", &n.to_string()).bytes_in.inc();
    (0..MAX_FORMER_OWNERS + 2).for_each(touch);
    // 0 and 1 are forgotten. 2 comes back and goes, so 3 is now the one removed longest ago.
    touch(2);
    touch(0);
    let count = |n: usize| metrics.upstream("p", &n.to_string()).bytes_in.get();
    assert_eq!([2, 4, MAX_FORMER_OWNERS + 1].map(count), [2, 1, 1]);
    assert_eq!(count(3), 0);
}

/// A scrape of 10,000 brokers: `cargo test --lib scrape_cost -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn scrape_cost() {
    let metrics = Metrics::new();
    let _upstreams: Vec<_> =
        (0..10_000).map(|n| metrics.upstream("pool", &format!("broker-{n}"))).collect();
    // This thread's CPU time, so that other programs do not count.
    let now = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
    let scrapes = (0..6).map(|_| {
        let began = now();
        let bytes = metrics.render().len();
        (now().saturating_sub(began), bytes)
    });
    let (took, bytes) = scrapes.min().unwrap();
    println!("{took:?} for {bytes} bytes");
}
