//! Key updates of TLS 1.3 (RFC 8446, section 4.6.3).

use rustls::{AlertDescription, Connection, Error, PeerMisbehaved};

use super::{Pair, all, read, read_as_peer, written};
use crate::net::{buffer::Buffer, stream::tls::record::TlsWrite};

fn pairs() -> impl Iterator<Item = Pair> {
    all().filter(|(suite, _)| suite.tls13().is_some()).map(|(suite, side)| Pair::new(suite, side))
}

/// The secret of our key.
fn secret(pair: &Pair) -> Vec<u8> {
    pair.ours.sender.secret(pair.ours.protection.cipher).to_vec()
}

/// The peer's request for an update, after its own.
fn requested(peer: &mut Connection) -> Vec<u8> {
    match peer {
        Connection::Client(peer) => peer.refresh_traffic_keys().unwrap(),
        Connection::Server(peer) => peer.refresh_traffic_keys().unwrap(),
    }
    written(peer)
}

#[test]
fn of_the_peer() {
    for mut pair in pairs() {
        for n in 0..10 {
            pair.receive(b"before");
            let mut wire = requested(&mut pair.peer);
            wire.extend(pair.encrypted(b"after"));
            // The answer is due before the next record, and not alone.
            let received = read(&mut pair.ours, &mut wire);
            assert_eq!(received, Ok((b"after".to_vec(), Vec::new())));
            let (keys, is_due) = (secret(&pair), pair.ours.owes_key_update);
            assert!(is_due);
            pair.send(b"behind the answer");
            assert!(keys != secret(&pair), "{n}");
            pair.send(b"no second answer");
            assert_eq!(pair.ours.sender.next(), 2);
        }
    }
}

/// One answer is enough for all requests before it.
#[test]
fn several_requests() {
    for mut pair in pairs() {
        for _ in 0..5 {
            let mut wire = requested(&mut pair.peer);
            assert_eq!(read(&mut pair.ours, &mut wire), Ok((Vec::new(), Vec::new())));
        }
        pair.send(b"once");
        assert_eq!(pair.ours.sender.next(), 1);
        pair.receive(b"x");
    }
}

/// An update that asks for none in return is not answered.
#[test]
fn not_requested() {
    for mut pair in pairs() {
        let mut outbox = Buffer::default();
        // Our own request makes the peer update without one.
        let limit = pair.ours.key_limit;
        pair.ours.key_limit = 1_u64.into();
        pair.ours.write(TlsWrite::Data(b"a"), &mut outbox).unwrap();
        pair.ours.write(TlsWrite::Data(b"b"), &mut outbox).unwrap();
        pair.ours.key_limit = limit;
        assert_eq!(read_as_peer(&mut pair.peer, outbox.bytes()).unwrap(), b"ab");
        pair.receive(b"with the next key");
        assert!(!pair.ours.owes_key_update);
        assert_eq!(pair.ours.receiver.next(), 1);
        pair.send(b"x");
    }
}

/// The answer also precedes close_notify and alerts.
#[test]
fn before_the_end() {
    for (n, mut pair) in pairs().chain(pairs()).enumerate() {
        let mut wire = requested(&mut pair.peer);
        read(&mut pair.ours, &mut wire).unwrap();
        let mut outbox = Buffer::default();
        if n % 2 == 0 {
            pair.ours.write(TlsWrite::CloseNotify, &mut outbox).unwrap();
            assert_eq!(read_as_peer(&mut pair.peer, outbox.bytes()), Ok(Vec::new()));
        } else {
            pair.ours.send_fatal_alert(AlertDescription::InternalError, &mut outbox);
            let alert = Error::AlertReceived(AlertDescription::InternalError);
            assert_eq!(read_as_peer(&mut pair.peer, outbox.bytes()), Err(alert));
        }
    }
}

/// A peer may send 32 in a row without data, as with rustls and BoringSSL.
#[test]
fn too_many() {
    for mut pair in pairs() {
        for _ in 0..3 {
            for _ in 0..32 {
                let mut wire = requested(&mut pair.peer);
                read(&mut pair.ours, &mut wire).unwrap();
            }
            pair.receive(b"data");
        }
        for _ in 0..32 {
            let mut wire = requested(&mut pair.peer);
            read(&mut pair.ours, &mut wire).unwrap();
        }
        let mut wire = requested(&mut pair.peer);
        let error = PeerMisbehaved::TooManyKeyUpdateRequests.into();
        assert_eq!(read(&mut pair.ours, &mut wire), Err(error));
    }
}

/// Both sides update at the same time.
#[test]
fn crossing() {
    for mut pair in pairs() {
        let mut wire = requested(&mut pair.peer);
        pair.ours.key_limit = 1_u64.into();
        let mut outbox = Buffer::default();
        pair.ours.write(TlsWrite::Data(b"a"), &mut outbox).unwrap();
        pair.ours.write(TlsWrite::Data(b"b"), &mut outbox).unwrap();
        pair.ours.key_limit = (1_u64 << 24).into();
        read(&mut pair.ours, &mut wire).unwrap();
        assert_eq!(read_as_peer(&mut pair.peer, outbox.bytes()).unwrap(), b"ab");
        for _ in 0..3 {
            pair.send(b"in");
            pair.receive(b"out");
        }
    }
}
