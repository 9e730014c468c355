//! Active health checks: the verdicts, and what becomes of the clients.

use std::{
    net::TcpListener,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};

use crate::{
    broker::{Broker, Link, echo, echo_to},
    client::{Client, connack},
    config::Config,
    descriptors::{start_with_descriptors, take_descriptors},
    harness::{Proxy, wait_for},
    probes::Seen,
    routing::{brokers, ids, route, visit},
};

pub(crate) const CHECKS: &str = "mqtt_lb_health_checks_total";
pub(crate) const UP: &str = "mqtt_lb_upstream_up";

/// The client ID of a CONNECT of 3.1.1 with less than 128 bytes.
pub(crate) fn client_id(packet: &[u8]) -> String {
    let len = usize::from(packet[13]);
    String::from_utf8(packet[14..14 + len].to_vec()).unwrap()
}

pub(crate) fn is_probe(packet: &[u8]) -> bool {
    client_id(packet).starts_with("mqttlb")
}

/// There were checks, and each came out like this.
#[track_caller]
pub(crate) fn assert_all(proxy: &Proxy, outcome: &str) {
    let count = |outcome: &str| proxy.metric(CHECKS, &[&format!("outcome=\"{outcome}\"")]) as u64;
    for other in ["ok", "failed", "timeout", "skipped"] {
        assert_eq!(count(other) > 0, other == outcome, "{} {other}", count(other));
    }
}

/// A check whose timeout is only there for failures.
pub(crate) fn patient(kind: &str) -> String {
    format!("health: {{ active: {{ type: {kind}, interval: 100ms, timeout: 30s }} }}")
}

pub(crate) fn hasty(kind: &str) -> String {
    format!("health: {{ active: {{ type: {kind}, interval: 100ms, timeout: 1s, fall: 2 }} }}")
}

/// A broker whose probes wait for the test to say what they are answered; its clients do not.
fn scripted() -> (Broker, mpsc::Sender<u8>) {
    let (answer, answers) = mpsc::channel();
    let answers = Mutex::new(answers);
    let broker = Broker::start(move |mut link: Link| {
        let Some(packet) = link.read_packet() else { return };
        if !is_probe(&packet) {
            return echo_to(link, &packet);
        }
        let answer = answers.lock().unwrap().recv();
        let Ok(code) = answer else { return };
        link.send(&connack(4, code));
        Seen::rest_of(&mut link, packet);
    });
    (broker, answer)
}

#[test]
fn a_verdict_falls_and_rises_with_its_probes() {
    let (judged, answer) = scripted();
    let other = Broker::echoing();
    let check =
        "health: { active: { type: mqtt, interval: 100ms, timeout: 60s, fall: 3, rise: 2 } }";
    let proxy = Config::of([&judged, &other]).pool(check).start();
    let ids = &ids()[..60];
    let homes = route(&proxy, &[], ids);
    let at_home = || {
        for (id, line) in visit(&proxy, ids) {
            let home = &homes[ids.iter().position(|other| *other == id).unwrap()][0];
            assert_eq!((line["upstream"].as_str(), &line["tries"]), (Some(&**home), &1.into()));
            assert_eq!(line["route"], "hash");
        }
    };
    // Up from the start, and again after a probe that contradicts and is contradicted.
    let (good, bad) = (0, 3);
    let mut probes = 0;
    let mut say = |codes: &[u8], up: &[u8]| {
        for (code, up) in codes.iter().zip(up) {
            probes += 1;
            answer.send(*code).unwrap();
            proxy.wait_metric(CHECKS, &["\"b1\""], f64::from(probes));
            assert_eq!(proxy.metric(UP, &["\"b1\""]) as u8, *up, "after {probes} probes");
        }
    };
    at_home();
    say(&[good, bad, bad, good, bad, bad], &[1, 1, 1, 1, 1, 1]);
    at_home();
    say(&[bad], &[0]);
    proxy.wait_stderr("CONNACK code 3 (server_unavailable), expected 0");
    let mut moved = 0;
    for (id, line) in visit(&proxy, ids) {
        let home = &homes[ids.iter().position(|other| *other == id).unwrap()][0];
        assert_eq!((&line["upstream"], &line["tries"]), (&"b2".into(), &1.into()));
        assert_eq!(line["route"], if home == "b1" { "fallback" } else { "hash" });
        moved += usize::from(home == "b1");
    }
    assert!(moved > 10, "{moved} of {} moved", ids.len());
    say(&[bad, good, bad, good], &[0, 0, 0, 0]);
    say(&[good], &[1]);
    at_home();
    assert_eq!(proxy.metric(CHECKS, &["\"b1\"", "\"failed\""]) as u64, 7);
    assert_eq!(proxy.metric(CHECKS, &["\"b1\"", "\"ok\""]) as u64, 5);
    let lines = proxy.stderr();
    let count = |part: &str| lines.iter().filter(|line| line.contains(part)).count();
    assert_eq!((count("down: 3 checks have failed"), count("up: its checks succeed")), (1, 1));
}

