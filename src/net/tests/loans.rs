//! No byte of one connection gets into another, whichever call fails.

use std::task::Poll;

use rustix::io::Errno;

use super::{
    Layers, Pair, TLS, WS, WSS,
    peer::{BAD_RECORD, Tls},
};
use crate::net::reactor::Reactor;

/// More calls than the scenario below makes.
const MOST_CALLS: usize = 400;

/// How the scenario ends.
#[derive(Clone, Copy, Debug)]
enum Leave {
    HalfClose,
    DisconnectReason,
    Silence,
}

/// One connection fails at its first system call, at its second, and so on, with an error or
/// because it has to wait; another one on the same worker loses no byte.
#[test]
fn each_call_fails_in_turn() {
    for is_12 in [false, true] {
        let tls = Tls::new(is_12);
        for layers in [TLS, WSS, WS] {
            for errno in [Errno::CONNRESET, Errno::AGAIN] {
                let failed = (0..MOST_CALLS).take_while(|call| {
                    tell(&tls, layers, Leave::DisconnectReason, Some((*call, errno)))
                });
                let failed = failed.count();
                assert!((20..MOST_CALLS).contains(&failed), "{layers:?}, {errno}: {failed} calls");
            }
        }
    }
}

/// The connection violates TLS while its records wait.
#[test]
fn a_bad_record_while_records_wait() {
    for is_12 in [false, true] {
        let tls = Tls::new(is_12);
        for layers in [TLS, WSS, WS] {
            for leave in [Leave::HalfClose, Leave::DisconnectReason, Leave::Silence] {
                tell(&tls, layers, leave, None);
            }
        }
    }
}

/// Runs one connection next to another. Returns whether the planned call has failed.
fn tell(tls: &Tls, layers: Layers, leave: Leave, fault: Option<(usize, Errno)>) -> bool {
    let reactor = Reactor::new().unwrap();
    let mut other = Pair::open(&reactor, TLS, tls);
    let mut other_wss = Pair::open(&reactor, WSS, tls);
    let mut check = |word: &[u8]| {
        other.check(word);
        other_wss.check(word);
    };
    let mut pair = Pair::new(&reactor, layers, tls);
    if let Some((call, errno)) = fault {
        reactor.faults.plan(pair.ours.socket().token(), call, errno);
    }
    if pair.shake_hands(layers, tls).is_ok() {
        live(&mut pair, layers, leave, &mut check);
    }
    check(b"behind its end");
    drop(pair.ours);
    pair.peer.pump();
    check(b"behind its close");
    let received = pair.peer.received();
    assert!(pair.sent.starts_with(&received), "{fault:?}: bytes that were not for it");
    assert!(pair.sent_by_peer.starts_with(&pair.received), "{fault:?}: bytes not from it");
    reactor.faults.has_failed()
}

fn live(pair: &mut Pair, layers: Layers, leave: Leave, check: &mut impl FnMut(&[u8])) {
    let mut number = 0_u8;
    let mut message = |len: usize| {
        number = number.wrapping_add(1);
        vec![number; len]
    };
    pair.peer_sends(b"a first word", b"");
    let _ = pair.recv(4);
    check(b"one");
    let _ = pair.recv(100);
    let _ = pair.send(&message(900));
    check(b"two");
    pair.peer.pump();
    let _ = pair.ours.try_flush();
    for round in 0..4 {
        // The peer does not read until all buffers are full and some bytes wait here.
        for _ in 0..20 {
            let sent = pair.send(&message(900));
            check(b"three");
            if !matches!(sent, Poll::Ready(Ok(_))) || pair.ours.try_flush().is_pending() {
                break;
            }
        }
        if round < 3 {
            pair.peer.pump();
            let _ = pair.recv(100);
            let _ = pair.ours.try_flush();
        }
    }
    pair.peer_sends(b"last words", if layers.tls { &BAD_RECORD } else { b"\xFF\xFF" });
    while let Poll::Ready(Ok(1..)) = pair.recv(3) {
        check(b"four");
    }
    check(b"five");
    let _ = pair.send(&message(100));
    check(b"six");
    match leave {
        Leave::HalfClose => pair.ours.shutdown(),
        Leave::DisconnectReason => pair.ours.send_close(),
        Leave::Silence => {}
    }
    check(b"seven");
    let _ = pair.ours.try_flush();
}
