//! Sessions over TLS 1.2 whose keys are nearly used up: they end between two packets, with a cause
//! of their own, before rustls ends them. The suite is rustls' AES-128-GCM with a lower limit.

use std::{io::Write, net::TcpListener, thread, time::Duration};

use rustls::{ServerConfig, crypto::aws_lc_rs::default_provider};
use serde_json::Value;

use super::{
    peers::{Peer, Tls},
    running::RunningProxy,
};
use crate::{
    config::{Config, ListenerTls, PoolTls},
    tls::{TlsServer, limited_keys},
};

/// How many records a key of the proxy may encrypt.
const LIMIT: u64 = 1024;

/// No session ends before, and each ends by then, if it can.
const EARLIEST: u64 = LIMIT / 8 * 7;
const LATEST: u64 = LIMIT / 16 * 15;

/// More records than those of the handshake.
const RUN_UP: u64 = 20;

/// A PUBLISH of QoS 0 to the topic `t`; valid in 3.1.1 as well as in 5.0, where it has no
/// properties.
const PACKET: &[u8] = &[0x30, 5, 0, 1, b't', 0, b'x'];

/// Use another server (5.0 section 3.14).
const DISCONNECT: &[u8] = &[0xE0, 1, 0x9C];

/// Which connection of the proxy is over TLS 1.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Client,
    Broker,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
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
    fn disconnect(self) -> &'static [u8] {
        match self {
            Self::V4 => &[],
            Self::V5 => DISCONNECT,
        }
    }
}

/// A proxy, a broker, and a session.
struct World {
    side: Side,
    version: Version,
    tls: Tls,
    brokers: TcpListener,
    proxy: RunningProxy,
    client: Peer,
    broker: Peer,
    /// Bytes to the client and to the broker, since accept.
    bytes_out: usize,
    bytes_in: usize,
}

impl World {
    fn new(side: Side, version: Version) -> Self {
        Self::with(side, version, LIMIT, "")
    }

    fn with(side: Side, version: Version, limit: u64, listener: &str) -> Self {
        // The other side is not limited.
        let (limited, free) = (limited_keys::provider(limit), default_provider().into());
        let tls = match side {
            Side::Client => Tls::new(limited, free),
            Side::Broker => Tls::new(free, limited),
        };
        let brokers = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = brokers.local_addr().unwrap();
        let proxy = RunningProxy::start(address, listener, |config| use_tls(config, side, &tls));
        let (client, broker) = open(&proxy, &brokers, (side, &tls), version, !listener.is_empty());
        let (bytes_in, bytes_out) = (version.connect().len(), version.connack().len());
        Self { side, version, tls, brokers, proxy, client, broker, bytes_out, bytes_in }
    }

    /// Opens another session.
    fn reconnect(&mut self) {
        let tls = (self.side, &self.tls);
        (self.client, self.broker) = open(&self.proxy, &self.brokers, tls, self.version, false);
    }

    fn peer(&mut self, side: Side) -> &mut Peer {
        match side {
            Side::Client => &mut self.client,
            Side::Broker => &mut self.broker,
        }
    }

    fn peer_that_sends_to(&mut self, side: Side) -> &mut Peer {
        match side {
            Side::Client => &mut self.broker,
            Side::Broker => &mut self.client,
        }
    }

    /// Sends bytes to the client or the broker, in a record of their own.
    #[track_caller]
    fn pass(&mut self, to: Side, bytes: &[u8]) {
        self.peer_that_sends_to(to).send(bytes);
        self.peer(to).expect(bytes);
        match to {
            Side::Client => self.bytes_out += bytes.len(),
            Side::Broker => self.bytes_in += bytes.len(),
        }
    }

    /// Sends packets, one record each.
    #[track_caller]
    fn send(&mut self, to: Side, packets: u64) {
        (0..packets).for_each(|_| self.pass(to, PACKET));
    }

    /// Sends as many packets as leave the session alone, and waits for a sweep: the next one comes
    /// a second later.
    #[track_caller]
    fn run_up(&mut self, to: Side) {
        self.send(to, EARLIEST - RUN_UP);
        self.sweep();
    }

    /// Waits until a sweep has seen everything that has passed.
    #[track_caller]
    fn sweep(&self) {
        self.proxy.wait_for_sweep("out", self.bytes_out);
        self.proxy.wait_for_sweep("in", self.bytes_in);
    }

