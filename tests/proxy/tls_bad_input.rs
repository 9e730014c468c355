//! What is no TLS, or bad TLS: each has one record, and nobody else notices.

use std::{
    io::{Read, Write},
    net::Shutdown,
    time::Duration,
};

use rustix::process::Signal;

use crate::{
    broker::Broker,
    client::{Client, connect},
    config::Config,
    harness::{Proxy, end, is_end, rejects, wait_for},
    tls_client::{Pki, TlsClient, Versions},
};

fn proxy(pki: &Pki, broker: &Broker, more: &str) -> Proxy {
    Config::of([broker]).listener(&pki.tls("")).more(more).start()
}

/// A client's first flight.
fn hello(pki: &Pki, versions: Versions) -> Vec<u8> {
    let name = "localhost".try_into().unwrap();
    let config = pki.client().versions(versions).config();
    let mut connection = rustls::ClientConnection::new(config, name).unwrap();
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).unwrap();
    hello
}

#[test]
fn no_tls() {
    let pki = Pki::new();
    let broker = Broker::echoing();
    let proxy = proxy(&pki, &broker, "");
    let mut good = pki.client().open(proxy.address()).session("good");
    // TLS 1.1 is what is left of the hello once its extensions are gone.
    let mut old = b"\x16\x03\x01\x00\x2D\x01\x00\x00\x29\x03\x02".to_vec();
    old.extend([7; 32]);
    old.extend(b"\x00\x00\x02\x00\x2F\x01\x00");
    let cases: &[(&[u8], &str, &str)] = &[
        (&connect(4, "plain"), "malformed", "it began with a CONNECT"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "malformed", "it began with an HTTP request"),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n", "malformed", "accept_proxy_protocol"),
        (&[0xFF; 64], "malformed", "InvalidContentType"),
        (&old, "malformed", "no version of TLS from min_version to max_version"),
        // A record that is longer than any may be.
        (b"\x16\x03\x01\xFF\xFF\x01", "malformed", "MessageTooLarge"),
        // A handshake message of 16 MiB.
        (b"\x16\x03\x01\x00\x04\x01\xFF\xFF\xFF", "malformed", "HandshakePayloadTooLarge"),
        (b"\x15\x03\x03\x00\x02\x02\x28", "refused", "HandshakeFailure"),
    ];
    for (number, (bytes, cause, detail)) in cases.iter().enumerate() {
        let mut client = Client::open(proxy.address());
        client.send(bytes);
        let (answer, _) = client.rest();
        assert!(answer.is_empty() || answer[0] == 21, "{answer:?} is no alert");
        let line = rejects(&proxy, number + 1).pop().unwrap();
        assert_eq!(line["end_phase"], "handshake");
        assert_eq!(line["end_cause"], *cause, "{line}");
        let said = line["detail"].as_str().unwrap();
        assert!(said.contains(detail), "{said} does not say {detail}");
    }
    good.echo(b"\xC0\x00");
    assert_eq!(broker.connections(), 1);
    assert_eq!(proxy.log().iter().filter(|line| is_end(line)).count(), cases.len());
}

/// The alert says what the record before it was: rustls sends none for some.
#[test]
fn alerts_before_there_are_keys() {
    let pki = Pki::new();
    let broker = Broker::echoing();
    let proxy = proxy(&pki, &broker, "");
    // A handshake message whose rest is to come.
    let part = b"\x16\x03\x01\x00\x0A\x01\x00\x00\x80\x03\x03\x07\x07\x07\x07";
    let behind_part = |record: &[u8]| [part, record].concat();
    let (unexpected, decode) = (10, 50);
    let interleaved = "MessageInterleavedWithHandshakeMessage";
    for (number, (bytes, alert, detail)) in [
        (behind_part(b"\x17\x03\x03\x00\x03abc"), unexpected, interleaved),
        (behind_part(b"\x14\x03\x03\x00\x01\x01"), unexpected, interleaved),
        (behind_part(b"\x15\x03\x03\x00\x02\x01\x00"), unexpected, interleaved),
        (b"\x17\x03\x03\x00\x03abc".to_vec(), unexpected, "got ApplicationData"),
        (b"\x00\x03\x03\x00\x03abc".to_vec(), decode, "InvalidContentType"),
        (behind_part(b"\x00\x03\x03\x00\x03abc"), decode, "InvalidContentType"),
        (b"\x16\x03\x01\x00\x00".to_vec(), decode, "InvalidEmptyPayload"),
    ]
    .iter()
    .enumerate()
    {
        let mut client = Client::open(proxy.address());
        client.send(bytes);
        let (answer, _) = client.rest();
        assert_eq!(answer, [21, 3, 3, 0, 2, 2, *alert], "{bytes:x?}");
        let line = rejects(&proxy, number + 1).pop().unwrap();
        assert_eq!(end(&line), "proxy/handshake/malformed");
        let said = line["detail"].as_str().unwrap();
        assert!(said.contains(detail), "{said} does not say {detail}");
    }
}

