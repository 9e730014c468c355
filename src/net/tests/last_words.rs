//! What a peer said before it broke TLS is passed on, wherever reads cut it.

use std::{io::ErrorKind, task::Poll};

use rustls::ClientConnection;

use super::{
    Pair, TLS,
    peer::{BAD_RECORD, Tls},
};
use crate::net::reactor::Reactor;

const PUBLISH: &[u8] = b"\x30\x05\x00\x01tABC";
const DISCONNECT: &[u8] = b"\xE0\x00";

#[test]
fn before_a_bad_record() {
    for is_12 in [false, true] {
        let tls = Tls::new(is_12);
        // All splits in front of the bad record, and some of its own.
        for split in 0..100 {
            let error = tell(&tls, split, |_| BAD_RECORD.to_vec());
            assert_eq!(error, ErrorKind::InvalidData, "{split}");
        }
    }
}

#[test]
fn before_a_fatal_alert() {
    let tls = Tls::new(false);
    for split in 0..100 {
        let error = tell(&tls, split, |tls| {
            // A record that the client does not understand makes it send one.
            let _ = tls.read_tls(&mut &BAD_RECORD[..]);
            assert!(tls.process_new_packets().is_err());
            let mut alert = Vec::new();
            tls.write_tls(&mut alert).unwrap();
            alert
        });
        assert_eq!(error, ErrorKind::ConnectionAborted, "{split}");
    }
}

/// Two packets and the end of TLS, which come in two reads; how the connection fails behind both.
fn tell(tls: &Tls, split: usize, end: impl FnOnce(&mut ClientConnection) -> Vec<u8>) -> ErrorKind {
    let reactor = Reactor::new().unwrap();
    let mut pair = Pair::open(&reactor, TLS, tls);
    let mut wire = pair.peer.encoded(PUBLISH);
    wire.extend(pair.peer.encoded(DISCONNECT));
    wire.extend(end(pair.peer.tls.as_mut().unwrap()));
    let (first, second) = wire.split_at(split.min(wire.len()));
    for part in [first, second] {
        if !part.is_empty() {
            pair.peer.write(part);
        }
        // With less room than a packet needs, so that plaintext has to wait here.
        while let Poll::Ready(Ok(1..)) = pair.recv(3) {}
    }
    assert_eq!(pair.received, [PUBLISH, DISCONNECT].concat(), "{split}");
    // What is written meanwhile goes nowhere, and does not hide the reason.
    assert!(matches!(pair.send(b"PINGRESP"), Poll::Ready(Ok(8))));
    let Poll::Ready(Err(error)) = pair.recv(100) else { panic!("no error at {split}") };
    error.kind()
}

/// A reader that has not come yet loses nothing by the peer's reset.
#[test]
fn before_a_reset() {
    let tls = Tls::new(false);
    let reactor = Reactor::new().unwrap();
    let mut pair = Pair::open(&reactor, TLS, &tls);
    pair.peer_sends(DISCONNECT, &BAD_RECORD);
    // Our alert finds nobody.
    pair.peer = super::Peer::new(std::os::unix::net::UnixStream::pair().unwrap().0, None, false);
    assert!(matches!(pair.recv(100), Poll::Ready(Ok(2))));
    assert!(
        matches!(pair.recv(100), Poll::Ready(Err(error)) if error.kind() == ErrorKind::InvalidData)
    );
}
