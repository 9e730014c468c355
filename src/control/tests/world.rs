//! A proxy whose TLS 1.2 keys are used up after few records, a broker, and a session.

use std::{net::TcpListener, num::NonZeroU32};

use rustls::{ServerConfig, crypto::aws_lc_rs::default_provider};
use serde_json::Value;

use super::{
    peers::{Peer, Tls},
    running::RunningProxy,
};
use crate::{
    config::{Config, ListenerTls, PoolTls, Upstream},
    tls::{TlsServer, limited_keys},
};

/// How many records a key of the proxy may encrypt.
pub(super) const LIMIT: u64 = 1024;

/// No session ends before, and each ends by then, if it can.
pub(super) const EARLIEST: u64 = LIMIT / 8 * 7;
pub(super) const LATEST: u64 = LIMIT / 16 * 15;

/// More records than those of the handshake.
pub(super) const RUN_UP: u64 = 20;

/// A PUBLISH of QoS 0 to the topic `t`; valid in 3.1.1 as well as in 5.0, where it has no
/// properties.
pub(super) const PACKET: &[u8] = &[0x30, 5, 0, 1, b't', 0, b'x'];

/// Use another server (5.0 section 3.14).
pub(super) const DISCONNECT: &[u8] = &[0xE0, 1, 0x9C];

/// The broker that a session of [`World::rebalancing`] can be moved to.
pub(super) const OTHER_BROKER: &str = "other";

/// The weight of a broker that nearly all clients prefer to one of weight 1.
pub(super) const HEAVY: NonZeroU32 = NonZeroU32::new(1000).unwrap();

/// Which connection of the proxy is over TLS 1.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Broker,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V4,
    V5,
}

impl Version {
    fn connect(self) -> Vec<u8> {
        let (level, properties): (_, &[u8]) = match self {
            Self::V4 => (4, &[]),
            Self::V5 => (5, &[0]),
        };
        let variable = [0, 4, b'M', b'Q', b'T', b'T', level, 2, 0, 60];
        let body = [&variable[..], properties, &[0, 2, b'm', b'e']].concat();
        [&[0x10, body.len() as u8], &body[..]].concat()
    }

    fn connack(self) -> &'static [u8] {
        match self {
            Self::V4 => &[0x20, 2, 0, 0],
            Self::V5 => &[0x20, 3, 0, 0, 0],
        }
    }

    /// How a client is told.
    pub(super) fn disconnect(self) -> &'static [u8] {
        match self {
            Self::V4 => &[],
            Self::V5 => DISCONNECT,
        }
    }
}

/// A proxy, a broker, and a session.
pub(super) struct World {
    side: Side,
    version: Version,
    tls: Tls,
    brokers: TcpListener,
    pub(super) proxy: RunningProxy,
    pub(super) client: Peer,
    pub(super) broker: Peer,
    /// Bytes to the client and to the broker, since accept.
    bytes_out: usize,
    bytes_in: usize,
}

impl World {
    pub(super) fn new(side: Side, version: Version) -> Self {
        Self::with(side, version, LIMIT, "")
    }

    pub(super) fn with(side: Side, version: Version, limit: u64, listener: &str) -> Self {
        Self::adjusted(side, version, limit, listener, |_| {})
    }

    /// A proxy that moves its sessions between two brokers, `b` and [`OTHER_BROKER`], at one address.
    /// They prefer `b`.
    pub(super) fn rebalancing(side: Side, version: Version) -> Self {
        Self::adjusted(side, version, LIMIT, "", |config| {
            let pool = &mut config.pools[0];
            pool.rebalance = NonZeroU32::new(100);
            let other = Upstream { name: OTHER_BROKER.into(), ..pool.upstreams[0].clone() };
            pool.upstreams[0].weight = HEAVY;
            pool.upstreams.push(other);
        })
    }

    fn adjusted(
        side: Side,
        version: Version,
        limit: u64,
        listener: &str,
        adjust: impl FnOnce(&mut Config),
    ) -> Self {
        // The other side is not limited.
        let (limited, free) = (limited_keys::provider(limit), default_provider().into());
        let tls = match side {
            Side::Client => Tls::new(limited, free),
            Side::Broker => Tls::new(free, limited),
        };
        let brokers = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = brokers.local_addr().unwrap();
        let proxy = RunningProxy::start(address, listener, |config| {
            use_tls(config, side, &tls);
            adjust(config);
        });
        let (client, broker) = open(&proxy, &brokers, (side, &tls), version, !listener.is_empty());
        let (bytes_in, bytes_out) = (version.connect().len(), version.connack().len());
        Self { side, version, tls, brokers, proxy, client, broker, bytes_out, bytes_in }
    }

    /// Opens another session, after one whose client was sent a DISCONNECT.
    pub(super) fn reconnect(&mut self) {
        self.bytes_in += self.version.connect().len();
        self.bytes_out += self.version.disconnect().len() + self.version.connack().len();
        let tls = (self.side, &self.tls);
        (self.client, self.broker) = open(&self.proxy, &self.brokers, tls, self.version, false);
    }

