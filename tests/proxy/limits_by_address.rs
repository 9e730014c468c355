//! Limits by address: from accept on, or from the header that names the client.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream},
    os::unix::net::UnixStream,
};

use rustix::process::Signal;
use socket2::{Domain, Socket, Type};

use crate::{
    broker::Broker,
    client::{CONNACK_V3, Client, connack, connect},
    config::Config,
    harness::{PATIENCE, Proxy, end, rejects, wait_for},
    proxy_header::{raw_v2, v1, v2},
    tls_client::Pki,
};

/// A connection from 127.0.0.x.
fn from(last: u8, to: SocketAddr) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    Client::on(TcpStream::from(socket))
}

/// Waits until so many connections were closed for this limit, without an answer.
#[track_caller]
fn wait_closed(proxy: &Proxy, count: usize, limit: &str) {
    let detail = format!("{limit}; no CONNECT was waited for");
    for line in rejects(proxy, count) {
        assert_eq!(end(&line), "proxy/handshake/limit");
        assert_eq!(line["detail"], *detail);
        assert_eq!(line["bytes_out"], 0);
    }
}

const FAR_MORE: &str = "far more than max_connections_per_ip";

/// The limit and a tenth of it, whatever its clients send or do not send.
#[test]
fn silent_connections_count() {
    let pki = Pki::new();
    let broker = Broker::echoing();
    for (limit, answered) in [(1, 1), (20, 2)] {
        let held = limit + answered;
        for listener in ["", &pki.tls(""), "websocket: {}"] {
            let config = Config::of([&broker]).workers(2).more(&format!(
                "limits: {{ max_connections_per_ip: {limit}, max_connections: 80 }}"
            ));
            let config = if listener.is_empty() { config } else { config.listener(listener) };
            let proxy = config.start();
            let mut flood: Vec<_> = (0..200).map(|_| from(9, proxy.address())).collect();
            wait_closed(&proxy, 200 - held, FAR_MORE);
            proxy.wait_metric("mqtt_lb_connections_active", &[], held as f64);
            let mut other = from(10, proxy.address());
            if listener.is_empty() {
                other.send(&connect(4, "other"));
                other.expect(CONNACK_V3);
            }
            // Places that become free are another's.
            flood.clear();
            proxy.wait_metric("mqtt_lb_connections_active", &[], 1.0);
            let _again: Vec<_> = (0..held).map(|_| from(9, proxy.address())).collect();
            proxy.wait_metric("mqtt_lb_connections_active", &[], (held + 1) as f64);
        }
    }
}

/// One below the limit, at it, one above it, and one that is not even told.
#[test]
fn what_is_answered_beyond_the_limit() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).more("limits: { max_connections_per_ip: 3 }").start();
    let _held: Vec<_> =
        ["a", "b", "c"].map(|id| Client::session(proxy.address(), id)).into_iter().collect();
    let mut fourth = Client::open(proxy.address());
    proxy.wait_metric("mqtt_lb_connections_active", &[], 4.0);
    Client::open(proxy.address()).expect_end();
    wait_closed(&proxy, 1, FAR_MORE);
    fourth.send(&connect(5, "fourth"));
    fourth.expect(&connack(5, 0x97));
    fourth.expect_end();
    let line = proxy.wait_end("fourth");
    assert_eq!(end(&line), "proxy/connect/limit");
    assert_eq!(line["detail"], "more than max_connections_per_ip");
    assert_eq!(broker.connections(), 3);
}

