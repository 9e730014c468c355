//! Layers driven step by step, two connections on one reactor.

mod faults;
mod held;
mod key_use;
mod last_words;
mod loans;
mod moved;
mod peer;
mod pings;

use std::{
    future::Future,
    io,
    num::NonZeroU32,
    os::{fd::OwnedFd, unix::net::UnixStream},
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::{
    reactor::Reactor,
    socket::Socket,
    stream::{Stream, TlsError},
};
pub(crate) use faults::Faults;
use peer::{Peer, Tls};
use rustix::net::sockopt::set_socket_send_buffer_size;

/// The layers below MQTT.
#[derive(Clone, Copy, Debug)]
struct Layers {
    tls: bool,
    websocket: bool,
}

const TLS: Layers = Layers { tls: true, websocket: false };
const WSS: Layers = Layers { tls: true, websocket: true };
const WS: Layers = Layers { tls: false, websocket: true };

/// How many bytes of incomplete handshake messages are kept.
const MAY_HOLD: usize = 30_000;

/// Seconds without data after which a WebSocket client is sent a Ping.
const PING_SECONDS: u32 = 30;

/// Both ends of one connection.
struct Pair {
    reactor: Rc<Reactor>,
    ours: Stream,
    peer: Peer,
    /// The bytes that each end accepted for sending.
    sent: Vec<u8>,
    sent_by_peer: Vec<u8>,
    received: Vec<u8>,
}

impl Pair {
    /// A connection before its handshake.
    fn new(reactor: &Rc<Reactor>, layers: Layers, tls: &Tls) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        // So small that a few writes fill it.
        set_socket_send_buffer_size(&ours, 4096).unwrap();
        let ours = Stream::new(Socket::accepted(reactor, OwnedFd::from(ours)).unwrap());
        let peer = Peer::new(theirs, layers.tls.then_some(tls), layers.websocket);
        let reactor = reactor.clone();
        let (sent, sent_by_peer, received) = Default::default();
        Self { reactor, ours, peer, sent, sent_by_peer, received }
    }

    /// Runs the handshake.
    fn shake_hands(&mut self, layers: Layers, tls: &Tls) -> Result<(), TlsError> {
        if layers.tls {
            let mut shaking = pin!(self.ours.accept_tls(&tls.server, Vec::new(), MAY_HOLD));
            let cx = &mut Context::from_waker(Waker::noop());
            loop {
                self.peer.pump();
                self.reactor.wait(Duration::ZERO).unwrap();
                self.reactor.turn.admit();
                match shaking.as_mut().poll(cx) {
                    Poll::Ready(Ok(_)) => break,
                    Poll::Ready(Err(error)) => return Err(error),
                    Poll::Pending => {}
                }
            }
        }
        if layers.websocket {
            self.ours.begin_websocket(&mut Vec::new(), NonZeroU32::new(PING_SECONDS));
        }
        self.peer.pump();
        Ok(())
    }

    fn open(reactor: &Rc<Reactor>, layers: Layers, tls: &Tls) -> Self {
        let mut pair = Self::new(reactor, layers, tls);
        pair.shake_hands(layers, tls).unwrap();
        pair
    }

    /// Writes as much of `bytes` as is taken.
    fn send(&mut self, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let sent = self.ours.try_send(bytes);
        if let Poll::Ready(Ok(n)) = sent {
            self.sent.extend(&bytes[..n]);
        }
        sent
    }

    /// Reads once, with room for `room` bytes.
    fn recv(&mut self, room: usize) -> Poll<io::Result<usize>> {
        self.reactor.wait(Duration::ZERO).unwrap();
        self.reactor.turn.admit();
        let mut buf = vec![0; room];
        let read = self.ours.try_recv(&mut buf);
        if let Poll::Ready(Ok(n)) = read {
            self.received.extend(&buf[..n]);
        }
        read
    }

    /// Makes the peer send `bytes`, then `behind` as it is.
    fn peer_sends(&mut self, bytes: &[u8], behind: &[u8]) {
        let mut wire = self.peer.encoded(bytes);
        wire.extend(behind);
        self.peer.write(&wire);
        self.sent_by_peer.extend(bytes);
    }

    /// Asserts that each end receives exactly what the other sent.
    #[track_caller]
    fn check(&mut self, word: &[u8]) {
        assert!(matches!(self.send(word), Poll::Ready(Ok(n)) if n == word.len()));
        self.peer_sends(word, b"");
        while let Poll::Ready(read) = self.recv(64) {
            assert!(read.unwrap() > 0, "its end");
        }
        self.peer.pump();
        assert_eq!(self.peer.complaint, None);
        assert!(self.ours.try_flush().is_ready());
        assert!(self.peer.received() == self.sent, "not what was sent to it");
        assert!(self.received == self.sent_by_peer, "not what it sent");
    }
}
