//! Every family, as Prometheus sees it.

use std::{
    io::Write,
    process::{Command, Stdio},
    time::Duration,
};

use crate::observe::{EndBy, EndCause, EndPhase, Metrics, RouteKind, TryOutcome};

/// A registry in which every family has a sample.
fn touched() -> Metrics {
    let metrics = Metrics::new();
    let listener = metrics.listener("mqtt");
    listener.connections_total.inc();
    listener.connections_active.set(3);
    listener.handshake_seconds.observe(0.002);
    for version in [3, 4, 4, 5, 5, 5, 0, 2, 6, 255] {
        listener.count_session(version);
    }
    let upstream = metrics.upstream("brokers", "broker-1");
    upstream.up.set(1);
    upstream.sessions_active.set(2);
    upstream.bytes_in.inc_by(11);
    upstream.bytes_out.inc_by(22);
    upstream.connect_seconds.observe(0.0002);
    upstream.count_connack("success", Duration::from_millis(3));
    for &outcome in TryOutcome::ALL {
        upstream.count_try(outcome);
    }
    upstream.count_try(TryOutcome::NoConnack);
    let pool = metrics.pool("brokers");
    for &route in RouteKind::ALL {
        pool.count_route(route);
    }
    pool.count_route(RouteKind::EmptyId);
    metrics.count_end(EndBy::Proxy, EndPhase::Relay, EndCause::Idle);
    metrics.count_reject("malformed");
    metrics.count_accept_error("descriptors");
    metrics.access_log_dropped().inc_by(7);
    metrics
}

#[test]
fn every_family_of_the_contract() {
    let text = touched().render();
    let version = env!("CARGO_PKG_VERSION");
    for sample in [
        r#"connections_total{listener="mqtt"} 1"#,
        r#"connections_active{listener="mqtt"} 3"#,
        r#"sessions_total{listener="mqtt",version="3"} 1"#,
        r#"sessions_total{listener="mqtt",version="4"} 2"#,
        r#"sessions_total{listener="mqtt",version="5"} 3"#,
        r#"session_ends_total{by="proxy",cause="idle",phase="relay"} 1"#,
        r#"rejects_total{reason="malformed"} 1"#,
        r#"handshake_seconds_count{listener="mqtt"} 1"#,
        r#"handshake_seconds_bucket{listener="mqtt",le="0.001"} 0"#,
        r#"handshake_seconds_bucket{listener="mqtt",le="0.0025"} 1"#,
        r#"upstream_connect_seconds_bucket{pool="brokers",upstream="broker-1",le="0.00025"} 1"#,
        r#"connack_seconds_sum{pool="brokers",upstream="broker-1"} 0.003"#,
        r#"connacks_total{pool="brokers",reason="success",upstream="broker-1"} 1"#,
        r#"upstream_sessions_active{pool="brokers",upstream="broker-1"} 2"#,
        r#"upstream_up{pool="brokers",upstream="broker-1"} 1"#,
        r#"upstream_tries_total{outcome="accepted",pool="brokers",upstream="broker-1"} 1"#,
        r#"upstream_tries_total{outcome="no_connack",pool="brokers",upstream="broker-1"} 2"#,
        r#"routes_total{pool="brokers",route="hash"} 1"#,
        r#"routes_total{pool="brokers",route="empty_id"} 2"#,
        r#"bytes_total{direction="in",pool="brokers",upstream="broker-1"} 11"#,
        r#"bytes_total{direction="out",pool="brokers",upstream="broker-1"} 22"#,
        r#"accept_errors_total{kind="descriptors"} 1"#,
        "access_log_dropped_total 7",
        &format!(r#"build_info{{version="{version}"}} 1"#),
    ] {
        let sample = format!("mqtt_lb_{sample}");
        assert!(text.lines().any(|line| line == sample), "{sample} is not in:\n{text}");
    }
    assert!(text.contains("\nprocess_open_fds "), "{text}");
}

/// Handles share their families: a clone, or the same name asked for twice, counts on.
#[test]
fn handles_of_one_name_share_their_counters() {
    let metrics = Metrics::new();
    metrics.clone().listener("a").connections_total.inc();
    metrics.listener("a").connections_total.inc();
    assert_eq!(metrics.listener("a").connections_total.get(), 2);
    assert_eq!(Metrics::new().listener("a").connections_total.get(), 0);
}

#[test]
fn promtool_finds_nothing_to_say() {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool cannot be started: install Debian's package prometheus");
    let metrics = touched().render();
    promtool.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let verdict = promtool.wait_with_output().unwrap();
    let said = [verdict.stdout, verdict.stderr].concat();
    assert_eq!(String::from_utf8_lossy(&said), "");
    assert!(verdict.status.success());
}
