//! Who counts in a broker's queue for admission: those who are still there.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    os::unix::net::UnixStream,
    sync::{Arc, Mutex},
};

use serde_json::Value;

use crate::{
    broker::Broker,
    client::{CONNACK_V3, Client, Connect, connect, publish},
    config::Config,
    harness::{PATIENCE, Proxy, end, is_end, wait_for},
    tls_client::{Pki, TlsClient},
    websocket::client::{REQUEST, SWITCHED, binary, close},
};

/// All that each connection of a broker has heard, up to its end.
type Heard = Arc<Mutex<Vec<Vec<u8>>>>;

/// Accepts every client, and keeps what it says until the end of its side.
fn listening_broker() -> (Broker, Heard) {
    let heard = Heard::default();
    let keep = heard.clone();
    let broker = Broker::start(move |mut link| {
        link.patient();
        let Some(mut said) = link.accept() else { return };
        if link.stream.read_to_end(&mut said).is_ok() {
            keep.lock().unwrap().push(said);
        }
    });
    (broker, heard)
}

/// A client for each transport, and each way of ending its side.
struct Crowd<'a> {
    proxy: &'a Proxy,
    pki: &'a Pki,
}

enum Member {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsClient>),
    WebSocket(TcpStream),
    Wss(Box<TlsClient>),
}

impl Crowd<'_> {
    /// So that there is a TCP listener as well as the unix socket, and one for each wrapping.
    fn config(broker: &Broker, pki: &Pki) -> Config {
        let config = Config::of([broker]).bind("unix:mqtt.sock").another_listener("name: tcp");
        config
            .another_listener(&format!("name: tls, {}", pki.tls("")))
            .another_listener("name: ws, websocket: {}")
            .another_listener(&format!("name: wss, {}, websocket: {{}}", pki.tls("")))
    }

    /// One of each, which has said `first`.
    fn members(&self, first: impl Fn(&str) -> Vec<u8>) -> Vec<(&'static str, Member)> {
        let tcp = |listener| Client::open(self.proxy.address_of(listener)).stream;
        let tls = |listener| Box::new(self.pki.client().open(self.proxy.address_of(listener)));
        let mut ws = Client::on(tcp("ws"));
        ws.send(REQUEST.as_bytes());
        ws.expect(SWITCHED.as_bytes());
        let mut wss = tls("wss");
        wss.send(REQUEST.as_bytes());
        wss.expect(SWITCHED.as_bytes());
        let unix = UnixStream::connect(self.proxy.path("mqtt.sock")).unwrap();
        unix.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut members = vec![
            ("tcp", Member::Tcp(tcp("tcp"))),
            ("unix", Member::Unix(unix)),
            ("tls", Member::Tls(tls("tls"))),
            ("ws", Member::WebSocket(ws.stream)),
            ("wss", Member::Wss(wss)),
        ];
        for (name, member) in &mut members {
            member.send(&first(name));
        }
        members
    }
}

impl Member {
    fn send(&mut self, bytes: &[u8]) {
        match self {
            Self::Tcp(tcp) => tcp.write_all(bytes).unwrap(),
            Self::Unix(unix) => unix.write_all(bytes).unwrap(),
            Self::Tls(tls) => tls.send(bytes),
            Self::WebSocket(tcp) => tcp.write_all(&binary(bytes)).unwrap(),
            Self::Wss(tls) => tls.send(&binary(bytes)),
        }
    }

    /// Ends its side, by its protocol's own word where there is one.
    fn finish(&mut self) {
        match self {
            Self::Tcp(tcp) => tcp.shutdown(Shutdown::Write).unwrap(),
            Self::Unix(unix) => unix.shutdown(Shutdown::Write).unwrap(),
            Self::Tls(tls) => tls.finish(),
            Self::WebSocket(tcp) => tcp.write_all(&close(1000)).unwrap(),
            Self::Wss(tls) => tls.send(&close(1000)),
        }
    }

    /// What it hears up to the end.
    fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = match self {
            Self::Tcp(stream) | Self::WebSocket(stream) => stream.read_to_end(&mut rest),
            Self::Unix(stream) => stream.read_to_end(&mut rest),
            Self::Tls(tls) | Self::Wss(tls) => return tls.rest().0,
        };
        rest
    }
}

