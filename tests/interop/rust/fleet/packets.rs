//! The packets of MQTT 3.1.1 that the clients need.

/// A packet as it was received: its first byte, and what follows its length.
pub(crate) struct Packet {
    pub(crate) first: u8,
    pub(crate) body: Vec<u8>,
}

/// A message in a PUBLISH.
pub(crate) struct Message<'a> {
    pub(crate) is_duplicate: bool,
    pub(crate) qos: u8,
    /// 0 with QoS 0.
    pub(crate) id: u16,
    pub(crate) payload: &'a [u8],
}

impl Packet {
    /// The first packet of `bytes`, which is taken out of them; `None` until it is complete.
    pub(crate) fn take(bytes: &mut Vec<u8>) -> Option<Self> {
        let (mut len, mut header) = (0, 1);
        loop {
            let byte = *bytes.get(header)?;
            len |= usize::from(byte & 0x7F) << (7 * (header - 1));
            header += 1;
            if byte & 0x80 == 0 {
                break;
            }
        }
        if bytes.len() < header + len {
            return None;
        }
        let body = bytes[header..header + len].to_vec();
        let first = bytes[0];
        bytes.drain(..header + len);
        Some(Self { first, body })
    }

    pub(crate) fn kind(&self) -> u8 {
        self.first >> 4
    }

    /// The packet identifier of an acknowledgement.
    pub(crate) fn id(&self) -> u16 {
        u16::from_be_bytes([self.body[0], self.body[1]])
    }

    /// Of a PUBLISH.
    pub(crate) fn message(&self) -> Message<'_> {
        let qos = self.first >> 1 & 3;
        let topic = usize::from(self.id());
        let mut at = 2 + topic;
        let mut id = 0;
        if qos > 0 {
            id = u16::from_be_bytes([self.body[at], self.body[at + 1]]);
            at += 2;
        }
        let is_duplicate = self.first & 8 != 0;
        Message { is_duplicate, qos, id, payload: &self.body[at..] }
    }
}

fn packet(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut rest: usize = parts.iter().map(|part| part.len()).sum();
    let mut packet = vec![first];
    loop {
        let byte = (rest % 128) as u8;
        rest /= 128;
        packet.push(if rest > 0 { byte | 0x80 } else { byte });
        if rest == 0 {
            break;
        }
    }
    packet.extend(parts.concat());
    packet
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

/// With a clean session and a keep alive of a minute.
pub(crate) fn connect(id: &str) -> Vec<u8> {
    packet(0x10, &[b"\x00\x04MQTT\x04\x02\x00\x3C", &text(id)])
}

pub(crate) fn subscribe(topic: &str, qos: u8) -> Vec<u8> {
    packet(0x82, &[b"\x00\x01", &text(topic), &[qos]])
}

pub(crate) fn publish(topic: &str, qos: u8, id: u16, payload: &[u8]) -> Vec<u8> {
    let id = id.to_be_bytes();
    let id: &[u8] = if qos == 0 { &[] } else { &id };
    packet(0x30 | qos << 1, &[&text(topic), id, payload])
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP by its first byte.
pub(crate) fn acknowledgement(first: u8, id: u16) -> Vec<u8> {
    packet(first, &[&id.to_be_bytes()])
}

pub(crate) const PINGREQ: [u8; 2] = [0xC0, 0];
pub(crate) const DISCONNECT: [u8; 2] = [0xE0, 0];