/// Half a CONNECT, and handshakes of TLS without one, in hundreds.
#[test]
fn handshakes_without_a_connect() {
    let pki = Pki::new();
    let broker = Broker::echoing();
    let limits = "limits: { connects_per_ip: { rate: 1, burst: 40 } }";
    let proxy = Config::of([&broker]).workers(2).listener(&pki.tls("")).more(limits).start();
    let trust = pki.client();
    let mut shaken = 0;
    for _ in 0..300 {
        let mut client = trust.open(proxy.address());
        while client.stream.conn.is_handshaking() {
            if client.stream.conn.complete_io(&mut client.stream.sock).is_err() {
                break;
            }
        }
        shaken += usize::from(!client.stream.conn.is_handshaking());
    }
    // The burst, a tenth of it, and what came back meanwhile.
    assert!((44..100).contains(&shaken), "{shaken} of 300");
    wait_for("those that were closed", || {
        let closed = proxy.log().into_iter().filter(|line| {
            line["detail"] == "far faster than connects_per_ip; no CONNECT was waited for"
        });
        (closed.count() == 300 - shaken).then_some(())
    });
}

#[test]
fn a_tenth_is_told_that_it_is_too_fast() {
    let broker = Broker::echoing();
    let limits = "limits: { connects_per_ip: { rate: 1, burst: 30 } }";
    let proxy = Config::of([&broker]).more(limits).start();
    let mut answers = [0; 3];
    for n in 0..200 {
        let mut client = Client::open(proxy.address());
        // One that is closed at once may have been reset before this is sent.
        let _ = client.stream.write_all(&connect(5, &format!("c{n}")));
        let _ = client.stream.shutdown(Shutdown::Write);
        let (answer, _) = client.rest();
        let which = [connack(5, 0), connack(5, 0x9F), Vec::new()];
        answers[which.iter().position(|which| *which == answer).unwrap()] += 1;
    }
    let [served, told, closed] = answers;
    assert!((30..60).contains(&served) && (3..8).contains(&told), "{answers:?}");
    wait_for("their records", || {
        (proxy.log().iter().filter(|line| line["event"] == "reject").count() == told + closed)
            .then_some(())
    });
    let line = proxy.wait_log("one that was told", |line| line["connack"] == 0x9F);
    assert_eq!(line["detail"], "faster than connects_per_ip");
}

fn behind(proxy: &Proxy, header: &[u8]) -> Client {
    let mut client = Client::open(proxy.address());
    client.send(header);
    client
}

/// Who the header names is counted, an IPv6 client by its network.
#[test]
fn by_the_header_of_a_balancer() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker])
        .workers(2)
        .listener("accept_proxy_protocol: { from: [127.0.0.1] }")
        .more("limits: { max_connections_per_ip: 2 }")
        .start();
    let destination = "[2001:db8::99]:1883";
    let session = |header: &[u8], id: &str, code: u8| {
        let mut client = behind(&proxy, header);
        client.send(&connect(4, id));
        client.expect(&connack(4, code));
        client
    };
    let mut held = Vec::new();
    // Of one /64 the third is told; another network, and an IPv4 client, are others.
    for (source, code) in [
        ("[2001:db8:7:1::1]:1", 0),
        ("[2001:db8:7:1:ffff::2]:1", 0),
        ("[2001:db8:7:1::3]:1", 3),
        ("[2001:db8:7:2::1]:1", 0),
    ] {
        held.push(session(&v2(source, destination, b""), source, code));
    }
    // An IPv4 client is the same, however it is written.
    held.push(session(&v1("192.0.2.8:1", "192.0.2.1:1883"), "v4", 0));
    held.push(session(&v2("192.0.2.8:2", "192.0.2.1:1883", b""), "v4-2", 0));
    held.push(session(&v2("[::ffff:192.0.2.8]:2", destination, b""), "mapped", 3));
    // The balancer's own are counted by its address, and not before the header.
    let local = raw_v2(0x20, 0, b"");
    held.extend(["local-1", "local-2"].map(|id| session(&local, id, 0)));
    let _silent: Vec<_> = (0..20).map(|_| Client::open(proxy.address())).collect();
    let _ = session(&local, "local", 3);
    assert_eq!(end(&proxy.wait_end("local")), "proxy/connect/limit");
    // Silent behind a header.
    let named: Vec<_> =
        (0..10).map(|_| behind(&proxy, &v2("[2001:db8:9::1]:1", destination, b""))).collect();
    wait_for("all but three to be closed", || {
        let log = proxy.log();
        let closed = log.iter().filter(|line| {
            line["client"] == "[2001:db8:9::1]:1" && end(line) == "proxy/handshake/limit"
        });
        (closed.count() == 7).then_some(())
    });
    drop(named);
    drop(held);
}

