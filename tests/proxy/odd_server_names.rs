//! Clients that ask for a server name that is not a host name.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    thread,
};

use serde_json::Value;

use crate::{
    broker::Broker,
    client::Client,
    config::Config,
    harness::{Proxy, end, rejects, wait_for},
    tls_client::Pki,
    tls_old_devices::s_client_at,
};

/// No listener supports the first of these groups, the only one of which the client sends a key
/// share at first.
const RETRY: &str = "-tls1_3 -msg -groups P-521:X25519";

/// A proxy that requires certificates, and OpenSSL with one.
struct Devices {
    pki: Pki,
    proxy: Proxy,
    _broker: Broker,
    sessions: usize,
}

impl Devices {
    fn new() -> Self {
        let pki = Pki::new();
        pki.write_issued("device", &pki.issue("device-1"));
        let ca = format!(", client_auth: required{}", pki.file("client_ca", "ca.pem"));
        let broker = Broker::echoing();
        let proxy = Config::of([&broker]).listener(&pki.tls(&ca)).start();
        Self { pki, proxy, _broker: broker, sessions: 0 }
    }

    /// What OpenSSL says of a session, whose name is in the log.
    #[track_caller]
    fn session(&mut self, address: SocketAddr, name: &str, args: &str) -> String {
        let dir = self.pki.path().display();
        let args = format!(
            "-connect {address} -servername {name} -cert {dir}/device.pem -key {dir}/device.key {args}"
        );
        let said = s_client_at(&args);
        assert!(said.contains("Verify return code"), "{args}: {said}");
        self.sessions += 1;
        let connects = wait_for("the session", || {
            let mut log = self.proxy.log();
            log.retain(|line| line["event"] == "connect");
            (log.len() == self.sessions).then_some(log)
        });
        let line = connects.last().unwrap();
        assert_eq!((&line["sni"], &line["tls_cn"]), (&name.into(), &"device-1".into()));
        said
    }

    /// A session, and one that resumes it.
    #[track_caller]
    fn two_sessions(&mut self, name: &str, args: &str) -> [String; 2] {
        let (address, ticket) = (self.proxy.address(), self.pki.path().join("ticket"));
        let ticket = ticket.display();
        let first = self.session(address, name, &format!("{args} -sess_out {ticket}"));
        assert!(first.contains("New, TLS"), "{first}");
        let second = self.session(address, name, &format!("{args} -sess_in {ticket}"));
        assert!(second.contains("Reused, TLS"), "{second}");
        [first, second]
    }
}

/// They are ignored, in each version, with a client's certificate and with a ticket, however the
/// ClientHello is split; the log has them.
#[test]
fn are_ignored() {
    let mut devices = Devices::new();
    let direct = devices.proxy.address();
    for name in ["broker.example.com:8883", "[::1]", "mqtts://broker.example.com", "127.0.0.1"] {
        for version in ["-tls1_2", "-tls1_3"] {
            devices.two_sessions(name, version);
            // Host names, and none, are as before.
            let said = devices.session(direct, "localhost", version);
            assert!(said.contains("New, TLS"), "{said}");
            for split in [segments::<1>, segments::<100>, records::<40>] {
                let relay = relay(direct, split);
                devices.session(relay, name, version);
            }
        }
    }
}

/// A client's signature and its proof of the keys are of all messages, and so are the keys (RFC
/// 7627).
#[test]
fn with_each_hash_of_tls_1_2() {
    let mut devices = Devices::new();
    for suite in ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"] {
        let said = devices.two_sessions("dev_01:8883", &format!("-tls1_2 -cipher {suite}"));
        for said in said {
            assert!(said.contains("Extended master secret: yes"), "{said}");
        }
    }
}

/// A client that has to send a second ClientHello has the name in both.
#[test]
fn with_a_second_hello() {
    let mut devices = Devices::new();
    let direct = devices.proxy.address();
    let hellos = |said: &str| said.matches(", ClientHello").count();
    for suite in ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"] {
        let args = format!("{RETRY} -ciphersuites {suite}");
        for name in ["dev_01:8883", "localhost"] {
            for said in devices.two_sessions(name, &args) {
                assert_eq!(hellos(&said), 2, "{said}");
                assert!(said.contains(suite), "{said}");
            }
        }
        for split in [segments::<1>, segments::<7>, segments::<100>, records::<40>] {
            let relay = relay(direct, split);
            let said = devices.session(relay, "mqtts://dev_01", &args);
            assert_eq!(hellos(&said), 2, "{said}");
        }
        // Without the change_cipher_spec that goes ahead of it.
        let said = devices.session(direct, "[::1]", &format!("{args} -no_middlebox"));
        assert_eq!(hellos(&said), 2, "{said}");
    }
}

