//! Two proxies with one configuration, a broker, and a session.

use std::{
    io::Write,
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread::{self, JoinHandle},
};

use tokio::sync::mpsc;

use crate::{
    config::Config,
    control::tests::{
        peers::{Peer, Tls},
        running::{RunningProxy, wait_until},
    },
    labels::StayReason,
    session::{HandOver, HandOverOutcome, MovedSession, ParkedSession, StayCounts},
};

/// Client ID `me`, keep alive 60 s.
pub(super) const CONNECT_V4: &[u8] = b"\x10\x0E\x00\x04MQTT\x04\x02\x00\x3C\x00\x02me";
pub(super) const CONNACK_V4: &[u8] = &[0x20, 2, 0, 0];

/// The same with 5.0 and the username `you`.
pub(super) const CONNECT_V5: &[u8] =
    b"\x10\x14\x00\x04MQTT\x05\x82\x00\x3C\x00\x00\x02me\x00\x03you";
pub(super) const CONNACK_V5: &[u8] = &[0x20, 3, 0, 0, 0];

/// The hand-over from one proxy to the other, as the other side of its channel.
pub(super) struct HandingOver {
    parked: mpsc::Receiver<ParkedSession>,
    stays: Arc<StayCounts>,
}

impl HandingOver {
    pub(super) fn start(from: &RunningProxy) -> Self {
        let (to, parked) = mpsc::channel(1);
        let stays = Arc::<StayCounts>::default();
        from.worker().hand_over(HandOver { to, at_most: 4, stays: stays.clone() });
        Self { parked, stays }
    }

    /// The next session that has parked; `None` if none is left.
    pub(super) fn next(&mut self) -> Option<MovedSession> {
        let ParkedSession { id, state, descriptors } = self.parked.blocking_recv()?;
        Some(MovedSession { id, state, descriptors: descriptors.into() })
    }

    /// How many sessions stay, by reason.
    pub(super) fn stays(&self) -> Vec<(StayReason, u64)> {
        self.stays.list()
    }
}

/// Moves all sessions that can move; returns how many stay, by reason.
pub(super) fn move_all(from: &RunningProxy, to: &RunningProxy) -> Vec<(StayReason, u64)> {
    let mut handing_over = HandingOver::start(from);
    while let Some(moved) = handing_over.next() {
        let answers = to.worker().adopt(vec![moved]).blocking_recv().unwrap();
        for (id, answer) in answers {
            let outcome = match answer {
                Ok(()) => HandOverOutcome::Taken,
                Err(refusal) => HandOverOutcome::Refused(refusal.reason()),
            };
            from.worker().answer_hand_over(id, outcome);
            to.worker().start_adopted(vec![id]);
        }
    }
    handing_over.stays()
}

/// Two proxies, and a session of the old one.
pub(super) struct TwoProxies {
    pub(super) brokers: TcpListener,
    pub(super) old: RunningProxy,
    pub(super) new: RunningProxy,
    pub(super) client: Peer,
    pub(super) broker: Peer,
}

/// What is above TCP.
#[derive(Default)]
pub(super) struct Layers<'a> {
    pub(super) client_tls: Option<&'a Tls>,
    pub(super) broker_tls: Option<&'a Tls>,
    pub(super) websocket: bool,
}

impl TwoProxies {
    pub(super) fn new(connect: &[u8], connack: &[u8]) -> Self {
        Self::with(&Layers::default(), "", |_| {}, connect, connack)
    }

    /// `listener`: further keys of the listener; `adjust` changes the configuration.
    pub(super) fn with(
        layers: &Layers<'_>,
        listener: &str,
        adjust: impl Fn(&mut Config),
        connect: &[u8],
        connack: &[u8],
    ) -> Self {
        let brokers = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = brokers.local_addr().unwrap();
        let start = || RunningProxy::start(address, listener, &adjust);
        let (old, new) = (start(), start());
        let mut client = Peer::connect(old.address, layers.client_tls);
        if layers.websocket {
            client.upgrade();
        }
        client.send(connect);
        let mut broker = Peer::accept(&brokers, layers.broker_tls);
        broker.expect(connect);
        broker.send(connack);
        client.expect(connack);
        Self { brokers, old, new, client, broker }
    }

    /// A client that has connected, and sent nothing; there is no broker yet.
    pub(super) fn connect_later(listener: &str) -> Self {
        let brokers = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = brokers.local_addr().unwrap();
        let start = || RunningProxy::start(address, listener, |_| {});
        let (old, new) = (start(), start());
        let client = Peer::connect(old.address, None);
        let broker = Peer::connect(address, None);
        Peer::accept(&brokers, None);
        Self { brokers, old, new, client, broker }
    }

    /// Replaces the new proxy by one with another configuration.
    pub(super) fn restart_new(&mut self, adjust: impl FnOnce(&mut Config)) {
        self.new = RunningProxy::start(self.brokers.local_addr().unwrap(), "", adjust);
    }

    /// Moves the session to the new proxy.
    #[track_caller]
    pub(super) fn move_session(&self) {
        assert_eq!(move_all(&self.old, &self.new), []);
        wait_until("the session to leave", || active(&self.old) == 0);
        assert_eq!(active(&self.new), 1, "connections of the new proxy");
    }

    /// Moves it back.
    #[track_caller]
    pub(super) fn move_back(&self) {
        assert_eq!(move_all(&self.new, &self.old), []);
    }

    /// Sends a packet each way.
    #[track_caller]
    pub(super) fn exchange(&mut self) {
        for n in 0..3 {
            let packet = [0x30, 5, 0, 1, b't', b'0', n];
            self.client.send(&packet);
            self.broker.expect(&packet);
            self.broker.send(&packet);
            self.client.expect(&packet);
        }
    }
}

pub(super) fn active(proxy: &RunningProxy) -> u64 {
    proxy.metric(r#"connections_active{listener="l"}"#)
}

/// Bytes that look different at every position.
pub(super) fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32)
        .flat_map(|n| (n.wrapping_mul(2_654_435_761) >> 8).to_le_bytes())
        .take(len)
        .collect()
}

/// Sends in a thread, as the receiver may not read.
pub(super) fn send_all(mut socket: TcpStream, bytes: Vec<u8>) -> JoinHandle<()> {
    thread::spawn(move || socket.write_all(&bytes).unwrap())
}