    /// Asserts that the session has ended as it should, and returns its line.
    #[track_caller]
    fn check_end(&self) -> Value {
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

fn use_tls(config: &mut Config, side: Side, tls: &Tls) {
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
            });
        }
        Side::Broker => {
            config.pools[0].tls = Some(PoolTls {
                client: tls.client.clone(),
                server_name: Some("localhost".try_into().unwrap()),
                insecure: false,
                certificates: Vec::new(),
                files: Vec::new(),
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
fn long_packet(len: usize) -> Vec<u8> {
    let body = len - 4;
    let mut packet = vec![0x30, (body % 128) as u8 | 0x80, (body / 128 % 128) as u8 | 0x80];
    packet.extend([(body / 16_384) as u8, 0, 1, b't', 0]);
    packet.resize(len, b'x');
    packet
}

/// In either direction, over either connection, for either version: not before its time, and then
/// after a whole packet, with a DISCONNECT in 5.0, and an orderly end. Then the client comes back.
#[test]
fn an_idle_session() {
    for (side, version, to) in [
        (Side::Client, Version::V5, Side::Client),
        (Side::Client, Version::V5, Side::Broker),
        (Side::Client, Version::V4, Side::Client),
        (Side::Broker, Version::V5, Side::Client),
        (Side::Broker, Version::V5, Side::Broker),
        (Side::Broker, Version::V4, Side::Broker),
    ] {
        let case = format!("{side:?}, {version:?}, to {to:?}");
        let mut world = World::new(side, version);
        world.run_up(to);
        assert_eq!(world.proxy.ends().len(), 0, "{case}");
        world.send(to, LATEST - EARLIEST + RUN_UP);
        assert_eq!(world.client.rest(), version.disconnect(), "{case}");
        assert_eq!(world.broker.rest(), b"", "{case}");
        let end = world.check_end();
        let detail = end["detail"].as_str().unwrap();
        let peer = if side == Side::Client { "client" } else { "broker" };
        let direction = if to == side { "to" } else { "by" };
        let what = format!(
            " of the 1024 records that one AES-GCM key may encrypt in TLS 1.2 were sent \
             {direction} the {peer}; "
        );
        assert!(detail.contains(&what), "{case}: {detail}");
        world.reconnect();
        world.send(Side::Client, 3);
        world.send(Side::Broker, 3);
    }
}

/// A packet that is under way is completed, in either direction, and none follows it.
#[test]
fn a_session_within_a_packet() {
    for (version, to) in [
        (Version::V5, Side::Client),
        (Version::V5, Side::Broker),
        (Version::V4, Side::Client),
        (Version::V4, Side::Broker),
    ] {
        let case = format!("{version:?}, to {to:?}");
        let mut world = World::new(Side::Client, version);
        world.run_up(to);
        let packet = long_packet(20_000);
        // Slices of a hundred bytes, one record each, until the key is nearly used up.
        let within = 100 * (LATEST - EARLIEST + RUN_UP) as usize;
        packet[..within].chunks(100).for_each(|slice| world.pass(to, slice));
        world.sweep();
        // The relay waits for the rest.
        world.pass(to, &packet[within..within + 100]);
        world.sweep();
        assert_eq!(world.proxy.ends().len(), 0, "{case}");
        let rest = &packet[within + 100..];
        world.peer_that_sends_to(to).send(&[rest, PACKET].concat());
        world.peer(to).expect(rest);
        assert_eq!(world.client.rest(), version.disconnect(), "{case}");
        if to == Side::Broker {
            assert_eq!(world.broker.rest(), b"", "{case}");
        }
        world.check_end();
    }
}

/// Inside WebSocket the DISCONNECT is a message, and a Close follows it.
#[test]
fn a_session_over_websocket() {
    let mut world = World::with(Side::Client, Version::V5, LIMIT, ", websocket: {}");
    world.run_up(Side::Client);
    world.send(Side::Client, LATEST - EARLIEST + RUN_UP);
    let close = [0x88, 2, 0x03, 0xE8];
    let message = [&[0x82, DISCONNECT.len() as u8], DISCONNECT].concat();
    assert_eq!(world.client.rest(), [&message[..], &close].concat());
    world.check_end();
}

/// A client that does not read is sent everything that was on its way, up to the end of a packet.
#[test]
fn a_session_with_a_backlog() {
    let mut world = World::new(Side::Client, Version::V5);
    let packet = long_packet(1 << 20);
    // More than the sockets hold, so that the broker is held up; less than the key allows.
    let mut sender = world.broker.socket();
    let sent = packet.repeat(12);
    let sending = thread::spawn(move || {
        // The rest is not taken when the session ends.
        let _ = sender.write_all(&sent);
    });
    world.send(Side::Broker, LATEST + RUN_UP);
    world.sweep();
    let received = world.client.rest();
    let (packets, told) = received.split_at(received.len() - DISCONNECT.len());
    assert_eq!(told, DISCONNECT);
    assert!(!packets.is_empty() && packets.chunks(packet.len()).all(|one| one == packet));
    sending.join().unwrap();
    world.check_end();
}

/// A packet that takes more records than the key has left: the session ends within it, long before
/// rustls would end it.
#[test]
fn a_packet_without_end() {
    for (side, to) in [(Side::Client, Side::Client), (Side::Broker, Side::Broker)] {
        let mut world = World::new(side, Version::V5);
        // A PUBLISH of 256 MiB, the longest that there is.
        let mut header = vec![0x30, 0xFF, 0xFF, 0xFF, 0x7F, 0, 1, b't', 0];
        header.resize(1 << 14, b'x');
        world.pass(to, &header);
        let slice = vec![b'x'; 1 << 14];
        let mut sender = world.peer_that_sends_to(to).socket();
        let sending = thread::spawn(move || while sender.write_all(&slice).is_ok() {});
        let received = world.peer(to).rest();
        assert!(received.iter().all(|byte| *byte == b'x'));
        // No more than the limit of full records.
        assert!(received.len() < (LIMIT as usize) << 14, "{} bytes", received.len());
        sending.join().unwrap();
        world.check_end();
    }
}

/// A drain does not wait for the end of a packet, and each session ends once.
#[test]
fn a_session_in_a_drain() {
    let mut world = World::new(Side::Client, Version::V5);
    world.run_up(Side::Client);
    let packet = long_packet(20_000);
    let within = 100 * (LATEST - EARLIEST + RUN_UP) as usize;
    packet[..within].chunks(100).for_each(|slice| world.pass(Side::Client, slice));
    world.sweep();
    assert_eq!(world.proxy.ends().len(), 0);
    world.proxy.drain(Duration::ZERO);
    assert_eq!(world.client.rest(), b"");
    assert_eq!(world.proxy.end()["end_cause"], "drain");
    assert_eq!(world.proxy.ends().len(), 1);
}
