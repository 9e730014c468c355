//! Every connection ends in exactly one record, whatever becomes of it.

use std::{collections::HashMap, net::SocketAddr, thread};

use serde_json::Value;

use crate::{
    broker::Broker,
    client::{CONNACK_V3, Client, Connect, DISCONNECT, connack, connect, publish},
    config::Config,
    harness::{end, heavy, is_end, wait_for},
};

const THREADS: usize = 4;
const EACH: usize = 500;
const TOTAL: usize = THREADS * EACH;

/// Brokers that accept, refuse, or leave, by the first letter of the client ID.
fn moody() -> Broker {
    Broker::start(|mut link| {
        let Some(connect) = link.read_packet() else { return };
        match connect[14] {
            b'r' => link.send(&connack(4, 5)),
            b'l' => {}
            b'x' => {
                link.send(CONNACK_V3);
                link.reset();
            }
            _ => {
                link.send(CONNACK_V3);
                while link.read_packet().is_some_and(|packet| packet != DISCONNECT) {}
            }
        }
    })
}

/// The `n`th connection of a thread, which ends in one of ten ways.
fn connect_somehow(address: SocketAddr, t: usize, n: usize) {
    let id = |mood: &str| format!("{mood}-{t}-{n}");
    let mut client = Client::open(address);
    match n % 10 {
        0 => client.send(b"GET / HTTP/1.1\r\n\r\n"),
        1 => {}
        2 => {
            client.send(&connect(4, &id("refused")));
            client.expect(&connack(4, 5));
        }
        3 => {
            client.send(&connect(4, &id("leaves")));
            client.expect(&connack(4, 3));
        }
        4 => {
            client.send(&connect(4, &id("x")));
            let _ = client.rest();
        }
        5 => {
            client.send(&connect(4, &id("abrupt")));
            client.expect(CONNACK_V3);
            client.reset();
        }
        6 => {
            // Gone before its answer.
            client.send(&connect(4, &id("hasty")));
            client.reset();
        }
        7 => client.reset(),
        _ => {
            let mut sent = connect(4, &id("good"));
            sent.extend(publish(b"once"));
            sent.extend(DISCONNECT);
            client.send(&sent);
            client.expect(CONNACK_V3);
            client.expect_end();
        }
    }
}

#[test]
fn as_many_records_as_connections() {
    let _alone = heavy();
    let brokers = [moody(), moody()];
    let proxy = Config::of(&brokers).workers(2).start();
    let address = proxy.address();
    let descriptors = proxy.descriptors();
    thread::scope(|scope| {
        for t in 0..THREADS {
            scope.spawn(move || {
                for n in 0..EACH {
                    connect_somehow(address, t, n);
                }
            });
        }
    });
    proxy.wait_metric("mqtt_lb_connections_active", &[], 0.0);
    proxy.wait_metric("mqtt_lb_session_ends_total", &[], TOTAL as f64);
    proxy.wait_ends(TOTAL);
    wait_for("every socket to be closed", || (proxy.descriptors() <= descriptors).then_some(()));
    let log = proxy.log();
    let ends: Vec<_> = log.iter().filter(|line| is_end(line)).collect();
    assert_eq!(ends.len(), TOTAL);

    // One end a connection, and a connect line to each disconnect and to no reject.
    let mut lines: HashMap<&str, Vec<&str>> = HashMap::new();
    for line in &log {
        let session = line["session"].as_str().unwrap();
        lines.entry(session).or_default().push(line["event"].as_str().unwrap());
    }
    assert_eq!(lines.len(), TOTAL);
    for (session, events) in &lines {
        let is_one =
            [&["reject"][..], &["probe"], &["connect", "disconnect"]].contains(&&events[..]);
        assert!(is_one, "{session}: {events:?}");
    }

    // The metrics tell the same, end by end.
    let mut by_end: HashMap<String, u64> = HashMap::new();
    for line in &ends {
        *by_end.entry(end(line)).or_default() += 1;
    }
    for (end, count) in &by_end {
        let mut words = end.split('/');
        let labels =
            ["by", "phase", "cause"].map(|label| format!("{label}=\"{}\"", words.next().unwrap()));
        let labels = labels.each_ref().map(String::as_str);
        assert_eq!(proxy.metric("mqtt_lb_session_ends_total", &labels) as u64, *count, "{end}");
    }
    let count = |event: &str| log.iter().filter(|line| line["event"] == event).count();
    assert_eq!(proxy.metric("mqtt_lb_connections_total", &[]) as usize, TOTAL);
    assert_eq!(
        proxy.metric("mqtt_lb_sessions_total", &["version=\"4\""]) as usize,
        count("connect")
    );
    assert_eq!(proxy.metric("mqtt_lb_rejects_total", &[]) as usize, count("reject"));
    assert_eq!(proxy.metric("mqtt_lb_probes_total", &[]) as usize, count("probe"));
    assert_eq!(proxy.metric("mqtt_lb_upstream_sessions_active", &[]) as u64, 0);
    // What came of the tries adds up to the tries.
    let tries: u64 = ends.iter().filter_map(|line| line["tries"].as_u64()).sum();
    assert_eq!(proxy.metric("mqtt_lb_upstream_tries_total", &[]) as u64, tries);
    // Bytes of sessions, and of those that a broker refused: its CONNACK says more than a code.
    let answered = || ends.iter().filter(|line| line.get("session_present").is_some());
    let bytes = |field: &str| -> u64 { answered().filter_map(|line| line[field].as_u64()).sum() };
    proxy.wait_metric("mqtt_lb_bytes_total", &["direction=\"in\""], bytes("bytes_in") as f64);
    proxy.wait_metric("mqtt_lb_bytes_total", &["direction=\"out\""], bytes("bytes_out") as f64);

    let good: Vec<_> = ends
        .iter()
        .filter(|line| line["client_id"].as_str().is_some_and(|id| id.starts_with("good")))
        .collect();
    assert_eq!(good.len(), TOTAL / 5);
    for line in good {
        assert_eq!(line["event"], "disconnect");
        assert_eq!(line["tries"], 1);
        assert_eq!(line["connack"], 0);
        assert_ne!(line["time"], Value::Null);
    }
}