    pub(super) fn peer(&mut self, side: Side) -> &mut Peer {
        match side {
            Side::Client => &mut self.client,
            Side::Broker => &mut self.broker,
        }
    }

    pub(super) fn peer_that_sends_to(&mut self, side: Side) -> &mut Peer {
        match side {
            Side::Client => &mut self.broker,
            Side::Broker => &mut self.client,
        }
    }

    /// Sends bytes to the client or the broker, in a record of their own.
    #[track_caller]
    pub(super) fn pass(&mut self, to: Side, bytes: &[u8]) {
        self.peer_that_sends_to(to).send(bytes);
        self.peer(to).expect(bytes);
        match to {
            Side::Client => self.bytes_out += bytes.len(),
            Side::Broker => self.bytes_in += bytes.len(),
        }
    }

    /// Sends packets, one record each.
    #[track_caller]
    pub(super) fn send(&mut self, to: Side, packets: u64) {
        (0..packets).for_each(|_| self.pass(to, PACKET));
    }

    /// Sends as many packets as leave the session alone, and waits for a sweep: the next one comes
    /// a second later.
    #[track_caller]
    pub(super) fn run_up(&mut self, to: Side) {
        self.send(to, EARLIEST - RUN_UP);
        self.sweep();
    }

    /// Passes the beginning of a packet of 20,000 bytes on in so many records that the key is nearly
    /// used up, which a sweep finds; returns the rest of the packet.
    #[track_caller]
    pub(super) fn stop_within_packet(&mut self, to: Side) -> Vec<u8> {
        self.run_up(to);
        let packet = long_packet(20_000);
        let (passed, rest) = packet.split_at(100 * (LATEST - EARLIEST + RUN_UP) as usize);
        passed.chunks(100).for_each(|slice| self.pass(to, slice));
        self.sweep();
        rest.to_vec()
    }

    /// Waits until a sweep has seen everything that has passed.
    #[track_caller]
    pub(super) fn sweep(&self) {
        self.proxy.wait_for_sweep("out", self.bytes_out);
        self.proxy.wait_for_sweep("in", self.bytes_in);
    }

    /// Asserts that the session has ended as it should, and returns its line.
    #[track_caller]
    pub(super) fn check_end(&self) -> Value {
        let end = self.proxy.end();
        assert_eq!(
            (&end["end_by"], &end["end_phase"], &end["end_cause"]),
            (&"proxy".into(), &"relay".into(), &"key_limit".into()),
            "{end}"
        );
        let [name, other] = match self.side {
            Side::Client => ["client", "upstream"],
            Side::Broker => ["upstream", "client"],
        };
        let count = |of| self.proxy.metric(&format!(r#"key_limits_total{{connection="{of}"}}"#));
        assert_eq!((count(name), count(other)), (1, 0));
        assert_eq!(
            self.proxy.metric(r#"session_ends_total{by="proxy",cause="key_limit",phase="relay"}"#),
            1
        );
        end
    }
}

pub(super) fn use_tls(config: &mut Config, side: Side, tls: &Tls) {
    match side {
        Side::Client => {
            config.listeners[0].tls = Some(ListenerTls {
                server: TlsServer::with_one_config(ServerConfig::clone(&tls.server)),
                asks_for_certificates: false,
                certificates: Vec::new(),
                staples: Vec::new(),
                revocation: None,
                ticket_keys: None,
                files: Vec::new(),
                file_warnings: Vec::new(),
            });
        }
        Side::Broker => {
            config.pools[0].tls = Some(PoolTls {
                client: tls.client.clone(),
                server_name: Some("localhost".try_into().unwrap()),
                insecure: false,
                certificates: Vec::new(),
                files: Vec::new(),
                file_warnings: Vec::new(),
            });
        }
    }
}

fn open(
    proxy: &RunningProxy,
    brokers: &TcpListener,
    (side, tls): (Side, &Tls),
    version: Version,
    has_websocket: bool,
) -> (Peer, Peer) {
    let mut client = Peer::connect(proxy.address, (side == Side::Client).then_some(tls));
    if has_websocket {
        client.upgrade();
    }
    client.send(&version.connect());
    let mut broker = Peer::accept(brokers, (side == Side::Broker).then_some(tls));
    broker.expect(&version.connect());
    broker.send(version.connack());
    client.expect(version.connack());
    (client, broker)
}

/// A PUBLISH of `len` bytes, which has to be more than 16 KiB and less than 2 MiB.
pub(super) fn long_packet(len: usize) -> Vec<u8> {
    let body = len - 4;
    let mut packet = vec![0x30, (body % 128) as u8 | 0x80, (body / 128 % 128) as u8 | 0x80];
    packet.extend([(body / 16_384) as u8, 0, 1, b't', 0]);
    packet.resize(len, b'x');
    packet
}