#[track_caller]
fn wait_queue(proxy: &Proxy, at_least: f64) {
    wait_for("the queue", || {
        (proxy.metric("mqtt_lb_admission_waiting", &[]) >= at_least).then_some(())
    });
}

/// Whatever the transport, and whether the end is announced or not: the queue is empty at once, and
/// the next token is that of a client that is there.
#[test]
fn those_who_have_gone_are_not_in_it() {
    let (pki, (broker, _)) = (Pki::new(), listening_broker());
    let line = "admission: { rate: 1, burst: 1, max_wait: 300s }";
    let proxy = Crowd::config(&broker, &pki).pool(line).workers(2).start();
    let crowd = Crowd { proxy: &proxy, pki: &pki };
    let tcp = proxy.address_of("tcp");
    let _first = Client::session(tcp, "first");
    let (mut finishing, mut closing) = (Vec::new(), Vec::new());
    let id = |kind: &str, name: &str, n: usize| format!("gone-{kind}-{name}-{n}");
    for n in 0..4 {
        finishing.extend(crowd.members(|name| connect(4, &id("finishes", name, n))));
        closing.extend(crowd.members(|name| connect(5, &id("closes", name, n))));
    }
    let gone = finishing.len() + closing.len();
    wait_queue(&proxy, gone as f64 - 10.0);
    let mut patient = Client::open(tcp);
    patient.send(&connect(4, "patient"));
    for (_, member) in &mut finishing {
        member.finish();
    }
    drop(closing);
    // Forty tokens later it would have its turn anyway.
    patient.expect(CONNACK_V3);
    let is_gone = |line: &Value| line["client_id"].as_str().is_some_and(|id| id.contains("gone"));
    let ends = wait_for("their ends", || {
        let ends: Vec<_> = proxy.log().into_iter().filter(is_end).collect();
        (ends.iter().filter(|line| is_gone(line)).count() == gone).then_some(ends)
    });
    let left: Vec<_> = ends.iter().filter(|line| line["event"] == "reject").collect();
    for line in &left {
        // A client of TLS that closes has not read its tickets, and so the kernel resets.
        let is_reset = line["client_id"].as_str().unwrap().starts_with("gone-closes-")
            && line["tls_version"].is_string()
            && end(line) == "client/dial/reset";
        assert!(is_reset || end(line) == "client/dial/closed", "{line}");
        assert_eq!((&line["tries"], &line["connack"]), (&Value::Null, &Value::Null), "{line}");
        let sent = connect(4, line["client_id"].as_str().unwrap()).len() as u64;
        let sent = sent + u64::from(line["protocol_version"] == 5);
        assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&sent.into(), &0.into()), "{line}");
    }
    assert!(left.len() > gone / 2, "{} of {gone} left", left.len());
    for transport in ["tcp", "unix", "tls", "ws", "wss"] {
        assert!(left.iter().any(|line| line["transport"] == transport), "{transport}");
    }
    // A broker heard of those only who had their turn before they left: each token was somebody's.
    assert_eq!(broker.connections(), 2 + gone - left.len());
    assert_eq!(proxy.metric("mqtt_lb_admission_waiting", &[]) as usize, 0);
    assert_eq!(
        proxy.metric("mqtt_lb_admission_wait_seconds_count", &[]) as usize,
        broker.connections()
    );
    // Nobody is told anything: there is no CONNACK for who has gone.
    for (name, member) in &mut finishing {
        let rest = member.rest();
        let close: &[u8] = if name.contains("ws") { b"\x88\x02\x03\xE8" } else { b"" };
        let let_in = rest.windows(4).any(|bytes| bytes == CONNACK_V3);
        assert!(rest == close || let_in, "{name}: {rest:x?}");
    }
}