#[test]
fn half_way() {
    let pki = Pki::new();
    let broker = Broker::echoing();
    let proxy = proxy(&pki, &broker, "timeouts: { connect_packet: 500ms }");
    let hello = hello(&pki, Versions::Both);
    // Silence, a part, and all of the first flight; each is left to the deadline, then left at once.
    let parts = [&[][..], &hello[..hello.len() / 2], &hello];
    for (number, part) in parts.iter().enumerate() {
        let mut client = Client::open(proxy.address());
        client.send(part);
        let _ = client.rest();
        let line = rejects(&proxy, number + 1).pop().unwrap();
        assert_eq!(end(&line), "proxy/handshake/timeout");
        assert_eq!(line["detail"], "the TLS handshake was not finished");
    }
    for (number, part) in parts.iter().enumerate() {
        let mut client = Client::open(proxy.address());
        client.send(part);
        client.finish();
        let _ = client.rest();
        let line = proxy.wait_ends(parts.len() + number + 1).pop().unwrap();
        assert_eq!(end(&line), "client/handshake/closed");
        let (event, detail) = match part {
            [] => ("probe", "nothing was sent"),
            _ => ("reject", "the TLS handshake was not finished"),
        };
        assert_eq!((&line["event"], &line["detail"]), (&event.into(), &detail.into()));
    }
    // TLS, and then nothing.
    let mut client = pki.client().open(proxy.address());
    while client.stream.conn.is_handshaking() {
        client.stream.conn.complete_io(&mut client.stream.sock).unwrap();
    }
    assert_eq!(client.rest(), (Vec::new(), true));
    let line = rejects(&proxy, 2 * parts.len()).pop().unwrap();
    assert_eq!(end(&line), "proxy/connect/timeout");
    assert_eq!(
        (&line["detail"], &line["tls_version"]),
        (&"nothing was sent".into(), &"TLSv1.3".into())
    );
}

/// Server names that no client should send, in each place and split: one record each, and the next
/// client is served.
#[test]
fn server_names_of_garbage() {
    let pki = Pki::new();
    let broker = Broker::echoing();
    let proxy = proxy(&pki, &broker, "timeouts: { connect_packet: 5s }");
    let good = hello(&pki, Versions::Both);
    // The extension of rustls' hello: its type, its length, the list's length, the name's type, its
    // length and the name.
    let at = good.windows(9).position(|bytes| bytes == b"localhost").unwrap() - 9;
    assert_eq!(&good[at..at + 9], b"\0\0\0\x0E\0\x0C\0\0\x09");
    let cases: &[(&[u8], bool)] = &[
        // The name: a port, an address, nothing printable, a wildcard.
        (b"\0\0\0\x0E\0\x0C\0\0\x09host:8883", true),
        (b"\0\0\0\x0E\0\x0C\0\0\x0912.34.5.6", true),
        (b"\0\0\0\x0E\0\x0C\0\0\x09\0\x01\x02\x03\xFF\xFE\xFD\r\n", true),
        (b"\0\0\0\x0E\0\x0C\0\0\x09*.example", true),
        // No name, two names, a name of another type.
        (b"\0\0\0\x0E\0\x0C\0\0\0\0\0\x06abcdef", false),
        (b"\0\0\0\x0E\0\x0C\0\0\x03a:b\0\0\x03a:b", false),
        (b"\0\0\0\x0E\0\x0C\x07\0\x09localhost", false),
        // Lengths that exceed what there is, or leave bytes.
        (b"\0\0\0\x0E\0\x0C\0\0\xFFlocalhost", false),
        (b"\0\0\0\x0E\0\x0C\0\0\x02localhost", true),
        (b"\0\0\0\x0E\0\xFF\0\0\x09localhost", false),
        (b"\0\0\0\x0E\0\0\0\0\x09localhost", false),
        (b"\0\0\xFF\xFF\0\x0C\0\0\x09localhost", false),
    ];
    let mut ends = 0;
    for (bytes, is_answered) in cases {
        let mut hello = good.clone();
        hello[at..at + bytes.len()].copy_from_slice(bytes);
        for split in [hello.len(), 1, at + 3, at + 10, at + bytes.len(), hello.len() - 1] {
            let mut client = Client::open(proxy.address());
            let (first, rest) = hello.split_at(split);
            for part in if split == 1 { hello.chunks(1).collect() } else { vec![first, rest] } {
                client.send(part);
            }
            let mut answer = [0; 1];
            client.stream.read_exact(&mut answer).unwrap();
            // A ServerHello, or an alert.
            assert_eq!(answer[0] == 22, *is_answered, "{bytes:?} split at {split}: {answer:?}");
            client.finish();
            let _ = client.rest();
            ends += 1;
            let line = rejects(&proxy, ends).pop().unwrap();
            assert!(line["detail"].is_string(), "{line}");
            if !is_answered {
                assert_eq!(end(&line), "proxy/handshake/malformed", "{line}");
            }
        }
    }
    pki.client().open(proxy.address()).session("good").echo(b"\xC0\x00");
}

