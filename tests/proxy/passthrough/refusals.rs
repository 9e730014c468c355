//! Clients that are not passed through.

use std::io::Write;

use serde_json::Value;

use super::{config, hello, recording_broker, server_name};
use crate::{
    broker::Broker,
    client::{Client, connect},
    harness::{Proxy, end, rejects, run},
};

/// The last of so many refusals.
#[track_caller]
fn refusal(proxy: &Proxy, number: usize, ended: &str, detail: &str) -> Value {
    let line = rejects(proxy, number).remove(number - 1);
    assert_eq!(end(&line), ended, "{line}");
    assert!(line["detail"].as_str().unwrap().contains(detail), "{line}");
    assert_eq!(line["transport"], "tls_passthrough");
    line
}

#[test]
fn other_protocols() {
    let (broker, _) = recording_broker();
    let proxy = config([&broker]).start();
    let refused: [(&[u8], &str); 5] = [
        (&connect(4, "c"), "MQTT without TLS: this listener passes TLS through to its brokers"),
        (b"GET / HTTP/1.1\r\n\r\n", "an HTTP request without TLS"),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", "a PROXY header, but this listener does not"),
        (b"\x80\x2E\x01\x03\x01", "not TLS: it begins with 0x80"),
        (b"\x16\x03\x01\x00\x04\x02", "a handshake message of type 2 in place of a ClientHello"),
    ];
    for (n, (bytes, detail)) in refused.into_iter().enumerate() {
        Client::exchange(proxy.address(), bytes, b"").expect_end();
        refusal(&proxy, n + 1, "proxy/handshake/malformed", detail);
    }
    assert_eq!(broker.connections(), 0);
}

#[test]
fn hellos_that_are_too_long_or_broken() {
    let (broker, _) = recording_broker();
    let proxy = config([&broker]).start();
    let overlong = {
        let mut hello = hello(&[(0, &server_name(b"eu.example"))]);
        // The length of the extensions, beyond the message.
        hello[5 + 4 + 2 + 32 + 1 + 6 + 2] = 0xFF;
        hello
    };
    let refused: [(&[u8], &str); 4] = [
        (b"\x16\x03\x01\x40\x00\x01\x00\x40\x00", "a ClientHello of 16388 bytes; up to 16384"),
        (b"\x16\x03\x01\x40\x00\x01\xFF\xFF\xFF", "a ClientHello of 16777219 bytes"),
        (b"\x16\x03\x01\x00\x00", "an empty record"),
        (&overlong, "a ClientHello whose fields exceed its length"),
    ];
    for (n, (bytes, detail)) in refused.into_iter().enumerate() {
        let mut client = Client::open(proxy.address());
        client.send(bytes);
        assert_eq!(client.rest().0, b"", "no alert is sent");
        refusal(&proxy, n + 1, "proxy/handshake/malformed", detail);
    }
    assert_eq!(broker.connections(), 0);
}

#[test]
fn incomplete_hellos() {
    let (broker, _) = recording_broker();
    let proxy = config([&broker]).more("timeouts: { connect_packet: 300ms }").start();
    let hello = hello(&[(0, &server_name(b"eu.example"))]);
    let part = &hello[..hello.len() - 1];
    // The client leaves, or is too slow.
    Client::exchange(proxy.address(), part, b"").finish();
    let detail = format!("incomplete ClientHello: only {} bytes were sent", part.len());
    refusal(&proxy, 1, "client/handshake/closed", &detail);
    Client::exchange(proxy.address(), part, b"").expect_end();
    refusal(&proxy, 2, "proxy/handshake/timeout", "no complete ClientHello was sent");
    Client::open(proxy.address()).expect_end();
    refusal(&proxy, 3, "proxy/handshake/timeout", "no complete ClientHello was sent");
    // A health check of TCP leaves without a word.
    drop(Client::open(proxy.address()));
    proxy.wait_log("a probe", |line| line["event"] == "probe");
    assert_eq!(broker.connections(), 0);
}

/// The connection is closed without an alert.
#[test]
fn no_broker_is_available() {
    let mut broker = Broker::silent();
    broker.stop();
    let proxy = config([&broker]).start();
    let hello = hello(&[(0, &server_name(b"eu.example"))]);
    Client::exchange(proxy.address(), &hello, b"").expect_end();
    let line = refusal(&proxy, 1, "proxy/dial/no_upstream", "Connection refused");
    assert_eq!((&line["sni"], &line["upstream"]), (&"eu.example".into(), &"b1".into()));
    assert_eq!(line["connack"], Value::Null);
    assert_eq!(line["bytes_in"], hello.len());
}

#[test]
fn limits() {
    let (broker, _) = recording_broker();
    let proxy = config([&broker]).more("limits: { max_connections_per_ip: 1 }").start();
    let hello = hello(&[(0, &server_name(b"eu.example"))]);
    let mut first = Client::exchange(proxy.address(), &hello, &hello);
    let mut second = Client::open(proxy.address());
    // It may have been refused before it says a word.
    let _ = second.stream.write_all(&hello);
    assert_eq!(second.rest().0, b"");
    refusal(&proxy, 1, "proxy/handshake/limit", "max_connections_per_ip");
    first.echo(b"still here");

    let full = config([&broker]);
    let full = crate::config::Config {
        upstreams: vec![full.upstreams[0].replace(" }", ", max_connections: 1 }")],
        ..full
    };
    let proxy = full.start();
    let mut first = Client::exchange(proxy.address(), &hello, &hello);
    Client::exchange(proxy.address(), &hello, b"").expect_end();
    refusal(
        &proxy,
        1,
        "proxy/dial/limit",
        "every available broker has reached its max_connections",
    );
    first.echo(b"still here");
}

/// A quota by server name counts sessions whose TLS is passed through.
#[test]
fn quotas() {
    let (broker, _) = recording_broker();
    let quota = "limits: { quotas: [ { name: tenants, key: \"${sni}\", max_connections: 1 } ] }";
    let proxy = config([&broker]).more(quota).start();
    let [eu, us] =
        ["eu.example", "us.example"].map(|name| hello(&[(0, &server_name(name.as_bytes()))]));
    let mut first = Client::exchange(proxy.address(), &eu, &eu);
    Client::exchange(proxy.address(), &eu, b"").expect_end();
    refusal(&proxy, 1, "proxy/handshake/limit", "tenants");
    let _other = Client::exchange(proxy.address(), &us, &us);
    first.echo(b"still here");
}

/// A ban of an address ends its sessions.
#[test]
fn bans() {
    let (broker, _) = recording_broker();
    let proxy = config([&broker]).start();
    let hello = hello(&[(0, &server_name(b"eu.example"))]);
    let mut first = Client::exchange(proxy.address(), &hello, &hello);
    let admin = proxy.admin().to_string();
    let banned = run(&["ctl", "--admin", &admin, "ban", "--ip", "127.0.0.1", "--for", "10m"], "");
    assert!(banned.status.success(), "{banned:?}");
    first.expect_end();
    let line = proxy.wait_log("the session", |line| line["event"] == "disconnect");
    assert_eq!(end(&line), "proxy/relay/banned");
    let mut second = Client::open(proxy.address());
    let _ = second.stream.write_all(&hello);
    assert_eq!(second.rest().0, b"");
    assert_eq!(end(&rejects(&proxy, 1)[0]), "proxy/handshake/banned");
    assert_eq!(broker.connections(), 1);
}