#[test]
fn a_unix_socket_has_no_address_but_by_a_header() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker])
        .bind("unix:mqtt.sock")
        .listener("accept_proxy_protocol: { from: [unix] }")
        .more("limits: { max_connections_per_ip: 1, connects_per_ip: { rate: 1, burst: 100 } }")
        .start();
    let session = |header: &[u8], id: &str, code: u8| {
        let mut client = UnixStream::connect(proxy.path("mqtt.sock")).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(&[header, &connect(4, id)].concat()).unwrap();
        let mut answer = [0; 4];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(answer, *connack(4, code), "{id}");
        client
    };
    let _unnamed: Vec<_> =
        (0..5).map(|n| session(&raw_v2(0x20, 0, b""), &format!("u{n}"), 0)).collect();
    let header = v2("192.0.2.9:1", "192.0.2.1:1883", b"");
    let _first = session(&header, "first", 0);
    let _second = session(&header, "second", 3);
}

fn reload(proxy: &Proxy, text: &str, count: u64) {
    fs::write(proxy.config_file(), text).unwrap();
    proxy.signal(Signal::HUP);
    proxy.wait_metric("mqtt_lb_config_reloads_total", &["outcome=\"applied\""], count as f64);
}

/// Those who are in are counted as the limits are now.
#[test]
fn a_reload_at_the_limit() {
    let broker = Broker::echoing();
    let config =
        Config::of([&broker]).workers(2).listener("accept_proxy_protocol: { from: [127.0.0.1] }");
    let limits = |line: &str| config.clone().more(&format!("limits: {{ {line} }}")).text();
    let proxy = Proxy::start(&limits("max_connections_per_ip: 0"));
    let session = |source: &str, id: &str, code: u8| {
        let mut client = behind(&proxy, &v2(source, "[2001:db8::99]:1883", b""));
        client.send(&connect(4, id));
        client.expect(&connack(4, code));
        client
    };
    let mut held: Vec<_> =
        (1..=3).map(|n| session(&format!("[2001:db8:1:{n}::1]:1"), &format!("h{n}"), 0)).collect();
    let mut shaking = behind(&proxy, &v2("[2001:db8:1:4::1]:1", "[2001:db8::99]:1883", b""));
    proxy.wait_metric("mqtt_lb_connections_active", &[], 4.0);
    // On, by networks of which each has one.
    reload(&proxy, &limits("max_connections_per_ip: 1"), 1);
    let _ = session("[2001:db8:1:1::2]:1", "n+1", 3);
    held.push(session("[2001:db8:1:5::1]:1", "h5", 0));
    // One whose handshake had begun before is counted as well.
    shaking.send(&connect(4, "h4"));
    shaking.expect(CONNACK_V3);
    held.push(shaking);
    let _ = session("[2001:db8:1:4::2]:1", "n+1 of the fourth", 3);
    // All five are of one larger network.
    reload(&proxy, &limits("max_connections_per_ip: 6, ipv6_prefix: 48"), 2);
    held.push(session("[2001:db8:1:6::1]:1", "h6", 0));
    let _ = session("[2001:db8:1:7::1]:1", "n+1 of all", 3);
    // Off, and on again: what has ended meanwhile does not count.
    reload(&proxy, &limits("max_connections_per_ip: 0, ipv6_prefix: 48"), 3);
    held.push(session("[2001:db8:1:8::1]:1", "h8", 0));
    held.truncate(2);
    proxy.wait_metric("mqtt_lb_connections_active", &[], 2.0);
    reload(&proxy, &limits("max_connections_per_ip: 3, ipv6_prefix: 48"), 4);
    held.push(session("[2001:db8:1:9::1]:1", "h9", 0));
    let _ = session("[2001:db8:1:a::1]:1", "n+1 again", 3);
}