/// Second ClientHellos with another name, and what else comes in place of one.
#[test]
fn bad_second_hellos() {
    let pki = Pki::new();
    let broker = Broker::echoing();
    let proxy = Config::of([&broker])
        .listener(&pki.tls(""))
        .more("timeouts: { connect_packet: 5s }")
        .start();
    let first = hello(b"a:b", P_521);
    let ccs = b"\x14\x03\x03\0\x01\x01";
    let ahead = |bytes: &[u8], hello: Vec<u8>| [bytes, &hello].concat();
    let same = || hello(b"a:b", X25519);
    let (server_hello, nothing) = (&b"\x16\x03\x03\0\x5A\x02"[..], &b""[..]);
    let (unexpected, illegal, decode) = (&alert(10)[..], &alert(47)[..], &alert(50)[..]);
    let cases = [
        (same(), server_hello, "not finished"),
        (ahead(ccs, same()), server_hello, "not finished"),
        (hello_with(b"", X25519), server_hello, "not finished"),
        (ahead(ccs, ahead(ccs, same())), illegal, "ServerNameMustContainOneHostName"),
        (ahead(&ccs[..1], same()), decode, "UnknownProtocolVersion"),
        (ahead(&ccs[..5], vec![2]), unexpected, "IllegalMiddleboxChangeCipherSpec"),
        (ccs[..4].to_vec(), nothing, "not finished"),
        (ahead(&same(), ccs.to_vec()), illegal, "ServerNameMustContainOneHostName"),
        (hello(b"c:d", X25519), illegal, "ServerNameMustContainOneHostName"),
        (hello(b"abc", X25519), nothing, "ServerNameDifferedOnRetry"),
        (hello(b"a:b", P_521), illegal, "RefusedToFollowHelloRetryRequest"),
        (b"\x16\x03\x03\0\0".to_vec(), decode, "InvalidEmptyPayload"),
        (b"\x17\x03\x03\0\x01x".to_vec(), unexpected, "got ApplicationData"),
        (b"\x15\x03\x03\0\x02\x02\x28".to_vec(), nothing, "the alert HandshakeFailure"),
        (Vec::new(), nothing, "not finished"),
    ];
    for (number, (second, answer, detail)) in cases.iter().enumerate() {
        let mut client = Client::open(proxy.address());
        client.send(&first);
        // A HelloRetryRequest, which is a ServerHello, for the group and TLS 1.3.
        let retry = record(&mut client);
        assert_eq!((retry[0], retry[5]), (22, 2));
        assert_eq!(retry[retry.len() - 8..], [0, X25519.0, 0, 43, 0, 2, 3, 4]);
        assert_eq!(record(&mut client), ccs);
        client.send(second);
        client.finish();
        let (rest, _) = client.rest();
        assert!(rest.starts_with(answer), "{detail}: {rest:?}");
        assert_eq!(rest.is_empty(), answer.is_empty(), "{detail}");
        let line: Value = rejects(&proxy, number + 1).pop().unwrap();
        assert!(line["detail"].as_str().unwrap().contains(detail), "{detail}: {line}");
        assert!(end(&line).contains("/handshake/"), "{line}");
    }
}

/// The record of a fatal alert in the clear.
fn alert(description: u8) -> [u8; 7] {
    [21, 3, 3, 0, 2, 2, description]
}

/// Names of all kinds, in ClientHellos of two parts: the answer does not depend on where the second
/// part begins.
#[test]
fn in_every_split() {
    let pki = Pki::new();
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).listener(&pki.tls("")).start();
    let (retry, illegal, decode) = ([22, 2], [21, 47], [21, 50]);
    let malformed = |content: &[u8]| extension(0, content);
    let cases = [
        (named(b"localhost"), retry),
        (named(b"127.0.0.1"), retry),
        (named(b"host:8883"), retry),
        (named(b"\0\x01\x02\r\n\x7F\x80\xFE\xFF"), retry),
        (named(b"*.example"), retry),
        // No name, two of them, one of another type, the extension twice.
        (named(b""), decode),
        (malformed(b"\0\0"), decode),
        (malformed(b""), decode),
        (malformed(b"\0\x0C\0\0\x03a:b\0\0\x03a:b"), decode),
        (malformed(b"\0\x06\x07\0\x03a:b"), illegal),
        ([named(b"a:b"), named(b"abc")].concat(), illegal),
        // Longer than the list, and shorter.
        (malformed(b"\0\x0C\0\0\xFFa:b"), decode),
        (malformed(b"\0\x06\0\0\x01a:b"), retry),
    ];
    let mut ends = 0;
    for (name, answer) in cases {
        let hello = hello_with(&name, P_521);
        // The first part of each has arrived, most likely, when the rest of the first is sent.
        let mut clients: Vec<Client> = (1..hello.len())
            .map(|split| {
                let mut client = Client::open(proxy.address());
                client.send(&hello[..split]);
                client
            })
            .collect();
        for (client, split) in clients.iter_mut().zip(1..) {
            client.send(&hello[split..]);
        }
        for (client, split) in clients.iter_mut().zip(1..) {
            let record = record(client);
            let said = [record[0], record[if record[0] == 21 { 6 } else { 5 }]];
            assert_eq!(said, answer, "{name:?} split at {split}");
        }
        ends += clients.len();
    }
    assert_eq!(rejects(&proxy, ends).len(), ends);
}

