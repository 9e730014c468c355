//! Every family, as exposed to Prometheus.

use std::{
    io::Write,
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use crate::{
    config::CertificateFile,
    labels::{EndBy, EndCause, EndPhase, RouteKind},
    metrics::{
        registry::{AcceptError, Metrics},
        upstream::{TryOutcome, UpstreamMetrics},
    },
};

/// Creates every sample of a broker. The returned value keeps the scoped ones.
pub(super) fn touch(upstream: &UpstreamMetrics) -> impl Sized + use<> {
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
    upstream.ejections.inc_by(2);
    upstream.count_check("ok");
    upstream.count_check("timeout");
    upstream.count_check("ok");
    let (waiting, waited) = upstream.admission();
    waiting.set(4);
    waited.observe(0.0);
    waited.observe(7.5);
    (waiting, waited)
}

fn certificate(path: &str) -> CertificateFile {
    CertificateFile { path: path.into(), not_before: 1, not_after: 4_102_444_800 }
}

/// A registry in which every family has a sample while the second value exists.
pub(super) fn touched() -> (Metrics, impl Sized) {
    let metrics = Metrics::new();
    let listener = metrics.listener("mqtt");
    listener.connections_total.inc();
    listener.connections_active.set(3);
    listener.handshake_seconds.observe(0.002);
    for version in [3, 4, 4, 5, 5, 5, 0, 2, 6, 255] {
        listener.count_session(Some(version));
    }
    listener.count_session(None);
    let upstream = metrics.upstream("brokers", "broker-1");
    let admission = touch(&upstream);
    let pool = metrics.pool("brokers");
    pool.failing_open.set(1);
    pool.count_lookup("empty");
    pool.count_discovered("added", 3);
    pool.count_discovered("removed", 0);
    for &route in RouteKind::ALL {
        pool.count_route(route);
    }
    pool.count_route(RouteKind::EmptyId);
    metrics.count_end(EndBy::Proxy, EndPhase::Relay, EndCause::Idle);
    metrics.count_reject("malformed");
    metrics.count_key_limit(EndBy::Upstream);
    metrics.count_accept_error(AcceptError::ProcessDescriptors);
    metrics.set_connections_limit(1000);
    metrics.access_logs().dropped.inc_by(7);
    let log = metrics.access_logs().blocked("/var/log/access.log");
    log.set(true);
    metrics.program_log_dropped().inc_by(11);
    metrics.set_certificates([("listener", "mqtts", &certificate("/etc/c.pem"))].into_iter());
    (metrics, (listener, upstream, admission, pool, log))
}

#[test]
fn every_family_of_the_contract() {
    let (metrics, _kept) = touched();
    let text = metrics.render();
    let version = env!("CARGO_PKG_VERSION");
    for sample in [
        r#"connections_total{listener="mqtt"} 1"#,
        r#"access_log_blocked{log="/var/log/access.log"} 1"#,
        r#"connections_active{listener="mqtt"} 3"#,
        r#"sessions_total{listener="mqtt",version="3"} 1"#,
        r#"sessions_total{listener="mqtt",version="4"} 2"#,
        r#"sessions_total{listener="mqtt",version="5"} 3"#,
        r#"session_ends_total{by="proxy",cause="idle",phase="relay"} 1"#,
        r#"rejects_total{reason="malformed"} 1"#,
        r#"key_limits_total{connection="client"} 0"#,
        r#"key_limits_total{connection="upstream"} 1"#,
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
        r#"upstream_ejections_total{pool="brokers",upstream="broker-1"} 2"#,
        r#"health_checks_total{outcome="ok",pool="brokers",upstream="broker-1"} 2"#,
        r#"health_checks_total{outcome="timeout",pool="brokers",upstream="broker-1"} 1"#,
        r#"admission_waiting{pool="brokers",upstream="broker-1"} 4"#,
        // A client that is admitted at once counts as a wait of 0.
        r#"admission_wait_seconds_bucket{pool="brokers",upstream="broker-1",le="0"} 1"#,
        r#"admission_wait_seconds_bucket{pool="brokers",upstream="broker-1",le="5"} 1"#,
        r#"admission_wait_seconds_bucket{pool="brokers",upstream="broker-1",le="10"} 2"#,
        r#"admission_wait_seconds_sum{pool="brokers",upstream="broker-1"} 7.5"#,
        r#"pool_failing_open{pool="brokers"} 1"#,
        r#"pool_down_held{pool="brokers"} 0"#,
        r#"discovery_lookups_total{outcome="empty",pool="brokers"} 1"#,
        r#"discovery_changes_total{change="added",pool="brokers"} 3"#,
        r#"discovery_changes_total{change="removed",pool="brokers"} 0"#,
        r#"routes_total{pool="brokers",route="hash"} 1"#,
        r#"routes_total{pool="brokers",route="referred"} 1"#,
        r#"routes_total{pool="brokers",route="empty_id"} 2"#,
        r#"bytes_total{direction="in",pool="brokers",upstream="broker-1"} 11"#,
        r#"bytes_total{direction="out",pool="brokers",upstream="broker-1"} 22"#,
        r#"accept_errors_total{kind="process_descriptors"} 1"#,
        r#"accept_errors_total{kind="aborted"} 0"#,
        "connections_limit 1000",
        "access_log_dropped_total 7",
        "program_log_dropped_total 11",
        &format!(r#"build_info{{version="{version}"}} 1"#),
    ] {
        let sample = format!("mqtt_lb_{sample}");
        assert!(text.lines().any(|line| line == sample), "{sample} is not in:\n{text}");
    }
    assert!(text.contains("\nprocess_open_fds "), "{text}");
}

/// Reload counters exist from the start, so that a rate sees the first refused reload.
#[test]
fn reloads_are_counted_and_dated() {
    let metrics = Metrics::new();
    let sample = |name: &str| {
        let name = format!("mqtt_lb_config_{name} ");
        let value: Option<String> =
            metrics.render().lines().find_map(|line| Some(line.strip_prefix(&name)?.into()));
        value.unwrap_or_else(|| panic!("no {name}"))
    };
    let count = |outcome| sample(&format!(r#"reloads_total{{outcome="{outcome}"}}"#));
    let date = || -> u64 { sample("last_reload_success_timestamp_seconds").parse().unwrap() };
    let in_force = || sample("last_reload_successful") == "1";
    let now = || SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();

    let start = date();
    assert!(now() - start < 60, "{start}");
    assert_eq!((count("applied"), count("refused")), ("0".to_owned(), "0".to_owned()));
    assert!(in_force());
    // A refused reload does not change the time of the last success.
    metrics.reloads.last_success.set(7);
    metrics.count_reload(false);
    assert_eq!((count("applied"), count("refused"), date()), ("0".to_owned(), "1".to_owned(), 7));
    assert!(!in_force());
    metrics.count_reload(true);
    metrics.count_reload(true);
    assert_eq!((count("applied"), count("refused")), ("2".to_owned(), "1".to_owned()));
    assert!(in_force() && date() >= start, "{start}");
}

/// The samples of our own families, without those of the process, which change all the time.
pub(super) fn samples(metrics: &Metrics) -> Vec<String> {
    metrics.render().lines().filter(|line| line.starts_with("mqtt_lb_")).map(Into::into).collect()
}

/// A renewal removes the samples of the old certificates.
#[test]
fn certificates_replace_those_before() {
    let (metrics, _kept) = touched();
    let expiries = || -> Vec<_> {
        let is_it = |line: &String| line.starts_with("mqtt_lb_certificate_expiry");
        samples(&metrics).into_iter().filter(is_it).collect()
    };
    let family = "mqtt_lb_certificate_expiry_timestamp_seconds";
    let first = format!(r#"{family}{{file="/etc/c.pem",kind="listener",name="mqtts"}} 4102444800"#);
    assert_eq!(expiries(), [first]);
    let (ours, shared) = (certificate("client.pem"), certificate("d.pem"));
    let all =
        [("listener", "mqtts", &shared), ("listener", "mqtts", &shared), ("pool", "b", &ours)];
    metrics.set_certificates(all.into_iter());
    let listener = format!(r#"{family}{{file="d.pem",kind="listener",name="mqtts"}} 4102444800"#);
    let pool = format!(r#"{family}{{file="client.pem",kind="pool",name="b"}} 4102444800"#);
    assert_eq!(expiries(), [pool, listener]);
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
    let (metrics, _kept) = touched();
    let metrics = metrics.render();
    promtool.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let verdict = promtool.wait_with_output().unwrap();
    let said = [verdict.stdout, verdict.stderr].concat();
    assert_eq!(String::from_utf8_lossy(&said), "");
    assert!(verdict.status.success());
}
