//! What a ClientHello may look like: it reaches the broker byte for byte, and first.

use std::process::{Command, Stdio};

use serde_json::Value;

use super::{config, hello, recording_broker, server_name, tls_broker};
use crate::{
    client::Client,
    harness::{Proxy, wait_for},
    tls_client::Pki,
};

/// Opens a session with these bytes, which the broker sends back.
#[track_caller]
fn pass(proxy: &Proxy, pieces: &[&[u8]]) -> Value {
    let before = proxy.log().len();
    let mut client = Client::open(proxy.address());
    for piece in pieces {
        client.send(piece);
    }
    client.expect(&pieces.concat());
    drop(client);
    wait_for("the connect line", || {
        let mut new = proxy.log().into_iter().skip(before);
        new.find(|line| line["event"] == "connect")
    })
}

#[test]
fn split_anywhere() {
    let (broker, seen) = recording_broker();
    let proxy = config([&broker]).start();
    let hello = hello(&[(0, &server_name(b"eu.example")), (10, b"\0\x02\0\x1D")]);
    let bytes: Vec<&[u8]> = hello.chunks(1).collect();
    assert_eq!(pass(&proxy, &bytes)["sni"], "eu.example");
    for at in 1..hello.len() {
        let (first, rest) = hello.split_at(at);
        assert_eq!(pass(&proxy, &[first, rest])["sni"], "eu.example", "{at}");
    }
    assert!(seen.lock().unwrap().iter().all(|bytes| *bytes == hello));
}

/// GREASE (RFC 8701), the outer name of Encrypted Client Hello, several records, and data that
/// follows at once, such as early data.
#[test]
fn whatever_clients_send() {
    let (broker, seen) = recording_broker();
    let proxy = config([&broker]).start();
    let name = server_name(b"outer.example");
    let greased = hello(&[(0x1A1A, b""), (0xFE0D, &[7; 300]), (0, &name), (0xBABA, b"\0")]);
    let (header, message) = greased.split_at(5);
    let in_records: Vec<u8> = message
        .chunks(100)
        .flat_map(|part| [&header[..3], &(part.len() as u16).to_be_bytes(), part].concat())
        .collect();
    let early = [&greased[..], &vec![0x17; 40_000]].concat();
    for bytes in [greased, in_records, early] {
        assert_eq!(pass(&proxy, &[&bytes])["sni"], "outer.example");
        assert_eq!(*seen.lock().unwrap().last().unwrap(), bytes);
    }
}

/// A name that is not a host, or none: the client is passed through, and placed by its address.
#[test]
fn names_that_are_not_hosts() {
    let (broker, _) = recording_broker();
    let proxy = config([&broker]).start();
    let odd: [&[u8]; 6] =
        [b"a\0b", b"\xFF\xFE", b"192.0.2.1", b"a b", b"\r\nevent: x", &[b'a'; 300]];
    let mut hellos: Vec<Vec<u8>> =
        odd.iter().map(|name| hello(&[(0, &server_name(name))])).collect();
    hellos.push(hello(&[]));
    for hello in hellos {
        let line = pass(&proxy, &[&hello]);
        assert_eq!(
            (&line["sni"], &line["route"]),
            (&Value::Null, &"fallback_key".into()),
            "{line}"
        );
    }
}

/// OpenSSL in every version it has, with a client of TLS 1.0 alone, which rustls would refuse to
/// answer.
#[test]
fn openssl() {
    let pki = Pki::new();
    let (broker, _) = tls_broker(&pki, &["eu.example"]);
    let (recording, _) = recording_broker();
    let proxies = [config([&broker]).start(), config([&recording]).start()];
    for (proxy, version, connected) in [
        (&proxies[0], "-tls1_3", true),
        (&proxies[0], "-tls1_2", true),
        (&proxies[1], "-tls1", false),
    ] {
        let output = Command::new("openssl")
            .args(["s_client", "-connect", &proxy.address().to_string(), version])
            .args(["-servername", "eu.example", "-verify_return_error", "-CAfile"])
            .arg(pki.path().join("ca.pem"))
            .args(["-cipher", "DEFAULT:@SECLEVEL=0"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(
            said.contains("Verification: OK") && output.status.success(),
            connected,
            "{said}"
        );
        let line = proxy.wait_log(version, |line| line["event"] == "connect");
        assert_eq!(line["sni"], "eu.example");
    }
}