/// The groups (RFC 8446, section 4.2.7), and the lengths of their key shares.
const P_521: (u8, u8) = (0x19, 133);
const X25519: (u8, u8) = (0x1D, 32);

/// The record of a ClientHello of TLS 1.3 for both groups, with a key share of one.
fn hello(name: &[u8], share: (u8, u8)) -> Vec<u8> {
    hello_with(&named(name), share)
}

fn named(name: &[u8]) -> Vec<u8> {
    extension(0, &list(&[&[0][..], &list(name)].concat()))
}

fn list(bytes: &[u8]) -> Vec<u8> {
    [&[0, bytes.len() as u8][..], bytes].concat()
}

fn extension(kind: u8, content: &[u8]) -> Vec<u8> {
    [&[0, kind][..], &list(content)].concat()
}

fn hello_with(first: &[u8], (group, share): (u8, u8)) -> Vec<u8> {
    let share = [&[0, group][..], &list(&vec![9; share.into()])].concat();
    let extensions = [
        first.to_vec(),
        extension(43, &[2, 3, 4]),
        extension(10, &list(&[0, P_521.0, 0, X25519.0])),
        extension(13, &list(&[4, 3])),
        extension(51, &list(&share)),
    ];
    let fixed = [&[3, 3][..], &[7; 32], &[0], &list(&[0x13, 1]), &[1, 0]].concat();
    let body = [&fixed[..], &list(&extensions.concat())].concat();
    let message = [&[1, 0][..], &list(&body)].concat();
    [&[22, 3, 1][..], &list(&message)].concat()
}

fn record(client: &mut Client) -> Vec<u8> {
    let mut record = vec![0; 5];
    client.stream.read_exact(&mut record).unwrap();
    let end = 5 + usize::from(u16::from_be_bytes([record[3], record[4]]));
    record.resize(end, 0);
    client.stream.read_exact(&mut record[5..]).unwrap();
    record
}

/// What is sent in place of these bytes, one after the other.
type Split = fn(&mut Vec<u8>) -> Vec<Vec<u8>>;

fn segments<const BYTES: usize>(received: &mut Vec<u8>) -> Vec<Vec<u8>> {
    std::mem::take(received).chunks(BYTES).map(Vec::from).collect()
}

/// Splits ClientHellos into records.
fn records<const BYTES: usize>(received: &mut Vec<u8>) -> Vec<Vec<u8>> {
    let mut sent = Vec::new();
    while let [kind, 3, minor, high, low, ..] = received[..] {
        let end = 5 + usize::from(u16::from_be_bytes([high, low]));
        if received.len() < end {
            break;
        }
        let record: Vec<u8> = received.drain(..end).collect();
        let part = |part: &[u8]| [&[kind, 3, minor, 0, part.len() as u8][..], part].concat();
        match record[..] {
            [22, _, _, _, _, 1, ..] => sent.extend(record[5..].chunks(BYTES).map(part)),
            _ => sent.push(record),
        }
    }
    sent
}

/// Forwards one connection, with what the client sends split.
fn relay(to: SocketAddr, split: Split) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut proxy = TcpStream::connect(to).unwrap();
        proxy.set_nodelay(true).unwrap();
        let (mut back, mut answers) = (client.try_clone().unwrap(), proxy.try_clone().unwrap());
        thread::spawn(move || {
            let _ = io::copy(&mut answers, &mut back);
            let _ = back.shutdown(Shutdown::Write);
        });
        // The client leaves with a reset, which takes what has not been read by then.
        let (sender, pieces) = mpsc::channel();
        thread::spawn(move || {
            let mut bytes = vec![0; 1 << 14];
            while let Ok(len @ 1..) = client.read(&mut bytes) {
                sender.send(bytes[..len].to_vec()).unwrap();
            }
        });
        let mut received = Vec::new();
        for bytes in pieces {
            received.extend(bytes);
            for piece in split(&mut received) {
                proxy.write_all(&piece).unwrap();
            }
        }
        let _ = proxy.shutdown(Shutdown::Write);
    });
    address
}
