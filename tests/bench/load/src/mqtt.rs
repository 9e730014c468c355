//! As much MQTT as the rig needs: it trusts what its own programs send.

pub const CONNECT: u8 = 1;
pub const CONNACK: u8 = 2;
pub const PUBLISH: u8 = 3;
pub const PUBACK: u8 = 4;
pub const PINGREQ: u8 = 12;
/// A whole PINGREQ.
pub const PINGREQ_PACKET: [u8; 2] = [0xc0, 0];
/// A whole PINGRESP.
pub const PINGRESP: [u8; 2] = [0xd0, 0];

/// The protocol level of MQTT 5.0; 3.1.1 is 4 and 3.1 is 3.
pub const LEVEL_5: u8 = 5;

/// Keep alive of every client, in seconds: a usual client's default, longer than any measurement.
const KEEP_ALIVE: u16 = 60;

/// A fixed header: the packet type's byte, and how many bytes header and body have.
#[derive(Clone, Copy)]
pub struct Header {
    pub first: u8,
    pub size: usize,
    pub body: usize,
}

impl Header {
    /// Reads the header at the start of `bytes`; `None` while it is incomplete.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let first = *bytes.first()?;
        let (body, length) = varint(bytes.get(1..)?)?;
        Some(Self { first, size: 1 + length, body })
    }

    pub fn kind(self) -> u8 {
        self.first >> 4
    }

    pub fn qos(self) -> u8 {
        (self.first >> 1) & 3
    }

    /// Bytes of the whole packet.
    pub fn total(self) -> usize {
        self.size + self.body
    }
}

/// Protocol level of a whole CONNECT.
pub fn level(connect: &[u8]) -> Option<u8> {
    let start = Header::read(connect)?.size;
    let (_, at) = string(connect, start)?;
    connect.get(at).copied()
}

/// Client ID of a whole CONNECT.
pub fn client_id(connect: &[u8]) -> Option<&[u8]> {
    let start = Header::read(connect)?.size;
    let (_, at) = string(connect, start)?;
    // Level, flags and keep alive.
    let mut id_at = at + 4;
    if connect.get(at) == Some(&LEVEL_5) {
        let (properties, size) = varint(connect.get(id_at..)?)?;
        id_at += size + properties;
    }
    string(connect, id_at).map(|(id, _)| id)
}

/// A CONNECT with clean start, keep alive and client ID, as most clients send it.
pub fn connect(level: u8, client_id: &str) -> Vec<u8> {
    let mut body = Vec::with_capacity(64);
    put_string(&mut body, "MQTT");
    body.extend([level, 0b10]);
    body.extend(KEEP_ALIVE.to_be_bytes());
    if level == LEVEL_5 {
        body.push(0);
    }
    put_string(&mut body, client_id);
    packet(CONNECT << 4, &body)
}

/// The accepting CONNACK of a protocol level.
pub fn connack(level: u8) -> &'static [u8] {
    if level == LEVEL_5 { &[CONNACK << 4, 3, 0, 0, 0] } else { &[CONNACK << 4, 2, 0, 0] }
}

/// A PUBLISH with a payload of `size` bytes; with `id` it is of QoS 1.
pub fn publish(level: u8, topic: &str, id: Option<u16>, size: usize) -> Vec<u8> {
    let mut body = Vec::with_capacity(size + 64);
    put_string(&mut body, topic);
    if let Some(id) = id {
        body.extend(id.to_be_bytes());
    }
    if level == LEVEL_5 {
        body.push(0);
    }
    body.extend((0..size).map(|at| b'a' + (at % 26) as u8));
    packet((PUBLISH << 4) | if id.is_some() { 0b10 } else { 0 }, &body)
}

/// Where a QoS 1 PUBLISH made by [`publish`] has its packet ID.
pub fn publish_id_at(publish: &[u8]) -> Option<usize> {
    string(publish, Header::read(publish)?.size).map(|(_, at)| at)
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut rest = body.len();
    loop {
        let more = rest >= 0x80;
        bytes.push((rest & 0x7f) as u8 | if more { 0x80 } else { 0 });
        rest >>= 7;
        if !more {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

fn put_string(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u16).to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

/// The string at `at` and where it ends.
fn string(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let length = bytes.get(at..at + 2)?;
    let end = at + 2 + usize::from(u16::from_be_bytes([length[0], length[1]]));
    Some((bytes.get(at + 2..end)?, end))
}

/// A variable byte integer (MQTT 5.0, 1.5.5) and its size.
fn varint(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}