const SECRET: &str = "correct-horse-battery-staple";

#[test]
fn passwords_are_nowhere() {
    let mut broker = Broker::echoing();
    let mut config = Config::of([&broker]);
    config.log_level = "trace";
    config.access_log =
        "{ path: access.log, format: json }, { path: text.log, format: text }".into();
    let proxy = config.more("timeouts: { connect_packet: 1s }").start();
    let with_password = |version, id: &'static str| {
        Connect { password: Some(SECRET), ..Connect::new(version, id).username("eve") }.bytes()
    };
    for version in [3, 4, 5] {
        let connect = with_password(version, "ok");
        Client::exchange(proxy.address(), &connect, &connack(version, 0));
    }
    // Cut off, malformed behind the password, and with no broker to go to.
    let whole = with_password(4, "cut");
    Client::open(proxy.address()).send(&whole[..whole.len() - 1]);
    let mut cut = Client::open(proxy.address());
    cut.send(&whole[..whole.len() - 1]);
    cut.expect_end();
    let mut trailing = with_password(5, "trailing");
    trailing[1] += 1;
    trailing.push(b'!');
    Client::exchange(proxy.address(), &trailing, &connack(5, 0x81)).expect_end();
    broker.stop();
    Client::exchange(proxy.address(), &with_password(5, "down"), &connack(5, 0x88)).expect_end();
    let ends = proxy.wait_ends(7);
    assert!(ends.iter().any(|line| line["has_password"] == true));
    let text = wait_for("the text log", || {
        let text = std::fs::read_to_string(proxy.path("text.log")).unwrap();
        (text.lines().count() >= 10).then_some(text)
    });
    let json = std::fs::read_to_string(proxy.path("access.log")).unwrap();
    for told in [text, json, proxy.stderr().join("\n"), proxy.get("/metrics")] {
        assert!(!told.contains(SECRET), "{told}");
        assert!(!told.contains(&SECRET[..12]), "{told}");
    }
}

/// Times are those at which things happen: what takes one turn of a worker takes time as well.
#[test]
fn the_times_of_a_plain_client() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).start();
    let mut client = Client::session(proxy.address(), "timed");
    client.echo(b"\xC0\x00");
    client.finish();
    let line = proxy.wait_end("timed");
    let millis = |field: &str| line[field].as_f64().unwrap_or_default();
    for field in ["handshake_ms", "dial_ms", "connack_ms"] {
        assert!(millis(field) > 0.0, "{field} of {line}");
    }
    let parts = millis("handshake_ms") + millis("dial_ms") + millis("connack_ms");
    assert!(parts <= millis("duration_ms") + 0.01, "{line}");
    for family in ["handshake_seconds", "upstream_connect_seconds", "connack_seconds"] {
        let sum = proxy.metric(&format!("mqtt_lb_{family}_sum"), &[]);
        assert!(sum > 0.0, "{family}: {sum}");
    }
}