/// Who has more to say than its CONNECT has a turn, and the broker gets every byte of it and the end.
#[test]
fn those_who_have_said_all_that_they_had_to_say_wait() {
    let (pki, (broker, heard)) = (Pki::new(), listening_broker());
    let line = "admission: { rate: 4, burst: 1, max_wait: 300s }";
    let proxy = Crowd::config(&broker, &pki).pool(line).start();
    let crowd = Crowd { proxy: &proxy, pki: &pki };
    let first = Client::session(proxy.address_of("tcp"), "first");
    let message = |name: &str| publish(name.repeat(5).as_bytes());
    // Longer than what is read of an unknown peer.
    let block: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    let all = |kind: &str, name: &str, end: &[u8]| {
        [&connect(4, &format!("{kind}-{name}"))[..], &message(name), end].concat()
    };
    let at_once = crowd.members(|name| all("at-once", name, &[]));
    let later = crowd.members(|name| connect(4, &format!("later-{name}")));
    wait_queue(&proxy, 8.0);
    let mut wanted = Vec::new();
    let mut members = Vec::new();
    for (name, member) in at_once {
        wanted.push(all("at-once", name, &[]));
        members.push((name, member));
    }
    for (name, mut member) in later {
        wanted.push(all("later", name, &block));
        member.send(&message(name));
        member.send(&block);
        members.push((name, member));
    }
    for (_, member) in &mut members {
        member.finish();
    }
    for (name, member) in &mut members {
        let rest = member.rest();
        assert!(rest.windows(4).any(|bytes| bytes == CONNACK_V3), "{name}: {rest:x?}");
    }
    drop(first);
    wanted.push(connect(4, "first"));
    wait_for("all connections' ends", || {
        (heard.lock().unwrap().len() == wanted.len()).then_some(())
    });
    let mut heard = heard.lock().unwrap().clone();
    heard.sort_unstable();
    wanted.sort_unstable();
    for (heard, wanted) in heard.iter().zip(&wanted) {
        assert!(heard == wanted, "{} bytes, {} wanted", heard.len(), wanted.len());
    }
    assert_eq!(broker.connections(), wanted.len());
    let ends = proxy.wait_ends(wanted.len());
    assert!(ends.iter().all(|line| end(line) == "client/relay/closed"), "{ends:?}");
}

/// A client in the queue makes the proxy hold no more than one that has not sent its CONNECT.
#[test]
fn what_is_read_of_them_is_bounded() {
    const LIMIT: usize = 4096;
    let broker = Broker::echoing();
    let proxy = Config::of([&broker])
        .pool("admission: { rate: 1, burst: 1, max_wait: 200ms }")
        .more(&format!("limits: {{ connect_packet: {LIMIT} }}"))
        .start();
    let _first = Client::session(proxy.address(), "first");
    for (kind, most) in [("short", LIMIT), ("longest", LIMIT + 1)] {
        // A token comes each second: who gets that one is not refused.
        let line = wait_for("a refusal", || {
            let id = format!("{kind}-{}", broker.connections());
            let mut connect = Connect::new(4, &id).username("").bytes();
            let filler = "x".repeat(LIMIT - connect.len() - 1);
            if kind == "longest" {
                connect = Connect::new(4, &id).username(&filler).bytes();
                assert_eq!(connect.len(), LIMIT);
            }
            let mut client = Client::open(proxy.address());
            client.send(&connect);
            client.stream.set_nonblocking(true).unwrap();
            // As much as the kernel takes, up to a megabyte.
            let block = [0x30; 16 * 1024];
            assert!((0..64).take_while(|_| client.stream.write(&block).is_ok()).count() > 0);
            let line = proxy.wait_log("its first line", |line| line["client_id"] == *id);
            (line["event"] == "reject").then_some(line)
        });
        assert_eq!(end(&line), "proxy/dial/limit");
        let read = line["bytes_in"].as_u64().unwrap() as usize;
        assert!((1..=most).contains(&read), "{read} bytes were read");
    }
}

/// Who breaks its transport's rules there is told so by that, and has no CONNACK.
#[test]
fn a_bad_frame_in_it() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker])
        .another_listener("name: ws, websocket: {}")
        .pool("admission: { rate: 1, burst: 1, max_wait: 300s }")
        .start();
    let _first = Client::session(proxy.address(), "first");
    let line = wait_for("an end in the queue", || {
        let id = format!("bad-{}", broker.connections());
        let ws = proxy.address_of("ws");
        let mut client = Client::exchange(ws, REQUEST.as_bytes(), SWITCHED.as_bytes());
        // A client's frames have a mask (RFC 6455, section 5.1).
        client.send(&[&binary(&connect(4, &id))[..], b"\x82\x02\xC0\x00"].concat());
        let (rest, _) = client.rest();
        let line = proxy.wait_log("its first line", |line| line["client_id"] == *id);
        (line["event"] == "reject").then_some((line, rest))
    });
    assert_eq!((&*end(&line.0), &*line.1), ("proxy/dial/malformed", &b"\x88\x02\x03\xEA"[..]));
    assert_eq!(line.0["connack"], Value::Null);
}
