//! Clients of another protocol than the listener's: what the record says of each.

use std::io::Write;

use crate::{
    broker::Broker,
    client::{Client, connect},
    config::Config,
    harness::{Proxy, end, rejects},
    proxy_header::{v1, v2},
    tls_client::Pki,
};

const TLS: &str = "a TLS handshake: TLS belongs to a listener with `tls`";
const HTTP: &str = "an HTTP request: WebSocket belongs to a listener with `websocket`, health checks \
                    and metrics to `admin`";
const NO_PROXY: &str = "a PROXY header, but this listener does not accept them: add the peer to \
                        accept_proxy_protocol.from, or stop it from sending one";
const NOT_TRUSTED: &str =
    "a PROXY header from a peer that is not within accept_proxy_protocol.from";
const UPGRADE: &str = "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
                       Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                       Sec-WebSocket-Protocol: mqtt\r\n\r\n";

const METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// The first bytes of a ClientHello.
const HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03";

/// A request of each method, and HTTP/2.
fn requests() -> Vec<Vec<u8>> {
    let request = |method: &str| format!("{method} / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut all: Vec<_> = METHODS.iter().map(|method| request(method).into_bytes()).collect();
    all.push(UPGRADE.into());
    all.push(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec());
    all
}

fn headers() -> [Vec<u8>; 2] {
    let (from, to) = ("192.0.2.9:40000", "198.51.100.2:1883");
    [v1(from, to), v2(from, to, &[])]
}

/// Sends it as a whole, and byte for byte: each has one record, of this end and detail.
#[track_caller]
fn assert_recorded(proxy: &Proxy, cases: &[(Vec<u8>, &str)], phase: &str) {
    let mut count = 0;
    for (bytes, detail) in cases {
        for piece in [bytes.len(), 1] {
            let mut client = Client::open(proxy.address());
            for piece in bytes.chunks(piece) {
                // It may have been refused by its first bytes.
                if client.stream.write_all(piece).is_err() {
                    break;
                }
            }
            let _ = client.rest();
            count += 1;
            let line = rejects(proxy, count).pop().unwrap();
            let of = format!("{:?} by {piece}", String::from_utf8_lossy(bytes));
            assert_eq!(end(&line), format!("proxy/{phase}/malformed"), "{of}: {line}");
            assert_eq!(line["detail"], *detail, "{of}");
        }
    }
}

fn all(
    requests: Vec<Vec<u8>>,
    detail: &'static str,
) -> impl Iterator<Item = (Vec<u8>, &'static str)> {
    requests.into_iter().map(move |request| (request, detail))
}

#[test]
fn on_a_plain_listener() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).start();
    let mut cases: Vec<_> = all(requests(), HTTP).collect();
    cases.extend(all(headers().into(), NO_PROXY));
    cases.push((HELLO.to_vec(), TLS));
    cases.push((b"P\x02\x00\x01".to_vec(), "the first packet is not a CONNECT (first byte 0x50)"));
    cases.push((b"hello".to_vec(), "the first packet is not a CONNECT (first byte 0x68)"));
    assert_recorded(&proxy, &cases, "connect");
    assert_eq!(broker.connections(), 0);
}

#[test]
fn on_a_plain_listener_that_takes_headers_of_others() {
    let broker = Broker::echoing();
    let accepting = "accept_proxy_protocol: { from: [192.0.2.0/24] }";
    let proxy = Config::of([&broker]).listener(accepting).start();
    let mut cases: Vec<_> = all(headers().into(), NOT_TRUSTED).collect();
    cases.push((UPGRADE.into(), HTTP));
    cases.push((HELLO.to_vec(), TLS));
    assert_recorded(&proxy, &cases, "connect");
}

#[test]
fn on_a_websocket_listener() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).listener("websocket: {}").start();
    let mqtt = "an MQTT CONNECT: plain MQTT belongs to a listener without `websocket`";
    let mut cases: Vec<_> = all(headers().into(), NO_PROXY).collect();
    cases.push((HELLO.to_vec(), TLS));
    cases.push((connect(4, "plain"), mqtt));
    cases.push((connect(5, "plain"), mqtt));
    assert_recorded(&proxy, &cases, "handshake");
}

#[test]
fn on_a_tls_listener() {
    let (pki, broker) = (Pki::new(), Broker::echoing());
    let said =
        |hint: &str| format!("TLS: received corrupt message of type InvalidContentType{hint}");
    let http = said("; it began with an HTTP request in the clear");
    let mqtt = said("; it began with a CONNECT: plain MQTT belongs to a listener without tls");
    let header = said(
        "; it began with a PROXY header: this listener needs accept_proxy_protocol to take one",
    );
    let nothing = said("");
    for websocket in ["", "websocket: {}"] {
        let mut config = Config::of([&broker]).listener(&pki.tls(""));
        if !websocket.is_empty() {
            config = config.listener(websocket);
        }
        let proxy = config.start();
        let mut cases: Vec<_> = requests().into_iter().map(|request| (request, &*http)).collect();
        cases.extend(headers().map(|one| (one, &*header)));
        cases.push((connect(4, "plain"), &mqtt));
        cases.push((vec![0xFF; 64], &nothing));
        assert_recorded(&proxy, &cases, "handshake");
    }
}

/// Inside of TLS, where the next layer is MQTT.
#[test]
fn inside_tls() {
    let (pki, broker) = (Pki::new(), Broker::echoing());
    let proxy = Config::of([&broker]).listener(&pki.tls("")).start();
    let cases = [(UPGRADE.as_bytes(), HTTP), (HELLO, "a TLS handshake inside TLS")];
    for (number, (bytes, detail)) in cases.into_iter().enumerate() {
        let mut client = pki.client().open(proxy.address());
        client.stream.write_all(bytes).unwrap();
        let _ = client.rest();
        let line = rejects(&proxy, number + 1).pop().unwrap();
        assert_eq!(
            (end(&line), &line["detail"]),
            ("proxy/connect/malformed".into(), &detail.into())
        );
    }
}

/// Beginnings that tell, and those that do not: the client reads its end however long the deadline
/// is, and the record says what there was to know.
#[test]
fn nobody_is_waited_for() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).more("timeouts: { connect_packet: 1h }").start();
    let nothing =
        |first: u8| format!("the first packet is not a CONNECT (first byte {first:#04x})");
    let cases: [(&[u8], String); 8] = [
        (b"G", HTTP.to_owned()),
        (b"POS", HTTP.to_owned()),
        (b"\x16", TLS.to_owned()),
        (b"PRO", NO_PROXY.to_owned()),
        (b"P", nothing(0x50)),
        (b"PR", nothing(0x50)),
        (b"\r\n", nothing(0x0d)),
        (b"\x16\x02", "the fixed header's reserved flags are set (first byte 0x16)".to_owned()),
    ];
    for (number, (bytes, detail)) in cases.into_iter().enumerate() {
        let mut client = Client::open(proxy.address());
        client.send(bytes);
        let _ = client.rest();
        let line = rejects(&proxy, number + 1).pop().unwrap();
        assert_eq!(end(&line), "proxy/connect/malformed", "{bytes:?}");
        assert_eq!(line["detail"], detail, "{bytes:?}");
    }
}
