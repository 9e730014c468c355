//! Listeners that serve some networks and not others.

use std::{
    fs,
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpStream},
};

use rustix::process::Signal;
use socket2::{Domain, Socket, Type};

use crate::{
    broker::Broker,
    client::{CONNACK_V3, Client, connect},
    config::Config,
    harness::{Proxy, end, rejects},
    proxy_header::{raw_v2, v1, v2},
    tls_client::Pki,
    websocket::client::{SWITCHED, request_with},
};

const IN_DENY: &str = "the address is in `deny` of the listener";
const NOT_IN_ALLOW: &str = "the address is not in `allow` of the listener";

/// A connection from 127.0.0.x.
fn from(last: u8, to: SocketAddr) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    Client::on(TcpStream::from(socket))
}

/// A session from 127.0.0.x.
fn session(proxy: &Proxy, last: u8, id: &str) -> Client {
    let mut client = from(last, proxy.address());
    client.send(&connect(4, id));
    client.expect(CONNACK_V3);
    client
}

/// Sends without a check, as the connection may have been closed already.
fn send(client: &mut Client, bytes: &[u8]) {
    let _ = client.stream.write_all(bytes);
}

/// Waits for so many denied connections, all for this reason; none got a byte.
#[track_caller]
fn wait_denied(proxy: &Proxy, count: usize, reason: &str) {
    let lines = rejects(proxy, count);
    assert_eq!(lines.len(), count);
    let line = lines.last().unwrap();
    assert_eq!(end(line), "proxy/handshake/denied");
    assert_eq!((line["detail"].as_str(), &line["bytes_out"]), (Some(reason), &0.into()));
    proxy.wait_metric("mqtt_lb_denied_total", &["listener=\"mqtt\""], count as f64);
}

fn reload(proxy: &Proxy, config: &str) {
    let before = proxy.metric("mqtt_lb_config_reloads_total", &[]);
    fs::write(proxy.config_file(), config).unwrap();
    proxy.signal(Signal::HUP);
    proxy.wait_metric("mqtt_lb_config_reloads_total", &[], before + 1.0);
}

#[test]
fn denied_at_accept_before_the_first_byte() {
    let pki = Pki::new();
    let broker = Broker::echoing();
    for keys in [&[][..], &[&*pki.tls("")], &["websocket: {}"]] {
        let mut config = Config::of([&broker])
            .workers(2)
            .listener("allow: [127.0.0.0/28, \"::1\"]")
            .listener("deny: [127.0.0.3, 127.0.0.32/27]");
        for key in keys {
            config = config.listener(key);
        }
        let proxy = config.start();
        for (n, (last, reason)) in
            [(3, IN_DENY), (33, IN_DENY), (16, NOT_IN_ALLOW)].into_iter().enumerate()
        {
            // Neither TLS nor a CONNECT is waited for.
            from(last, proxy.address()).expect_end();
            wait_denied(&proxy, n + 1, reason);
        }
        if keys.is_empty() {
            session(&proxy, 2, "allowed").echo(b"\xC0\x00");
        }
    }
}

/// Denied connections hold no place of those that are allowed.
#[test]
fn a_flood_of_denied_connections() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker])
        .listener("deny: [127.0.0.9]")
        .more("limits: { max_connections: 3, max_connections_per_ip: 3 }")
        .start();
    let mut served = session(&proxy, 2, "served");
    let flood: Vec<_> = (0..500).map(|_| from(9, proxy.address())).collect();
    session(&proxy, 2, "another");
    rejects(&proxy, 500);
    served.echo(b"\xC0\x00");
    drop(flood);
    proxy.wait_metric("mqtt_lb_denied_total", &[], 500.0);
    proxy.wait_metric("mqtt_lb_rejects_total", &["reason=\"denied\""], 500.0);
    assert_eq!(broker.connections(), 2);
}

#[test]
fn the_address_in_a_proxy_header_counts() {
    let pki = Pki::new();
    let broker = Broker::echoing();
    for tls in ["", &pki.tls("")] {
        let mut config = Config::of([&broker])
            .listener("accept_proxy_protocol: { from: [127.0.0.1] }")
            .listener("allow: [192.0.2.0/24, 127.0.0.2, \"2001:db8::/32\"]")
            .listener("deny: [192.0.2.66]");
        if !tls.is_empty() {
            config = config.listener(tls);
        }
        let proxy = config.start();
        let to = "192.0.2.200:1883";
        for (n, (header, reason)) in [
            (v1("192.0.2.66:5000", to), IN_DENY),
            (v2("192.0.2.66:5000", to, &[]), IN_DENY),
            (v1("[::ffff:192.0.2.66]:5000", "[2001:db8::1]:1883"), IN_DENY),
            (v1("[2001:db9::66]:5000", "[2001:db8::1]:1883"), NOT_IN_ALLOW),
            // The balancer's own connection (LOCAL).
            (raw_v2(0x20, 0, &[]), NOT_IN_ALLOW),
        ]
        .into_iter()
        .enumerate()
        {
            let mut client = from(1, proxy.address());
            client.send(&header);
            client.expect_end();
            wait_denied(&proxy, n + 1, reason);
        }
        // A peer that is not a balancer counts itself.
        from(3, proxy.address()).expect_end();
        wait_denied(&proxy, 6, NOT_IN_ALLOW);
        if tls.is_empty() {
            for (last, header) in [(1, v1("192.0.2.7:5000", to)), (2, Vec::new())] {
                let mut client = from(last, proxy.address());
                client.send(&[&header[..], &connect(4, "c")].concat());
                client.expect(CONNACK_V3);
            }
        }
    }
}

