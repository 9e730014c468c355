//! Data that a peer sent before it violated TLS is passed on, however reads split it.

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
        // All splits before the bad record, and some inside it.
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
            // An invalid record makes the client send an alert.
            let _ = tls.read_tls(&mut &BAD_RECORD[..]);
            assert!(tls.process_new_packets().is_err());
            let mut alert = Vec::new();
            tls.write_tls(&mut alert).unwrap();
            alert
        });
        assert_eq!(error, ErrorKind::ConnectionAborted, "{split}");
    }
}

/// Sends two packets and the end of TLS, which arrive in two reads; returns how the connection then
/// fails.
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
        // With less room than a packet needs, so that plaintext has to be kept.
        while let Poll::Ready(Ok(1..)) = pair.recv(3) {}
    }
    assert_eq!(pair.received, [PUBLISH, DISCONNECT].concat(), "{split}");
    // Bytes written meanwhile are dropped, and do not hide the reason.
    assert!(matches!(pair.send(b"PINGRESP"), Poll::Ready(Ok(8))));
    let Poll::Ready(Err(error)) = pair.recv(100) else { panic!("no error at {split}") };
    error.kind()
}

/// The peer's reset loses no data that was not read yet.
#[test]
fn before_a_reset() {
    let tls = Tls::new(false);
    let reactor = Reactor::new().unwrap();
    let mut pair = Pair::open(&reactor, TLS, &tls);
    pair.peer_sends(DISCONNECT, &BAD_RECORD);
    // Our alert cannot be delivered.
    pair.peer = super::Peer::new(std::os::unix::net::UnixStream::pair().unwrap().0, None, false);
    assert!(matches!(pair.recv(100), Poll::Ready(Ok(2))));
    assert!(
        matches!(pair.recv(100), Poll::Ready(Err(error)) if error.kind() == ErrorKind::InvalidData)
    );
}