/// One that hangs, as a stopped process does: accepted by its kernel, and never answered.
#[test]
fn a_broker_that_never_answers() {
    let (silent, other) = (Broker::silent(), Broker::echoing());
    let mut config = Config::of([&silent, &other]).pool(&hasty("mqtt"));
    config.log_level = "debug";
    let proxy = config.start();
    proxy.wait_metric(UP, &["\"b1\""], 0.0);
    proxy.wait_stderr("down: 2 checks have failed");
    proxy.wait_stderr("health check failed");
    assert!(proxy.stderr().iter().any(|line| line.contains("no CONNACK within 1s")));
    assert!(proxy.metric(CHECKS, &["\"b1\"", "\"timeout\""]) > 1.5);
    assert_eq!(proxy.metric(CHECKS, &["\"b1\"", "\"failed\""]) as u64, 0);
    for line in visit(&proxy, &ids()[..20]).values() {
        assert_eq!((&line["upstream"], &line["tries"]), (&"b2".into(), &1.into()));
    }
}

#[test]
fn a_broker_that_is_not_there() {
    for kind in ["tcp", "mqtt"] {
        let mut brokers = brokers::<2>();
        brokers[0].stop();
        let proxy = Config::of(&brokers).pool(&patient(kind)).start();
        proxy.wait_metric(UP, &["\"b1\""], 0.0);
        proxy.wait_stderr("Connection refused");
        assert_eq!(proxy.metric(UP, &["\"b2\""]) as u64, 1);
        let listener = TcpListener::bind(brokers[0].address).unwrap();
        let _back = Broker::start_on(listener, echo);
        proxy.wait_metric(UP, &["\"b1\""], 1.0);
    }
}

/// When all look down, it is the checks that are doubted.
#[test]
fn every_check_fails() {
    let code = Arc::new(AtomicUsize::new(5));
    let both: [Broker; 2] = std::array::from_fn(|_| {
        let code = code.clone();
        Broker::start(move |mut link: Link| {
            let Some(packet) = link.read_packet() else { return };
            if !is_probe(&packet) {
                return echo_to(link, &packet);
            }
            link.send(&connack(4, code.load(Ordering::SeqCst) as u8));
            Seen::rest_of(&mut link, packet);
        })
    });
    let proxy = Config::of(&both).pool(&patient("mqtt")).start();
    proxy.wait_metric("mqtt_lb_pool_failing_open", &[], 1.0);
    proxy.wait_metric(UP, &[], 0.0);
    proxy.wait_stderr("2 of 2 brokers look down");
    let ids = &ids()[..40];
    let homes = route(&proxy, &[], ids);
    for (id, order) in ids.iter().zip(&homes) {
        let line = &visit(&proxy, std::slice::from_ref(id))[id];
        assert_eq!(
            (&line["upstream"], &line["route"]),
            (&order[0].as_str().into(), &"hash".into())
        );
    }
    code.store(0, Ordering::SeqCst);
    proxy.wait_metric("mqtt_lb_pool_failing_open", &[], 0.0);
    proxy.wait_metric(UP, &[], 2.0);
    proxy.wait_stderr("the checks are trusted again");
}

/// A broker that could not be checked is not down.
#[test]
fn checks_without_descriptors() {
    let broker = Broker::echoing();
    let mut config = Config::of([&broker]);
    config.log_level = "debug";
    let proxy = start_with_descriptors(2000, &config.pool(&patient("mqtt")));
    wait_for("a good check", || (proxy.metric(CHECKS, &["\"ok\""]) > 0.5).then_some(()));
    take_descriptors(&proxy, 100);
    let flood: Vec<_> = (0..200).map(|_| Client::open(proxy.address())).collect();
    let count = |part: &str| proxy.stderr().iter().filter(|line| line.contains(part)).count();
    wait_for("skipped checks", || (count("skipped a health check") > 5).then_some(()));
    drop(flood);
    proxy.wait_metric("mqtt_lb_connections_active", &[], 0.0);
    assert!(proxy.metric(CHECKS, &["\"skipped\""]) > 5.5);
    for outcome in ["\"failed\"", "\"timeout\""] {
        assert_eq!(proxy.metric(CHECKS, &[outcome]) as u64, 0);
    }
    assert_eq!((count("health check skipped: out of"), count("down:")), (1, 0));
}