#[test]
fn the_address_in_x_forwarded_for_counts() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker])
        .listener("websocket: { forwarded_for: [127.0.0.1] }")
        .listener("deny: [192.0.2.66, 127.0.0.9]")
        .start();
    let mut client = from(1, proxy.address());
    send(&mut client, request_with("X-Forwarded-For: 192.0.2.66\r\n").as_bytes());
    // Not even the request is answered.
    client.expect_end();
    wait_denied(&proxy, 1, IN_DENY);
    // A client cannot speak for another, nor for itself.
    from(9, proxy.address()).expect_end();
    wait_denied(&proxy, 2, IN_DENY);
    for header in ["X-Forwarded-For: 192.0.2.7\r\n", ""] {
        let mut client = from(1, proxy.address());
        client.send(request_with(header).as_bytes());
        client.expect(SWITCHED.as_bytes());
    }
}

/// Sessions, and handshakes that have begun, stay; the next connections are denied.
#[test]
fn a_file_is_read_again_on_reload() {
    let broker = Broker::echoing();
    let config = Config::of([&broker]).workers(2).listener("deny: { file: banned.txt }");
    let dir = tempfile::tempdir().unwrap();
    let banned = dir.path().join("banned.txt");
    fs::write(&banned, "\u{feff}# nobody yet\r\n\r\n192.0.2.0/24 # a comment\r\n").unwrap();
    let proxy = Proxy::start_in(dir, &config.text(), |_| crate::harness::program());
    let mut served = session(&proxy, 9, "served");
    let mut pending = from(9, proxy.address());
    proxy.wait_metric("mqtt_lb_connections_active", &[], 2.0);

    fs::write(&banned, "127.0.0.9\n127.0.0.9\n127.0.0.64/26\n").unwrap();
    reload(&proxy, &config.text());
    from(9, proxy.address()).expect_end();
    from(127, proxy.address()).expect_end();
    wait_denied(&proxy, 2, IN_DENY);
    served.echo(b"\xC0\x00");
    pending.send(&connect(4, "pending"));
    pending.expect(CONNACK_V3);
    proxy.wait_stderr("listener mqtt: allow or deny changed");

    // A bad line, or a file that has vanished, changes nothing.
    fs::write(&banned, "10.0.0.0/8\n10.0.0.0/33\n").unwrap();
    proxy.signal(Signal::HUP);
    proxy.wait_stderr(
        "listeners[0].deny.file: \"banned.txt\" line 2: \"10.0.0.0/33\" is not a network",
    );
    fs::remove_file(&banned).unwrap();
    proxy.signal(Signal::HUP);
    proxy.wait_stderr("listeners[0].deny.file: \"banned.txt\" does not exist");
    from(9, proxy.address()).expect_end();
    wait_denied(&proxy, 3, IN_DENY);

    reload(&proxy, &Config { listener: vec![], ..config }.text());
    session(&proxy, 9, "welcome");
}

/// A list of a million networks is read, and no session waits meanwhile.
#[test]
fn a_long_list() {
    let broker = Broker::echoing();
    let config = Config::of([&broker]).listener("deny: { file: banned.txt }");
    let dir = tempfile::tempdir().unwrap();
    let banned = dir.path().join("banned.txt");
    fs::write(&banned, "").unwrap();
    let proxy = Proxy::start_in(dir, &config.text(), |_| crate::harness::program());
    // Every second address, so that none are merged.
    let address = |n: u32| Ipv4Addr::from_bits(0x0B00_0000 + 2 * n).to_string();
    let mut lines: Vec<_> = (0..999_999).map(address).collect();
    lines.push("127.0.0.9".to_owned());
    fs::write(&banned, lines.join("\n")).unwrap();
    reload(&proxy, &config.text());
    from(9, proxy.address()).expect_end();
    wait_denied(&proxy, 1, IN_DENY);
    session(&proxy, 2, "allowed").echo(b"\xC0\x00");
}
