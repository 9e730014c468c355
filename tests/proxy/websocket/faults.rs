//! Frames that are not as they should be: what is answered, and what is recorded.

use std::{io::Read, sync::Mutex, sync::mpsc::channel};

use super::{
    client::{BINARY, CLOSE, CONTINUATION, FIN, PING, WsClient, binary, frame},
    config,
};
use crate::{
    bad_input::undisturbed,
    broker::Broker,
    client::{connect, publish},
    harness::{PATIENCE, end},
};

/// What is sent, the status of the Close, and the detail.
fn faulty() -> Vec<(Vec<u8>, u16, &'static str)> {
    let long = |len: u64| [&[0x82, 0xFF][..], &len.to_be_bytes(), &[0; 4]].concat();
    let begun = frame(BINARY, b"");
    vec![
        (b"\x82\x02\xC0\x00".to_vec(), 1002, "a WebSocket frame without a mask"),
        (
            frame(FIN | 0x1, b"\xC0\x00"),
            1003,
            "a WebSocket text frame; MQTT requires binary frames (MQTT 5.0, section 6.0)",
        ),
        (
            // As permessage-deflate marks what it compressed.
            frame(FIN | 0x40 | BINARY, b"\xC0\x00"),
            1002,
            "a WebSocket frame with reserved bits, although no extension was agreed on",
        ),
        (frame(FIN | 0x3, b""), 1002, "a WebSocket frame with the reserved opcode 0x3"),
        (frame(PING, b""), 1002, "a WebSocket control frame in fragments"),
        (frame(FIN | PING, &[0; 126]), 1002, "a WebSocket control frame of more than 125 bytes"),
        (
            frame(FIN | CONTINUATION, b""),
            1002,
            "a WebSocket continuation frame without a message to continue",
        ),
        ([begun, binary(b"")].concat(), 1002, "a new WebSocket message inside another"),
        (
            frame(FIN | CLOSE, b"\x03"),
            1002,
            "a WebSocket Close frame with one byte of a status code",
        ),
        (
            long(1 << 63),
            1002,
            "a WebSocket frame of 9223372036854775808 bytes; the highest bit of a length must be 0",
        ),
        (
            long(268_435_461),
            1009,
            "a WebSocket frame of 268435461 bytes, longer than any MQTT packet",
        ),
    ]
}

/// In place of a CONNECT, and in the middle of a session.
#[test]
fn each_with_its_close_and_one_record() {
    let (told, heard) = channel();
    let told = Mutex::new(told);
    let broker = Broker::start(move |mut link| {
        let Some(connect) = link.accept() else { return };
        if connect.ends_with(b"victim") {
            let mut rest = Vec::new();
            let _ = link.stream.read_to_end(&mut rest);
            told.lock().unwrap().send(rest).unwrap();
        } else {
            let _ = std::io::copy(&mut link.stream.try_clone().unwrap(), &mut link.stream);
        }
    });
    let proxy = config([&broker]).start();
    let cases = faulty();
    undisturbed(&proxy, || {
        for (sent, status, detail) in &cases {
            for in_session in [false, true] {
                let mut client = WsClient::open(proxy.address_of("ws"));
                let address = client.tcp.stream.local_addr().unwrap().to_string();
                let mut sent = sent.clone();
                if in_session {
                    client.send(&connect(4, "victim"));
                    client.expect(crate::client::CONNACK_V3);
                    // What came before the fault is passed on.
                    sent.splice(..0, binary(&publish(b"good")));
                }
                client.tcp.send(&sent);
                client.expect_close(*status);
                let (event, wanted) = if in_session {
                    ("disconnect", "proxy/relay/malformed")
                } else {
                    ("reject", "proxy/connect/malformed")
                };
                let line = proxy.wait_log("its end", |line| {
                    line["client"] == *address && line["listener"] == "ws" && line["event"] == event
                });
                assert_eq!((&*end(&line), &line["detail"]), (wanted, &(*detail).into()));
                if in_session {
                    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), publish(b"good"));
                }
            }
        }
    });
    let log = proxy.log();
    let ends = log.iter().filter(|line| crate::harness::is_end(line)).count();
    assert_eq!(ends, 4 + 2 * cases.len());
}

/// A frame of the length of the longest packet may begin, and is passed on as it comes.
#[test]
fn the_longest_frame() {
    let broker = Broker::echoing();
    let proxy = config([&broker]).start();
    let mut client = WsClient::session(proxy.address_of("ws"), "longest");
    let before = proxy.memory();
    let head = [&[0x82, 0xFF][..], &268_435_460u64.to_be_bytes(), &[0; 4]].concat();
    let begun = vec![7; 100_000];
    client.tcp.send(&[&head, &begun[..]].concat());
    client.expect(&begun);
    let grown = proxy.memory().saturating_sub(before);
    assert!(grown < 512 * 1024, "{grown} bytes");
}

/// A good request with bad MQTT in it: the CONNACK of a refusal comes in a frame, and a Close.
#[test]
fn a_malformed_connect() {
    let broker = Broker::echoing();
    let proxy = config([&broker]).start();
    let mut client = WsClient::open(proxy.address_of("ws"));
    client.send(b"\x10\x0F\x00\x04MQTT\x05\x03\x00\x3C\x00\x00\x01c\x00");
    client.expect(b"\x20\x03\x00\x81\x00");
    client.expect_close(1000);
    let line = proxy.wait_ends(1).remove(0);
    assert_eq!(end(&line), "proxy/connect/malformed");
    assert_eq!(line["connack"], 0x81);
}
