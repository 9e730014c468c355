//! Clients that are not passed through.

use super::{config, recording_broker};
use crate::{
    client::{Client, connect},
    harness::{end, rejects},
};

#[test]
fn other_protocols() {
    let (broker, _) = recording_broker();
    let proxy = config([&broker]).start();
    let refused: [(&[u8], &str); 4] = [
        (&connect(4, "c"), "MQTT without TLS: this listener passes TLS through to its brokers"),
        (b"GET / HTTP/1.1\r\n\r\n", "an HTTP request without TLS"),
        (b"\x80\x2E\x01\x03\x01", "not TLS: it begins with 0x80"),
        (b"\x16\x03\x01\x00\x04\x02", "a handshake message of type 2 in place of a ClientHello"),
    ];
    for (n, (bytes, detail)) in refused.into_iter().enumerate() {
        Client::exchange(proxy.address(), bytes, b"").expect_end();
        let line = &rejects(&proxy, n + 1)[n];
        assert_eq!(end(line), "proxy/handshake/malformed");
        assert!(line["detail"].as_str().unwrap().starts_with(detail), "{line}");
        assert_eq!(line["transport"], "tls_passthrough");
    }
    assert_eq!(broker.connections(), 0);
}
