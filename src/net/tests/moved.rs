//! TLS connections that go on with the state of another layer, over the same socket.

use std::task::Poll;

use super::{Layers, Pair, TLS, peer::Tls};
use crate::net::{
    reactor::Reactor,
    stream::{CaptureError, Stream, StreamState},
};

impl Pair {
    /// Replaces our stream by one of another process, as far as that can be told: with a duplicate
    /// of the socket, and the serialized state.
    fn move_on(&mut self) {
        let state = self.ours.capture(0).unwrap();
        let text = serde_json::to_string(&state).unwrap();
        // Whatever is called, a captured stream neither reads nor writes.
        assert!(self.ours.try_send(b"x").is_pending() && self.ours.try_flush().is_pending());
        assert!(self.ours.try_recv(&mut [0; 64]).is_pending());
        self.ours.send_close();
        self.ours.shutdown();
        let state: StreamState = serde_json::from_str(&text).unwrap();
        let fd = self.ours.socket().duplicate().unwrap();
        self.ours.leave_reactor();
        self.ours = Stream::restore(&self.reactor, fd, state, 0).unwrap();
    }
}

fn pairs() -> impl Iterator<Item = Pair> {
    [false, true].into_iter().map(|is_12| {
        let (reactor, tls) = (Reactor::new().unwrap(), Tls::new(is_12));
        Pair::open(&reactor, TLS, &tls)
    })
}

#[test]
fn at_rest() {
    for mut pair in pairs() {
        for _ in 0..3 {
            pair.check(b"before");
            pair.move_on();
        }
        pair.check(b"after");
        pair.ours.send_close();
        pair.peer.pump();
        assert_eq!(pair.peer.complaint, None);
    }
}

/// Every split of two records: what has arrived of them moves along.
#[test]
fn amid_records() {
    for split in 0..80 {
        for mut pair in pairs() {
            let mut wire = pair.peer.encoded(b"first");
            wire.extend(pair.peer.encoded(b"second"));
            let split = split.min(wire.len());
            let (front, rest) = wire.split_at(split);
            pair.peer.write(front);
            // With no room for more than a byte, the rest of the plaintext is kept.
            let _ = pair.recv(1);
            pair.move_on();
            pair.peer.write(rest);
            while let Poll::Ready(read) = pair.recv(3) {
                assert!(read.unwrap() > 0, "its end");
            }
            assert_eq!(pair.received, b"firstsecond", "{split}");
            pair.sent_by_peer.extend(b"firstsecond");
            pair.check(b"after");
        }
    }
}

/// Records that the peer was too slow for move along.
#[test]
fn with_a_backlog() {
    for mut pair in pairs() {
        let data: Vec<u8> = (0..100_000).map(|n| n as u8).collect();
        let mut rest = &data[..];
        while let Poll::Ready(sent) = pair.send(rest) {
            rest = &rest[sent.unwrap()..];
        }
        assert!(pair.ours.try_flush().is_pending(), "no backlog");
        pair.move_on();
        while pair.ours.try_flush().is_pending() {
            pair.peer.pump();
            pair.reactor.wait(std::time::Duration::ZERO).unwrap();
        }
        pair.check(b"after");
    }
}

/// A stream that stays goes on.
#[test]
fn refused() {
    for mut pair in pairs() {
        pair.check(b"before");
        let state = pair.ours.capture(0).unwrap();
        assert_ne!(state, StreamState::default());
        // Two states would be one sequence of records twice.
        assert_eq!(pair.ours.capture(0), Err(CaptureError::Captured));
        pair.peer_sends(b"meanwhile", b"");
        assert!(pair.recv(64).is_pending());
        pair.ours.resume();
        assert!(pair.recv(64).is_ready());
        pair.check(b"after");
    }
}

/// A peer's end moves along, and one that violated TLS does not move.
#[test]
fn ends() {
    for mut pair in pairs() {
        pair.peer.tls.as_mut().unwrap().send_close_notify();
        pair.peer.pump();
        assert!(matches!(pair.recv(64), Poll::Ready(Ok(0))));
        pair.move_on();
        assert!(matches!(pair.recv(64), Poll::Ready(Ok(0))));
        assert!(matches!(pair.send(b"more"), Poll::Ready(Ok(4))));
        pair.peer.pump();
        assert_eq!((pair.peer.received(), &pair.peer.complaint), (b"more".to_vec(), &None));
    }
    for mut pair in pairs() {
        pair.peer.write(&super::peer::BAD_RECORD);
        assert!(matches!(pair.recv(64), Poll::Ready(Err(_))));
        assert_eq!(pair.ours.capture(0), Err(CaptureError::Violated));
    }
    let reactor = Reactor::new().unwrap();
    let plain = Layers { tls: false, websocket: false };
    let pair = Pair::open(&reactor, plain, &Tls::new(false));
    assert_eq!(pair.ours.capture(0).unwrap(), StreamState::default());
}
