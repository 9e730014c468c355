//! A client that speaks bytes, and the packets it needs.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use socket2::SockRef;

use crate::harness::PATIENCE;

pub(crate) const CONNACK_V3: &[u8] = b"\x20\x02\x00\x00";
pub(crate) const CONNACK_V5: &[u8] = b"\x20\x03\x00\x00\x00";
pub(crate) const DISCONNECT: &[u8] = b"\xE0\x00";

/// The CONNACK that `version` has for a code.
pub(crate) fn connack(version: u8, code: u8) -> Vec<u8> {
    match version {
        5 => vec![0x20, 3, 0, code, 0],
        _ => vec![0x20, 2, 0, code],
    }
}

/// A packet: its first byte, its remaining length, its body.
pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut left = body.len();
    loop {
        let byte = (left % 128) as u8;
        left /= 128;
        packet.push(if left > 0 { byte | 0x80 } else { byte });
        if left == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}

pub(crate) fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

/// A CONNECT in the making.
#[derive(Clone)]
pub(crate) struct Connect<'a> {
    pub(crate) version: u8,
    pub(crate) bridge: bool,
    pub(crate) id: &'a str,
    pub(crate) username: Option<&'a str>,
    pub(crate) password: Option<&'a str>,
    pub(crate) keep_alive: u16,
    pub(crate) properties: &'a [u8],
    /// Flags, and what follows the client ID for them.
    pub(crate) will: Option<(u8, Vec<u8>)>,
}

impl<'a> Connect<'a> {
    pub(crate) fn new(version: u8, id: &'a str) -> Self {
        Self {
            version,
            bridge: false,
            id,
            username: None,
            password: None,
            keep_alive: 60,
            properties: &[],
            will: None,
        }
    }

    pub(crate) fn username(self, username: &'a str) -> Self {
        Self { username: Some(username), ..self }
    }

    pub(crate) fn keep_alive(self, keep_alive: u16) -> Self {
        Self { keep_alive, ..self }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut body = text(if self.version == 3 { "MQIsdp" } else { "MQTT" });
        body.push(self.version | if self.bridge { 0x80 } else { 0 });
        let (will_flags, will) = self.will.clone().unwrap_or_default();
        let mut flags = 0x02 | will_flags;
        flags |= if self.username.is_some() { 0x80 } else { 0 };
        flags |= if self.password.is_some() { 0x40 } else { 0 };
        body.push(flags);
        body.extend(self.keep_alive.to_be_bytes());
        if self.version == 5 {
            assert!(self.properties.len() < 128);
            body.push(self.properties.len() as u8);
            body.extend(self.properties);
        }
        body.extend(text(self.id));
        body.extend(will);
        for field in [self.username, self.password].into_iter().flatten() {
            body.extend(text(field));
        }
        packet(0x10, &body)
    }
}

pub(crate) fn connect(version: u8, id: &str) -> Vec<u8> {
    Connect::new(version, id).bytes()
}

/// A PUBLISH of QoS 0 to topic `t` (for 3.x).
pub(crate) fn publish(payload: &[u8]) -> Vec<u8> {
    packet(0x30, &[&text("t")[..], payload].concat())
}

/// One connection to the proxy.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
}

impl Client {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        Self::on(stream)
    }

    pub(crate) fn on(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream }
    }

    /// Opens, sends the first bytes, and expects the answer.
    #[track_caller]
    pub(crate) fn exchange(address: SocketAddr, bytes: &[u8], answer: &[u8]) -> Self {
        let mut client = Self::open(address);
        client.send(bytes);
        client.expect(answer);
        client
    }

    /// Opens a session of 3.1.1.
    #[track_caller]
    pub(crate) fn session(address: SocketAddr, id: &str) -> Self {
        Self::exchange(address, &connect(4, id), CONNACK_V3)
    }

    #[track_caller]
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    #[track_caller]
    pub(crate) fn expect(&mut self, wanted: &[u8]) {
        let mut read = vec![0; wanted.len()];
        self.stream.read_exact(&mut read).unwrap();
        assert!(read == wanted, "{:x?} is not {:x?}", head(&read), head(wanted));
    }

    /// Sends and expects it back, from a broker that echoes.
    #[track_caller]
    pub(crate) fn echo(&mut self, bytes: &[u8]) {
        self.send(bytes);
        self.expect(bytes);
    }

    /// So many bytes.
    #[track_caller]
    pub(crate) fn rest_of(&mut self, count: usize) -> Vec<u8> {
        let mut read = vec![0; count];
        self.stream.read_exact(&mut read).unwrap();
        read
    }

    /// Everything up to the end of the stream, and how it ended.
    pub(crate) fn rest(&mut self) -> (Vec<u8>, Result<(), io::ErrorKind>) {
        let mut rest = Vec::new();
        let ended = self.stream.read_to_end(&mut rest).map(drop).map_err(|error| error.kind());
        (rest, ended)
    }

    /// An orderly end, with nothing before it.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        assert_eq!(self.rest(), (vec![], Ok(())));
    }

    pub(crate) fn finish(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Closes with a reset.
    pub(crate) fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

fn head(bytes: &[u8]) -> &[u8] {
    bytes.get(..64).unwrap_or(bytes)
}