/// Records that tests of TLS servers send in place of a ClientHello, or after it.
#[test]
fn records_that_are_not_allowed() {
    let pki = Pki::new();
    let broker = Broker::echoing();
    let proxy = proxy(&pki, &broker, "timeouts: { connect_packet: 5s }");
    let hello = hello(&pki, Versions::Both);
    let empty = |kind: u8| vec![kind, 3, 3, 0, 0];
    let long = |kind: u8, len: usize| {
        [&[kind, 3, 3][..], &(len as u16).to_be_bytes(), &vec![0; len]].concat()
    };
    let after_hello = |bytes: Vec<u8>| [hello.clone(), bytes].concat();
    let cases = [
        ("an empty handshake record", empty(22)),
        ("an empty alert", empty(21)),
        ("empty data", empty(23)),
        ("an empty change_cipher_spec", empty(20)),
        ("2^14 + 1 bytes of a handshake", long(22, (1 << 14) + 1)),
        ("a record beyond every limit", long(22, (1 << 14) + 2049)),
        ("2^14 + 1 bytes of data", long(23, (1 << 14) + 1)),
        ("a warning in the hello", [&hello[..60], b"\x15\x03\x03\0\x02\x01\x5A"].concat()),
        ("warnings without end", b"\x15\x03\x03\0\x02\x01\x5A".repeat(40)),
        ("an alert that is too long", b"\x15\x03\x03\0\x03\x01\x00\x00".to_vec()),
        ("a hello, then an empty record", after_hello(empty(22))),
        ("a hello, then data in the clear", after_hello(b"\x17\x03\x03\0\x01x".to_vec())),
        ("a hello, then another", after_hello(hello.clone())),
        ("a hello, then 2^14 + 257 bytes", after_hello(long(23, (1 << 14) + 257))),
        ("a change_cipher_spec of 2", b"\x14\x03\x03\0\x01\x02".to_vec()),
        ("SSL 2", b"\x80\x2E\x01\x03\x01\x00\x15\x00\x00\x00\x10".to_vec()),
        ("a hello of version 9", [&hello[..9], b"\x09\x09", &hello[11..]].concat()),
    ];
    for (number, (what, bytes)) in cases.iter().enumerate() {
        let mut client = Client::open(proxy.address());
        // The proxy may have ended the connection before all of it is written.
        let _ = client.stream.write_all(bytes);
        let _ = client.stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let _ = client.stream.read_to_end(&mut answer);
        drop(client);
        let lines = rejects(&proxy, number + 1);
        assert_eq!(lines.len(), number + 1, "{what}");
        let line = lines.last().unwrap();
        assert_eq!(line["end_phase"], "handshake", "{what}: {line}");
        assert!(line["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{what}: {line}");
        pki.client().open(proxy.address()).session("next").echo(b"\xC0\x00");
    }
    let panicked = proxy.stderr().iter().any(|line| line.contains("panicked"));
    assert!(!panicked, "{:?}", proxy.stderr());
}

/// The proxy's end does not wait for it, and has its record.
#[test]
fn half_way_at_the_end_of_a_drain() {
    let pki = Pki::new();
    let broker = Broker::echoing();
    let websocket = format!("{}, websocket: {{}}", pki.tls(""));
    for listener in [pki.tls(""), websocket] {
        let mut proxy =
            Config::of([&broker]).listener(&listener).more("drain: { timeout: 0s }").start();
        let mut client = Client::open(proxy.address());
        client.send(&hello(&pki, Versions::Both));
        // Its answer shows that the proxy is in the middle of it.
        client.stream.read_exact(&mut [0; 5]).unwrap();
        proxy.signal(Signal::TERM);
        assert!(proxy.wait_exit().success());
        let line = rejects(&proxy, 1).pop().unwrap();
        assert_eq!(end(&line), "proxy/handshake/drain");
    }
}

/// Byte by byte, a handshake is as good as any.
#[test]
fn one_byte_at_a_time() {
    let pki = Pki::new();
    let broker = Broker::echoing();
    let proxy = proxy(&pki, &broker, "");
    for versions in [Versions::Both, Versions::Only12] {
        let mut client = pki.client().versions(versions).open(proxy.address());
        let mut flight = Vec::new();
        while client.stream.conn.is_handshaking() {
            flight.clear();
            while client.stream.conn.wants_write() {
                client.stream.conn.write_tls(&mut flight).unwrap();
            }
            for byte in &flight {
                client.stream.sock.write_all(&[*byte]).unwrap();
            }
            if client.stream.conn.is_handshaking() {
                client.stream.conn.read_tls(&mut client.stream.sock).unwrap();
                client.stream.conn.process_new_packets().unwrap();
            }
        }
        client.session("slow").echo(b"\xC0\x00");
    }
}

/// Handshakes and records with bytes changed, cut and repeated: one record each, and the proxy lives.
#[test]
fn mutated() {
    const ROUNDS: u64 = 400;
    let pki = Pki::new();
    let broker = Broker::echoing();
    let mut proxy = proxy(&pki, &broker, "timeouts: { connect_packet: 300ms, half_close: 1s }");
    let mut good = pki.client().open(proxy.address()).session("good");
    let configs = [Versions::Both, Versions::Only12].map(|v| pki.client().versions(v).config());
    fastrand::seed(11);
    for round in 0..ROUNDS {
        let config = &configs[round as usize % 2];
        let mut client = TlsClient::open(config, proxy.address(), "localhost");
        client.stream.sock.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        // How many flights are sent as they should be.
        let mut honest = fastrand::usize(0..4);
        loop {
            let mut flight = Vec::new();
            if !client.stream.conn.is_handshaking() {
                let _ = client.stream.conn.writer().write_all(&connect(4, "mutant"));
            }
            while client.stream.conn.wants_write() {
                client.stream.conn.write_tls(&mut flight).unwrap();
            }
            if honest == 0 {
                mutate(&mut flight);
            }
            if client.stream.sock.write_all(&flight).is_err() || honest == 0 {
                break;
            }
            honest -= 1;
            if client.stream.conn.read_tls(&mut client.stream.sock).is_err()
                || client.stream.conn.process_new_packets().is_err()
            {
                break;
            }
        }
        let _ = client.stream.sock.shutdown(Shutdown::Write);
    }
    wait_for("an end for each", || {
        let ends = proxy.log().iter().filter(|line| is_end(line)).count();
        (ends == ROUNDS as usize).then_some(())
    });
    assert!(proxy.is_running());
    good.echo(b"\xC0\x00");
    let panicked = proxy.stderr().iter().any(|line| line.contains("panicked"));
    assert!(!panicked, "{:?}", proxy.stderr());
}

fn mutate(flight: &mut Vec<u8>) {
    if flight.is_empty() {
        flight.extend([23, 3, 3, 0, 1, 0]);
    }
    for _ in 0..fastrand::usize(1..4) {
        let at = fastrand::usize(0..flight.len());
        match fastrand::u8(0..5) {
            0 => flight[at] = fastrand::u8(..),
            1 => flight[at] ^= 1 << fastrand::u8(0..8),
            2 => flight.truncate(at.max(1)),
            3 => {
                let again = flight[at..].to_vec();
                flight.extend(again);
            }
            _ => flight.insert(at, fastrand::u8(..)),
        }
    }
}
