//! The properties of MQTT 5.0 (§2.2.2) that CONNECT, its Will and CONNACK may carry.

use super::{
    malformed::Malformed,
    reader::{Reader, Span},
};

pub(super) const SESSION_EXPIRY_INTERVAL: u8 = 0x11;
pub(super) const ASSIGNED_CLIENT_IDENTIFIER: u8 = 0x12;
pub(super) const SERVER_KEEP_ALIVE: u8 = 0x13;
pub(super) const AUTHENTICATION_METHOD: u8 = 0x15;
pub(super) const AUTHENTICATION_DATA: u8 = 0x16;
pub(super) const SERVER_REFERENCE: u8 = 0x1C;
pub(super) const REASON_STRING: u8 = 0x1F;

/// Something that has properties, as a bit of a set of such things.
#[derive(Clone, Copy)]
pub(super) struct Place(u8);

pub(super) const CONNECT: Place = Place(1);
pub(super) const WILL: Place = Place(2);
pub(super) const CONNACK: Place = Place(4);
const CONNECT_CONNACK: Place = Place(CONNECT.0 | CONNACK.0);
const ANY: Place = Place(CONNECT.0 | WILL.0 | CONNACK.0);
/// Only in packets that are not decoded here.
const ELSEWHERE: Place = Place(0);

/// What follows an identifier.
#[derive(Clone, Copy)]
enum Kind {
    /// A byte of 0 or 1.
    Flag,
    U16,
    NonZeroU16,
    U32,
    NonZeroU32,
    Varint,
    Text,
    Binary,
    TextPair,
}

/// A property's value, as far as a proxy wants to know it.
#[derive(Clone, Copy)]
pub(super) enum Value {
    Integer(u32),
    Text(Span),
    /// Checked and passed over.
    Opaque,
}

/// One row of 5.0 table 2-4.
type Definition = (&'static str, Kind, Place);

fn definition(id: u8) -> Option<Definition> {
    Some(match id {
        0x01 => ("Payload Format Indicator", Kind::Flag, WILL),
        0x02 => ("Message Expiry Interval", Kind::U32, WILL),
        0x03 => ("Content Type", Kind::Text, WILL),
        0x08 => ("Response Topic", Kind::Text, WILL),
        0x09 => ("Correlation Data", Kind::Binary, WILL),
        0x0B => ("Subscription Identifier", Kind::Varint, ELSEWHERE),
        SESSION_EXPIRY_INTERVAL => ("Session Expiry Interval", Kind::U32, CONNECT_CONNACK),
        ASSIGNED_CLIENT_IDENTIFIER => ("Assigned Client Identifier", Kind::Text, CONNACK),
        SERVER_KEEP_ALIVE => ("Server Keep Alive", Kind::U16, CONNACK),
        AUTHENTICATION_METHOD => ("Authentication Method", Kind::Text, CONNECT_CONNACK),
        AUTHENTICATION_DATA => ("Authentication Data", Kind::Binary, CONNECT_CONNACK),
        0x17 => ("Request Problem Information", Kind::Flag, CONNECT),
        0x18 => ("Will Delay Interval", Kind::U32, WILL),
        0x19 => ("Request Response Information", Kind::Flag, CONNECT),
        0x1A => ("Response Information", Kind::Text, CONNACK),
        SERVER_REFERENCE => ("Server Reference", Kind::Text, CONNACK),
        REASON_STRING => ("Reason String", Kind::Text, CONNACK),
        0x21 => ("Receive Maximum", Kind::NonZeroU16, CONNECT_CONNACK),
        0x22 => ("Topic Alias Maximum", Kind::U16, CONNECT_CONNACK),
        0x23 => ("Topic Alias", Kind::NonZeroU16, ELSEWHERE),
        0x24 => ("Maximum QoS", Kind::Flag, CONNACK),
        0x25 => ("Retain Available", Kind::Flag, CONNACK),
        USER_PROPERTY => ("User Property", Kind::TextPair, ANY),
        0x27 => ("Maximum Packet Size", Kind::NonZeroU32, CONNECT_CONNACK),
        0x28 => ("Wildcard Subscription Available", Kind::Flag, CONNACK),
        0x29 => ("Subscription Identifiers Available", Kind::Flag, CONNACK),
        0x2A => ("Shared Subscription Available", Kind::Flag, CONNACK),
        _ => return None,
    })
}

/// The one property that may come more than once (5.0 §3.1.2.11.8).
const USER_PROPERTY: u8 = 0x26;

/// A property block, read in whatever order its sender chose.
pub(super) struct Properties<'a> {
    reader: Reader<'a>,
    place: Place,
    /// Bit `n` is set once property `n` was read; the highest identifier is 0x2A.
    seen: u64,
}

impl<'a> Properties<'a> {
    /// Takes the length and the block that follows it (5.0 §2.2.2.1) out of `reader`.
    pub(super) fn read(reader: &mut Reader<'a>, place: Place) -> Result<Self, Malformed> {
        let len = minimal(reader)?;
        Ok(Self { reader: reader.sub(len as usize)?, place, seen: 0 })
    }

    pub(super) fn next(&mut self) -> Result<Option<(u8, Value)>, Malformed> {
        if self.reader.left() == 0 {
            return Ok(None);
        }
        let number = minimal(&mut self.reader)?;
        let unknown = Malformed::UnknownProperty(number);
        let id = u8::try_from(number).map_err(|_| unknown)?;
        let (name, kind, place) = definition(id).ok_or(unknown)?;
        if place.0 & self.place.0 == 0 {
            return Err(Malformed::MisplacedProperty(name));
        }
        if self.seen & 1 << id != 0 && id != USER_PROPERTY {
            return Err(Malformed::DuplicateProperty(name));
        }
        self.seen |= 1 << id;
        Ok(Some((id, value(&mut self.reader, kind, name)?)))
    }
}

fn value(reader: &mut Reader<'_>, kind: Kind, name: &'static str) -> Result<Value, Malformed> {
    let (number, allowed) = match kind {
        Kind::Flag => {
            let byte = reader.u8()?;
            (u32::from(byte), byte <= 1)
        }
        Kind::U16 => (u32::from(reader.u16()?), true),
        Kind::NonZeroU16 => {
            let number = reader.u16()?;
            (u32::from(number), number != 0)
        }
        Kind::U32 => (reader.u32()?, true),
        Kind::NonZeroU32 => {
            let number = reader.u32()?;
            (number, number != 0)
        }
        Kind::Varint => (minimal(reader)?, true),
        Kind::Text => return Ok(Value::Text(reader.string(name)?)),
        Kind::Binary => {
            reader.binary()?;
            return Ok(Value::Opaque);
        }
        Kind::TextPair => {
            reader.string(name)?;
            reader.string(name)?;
            return Ok(Value::Opaque);
        }
    };
    if allowed { Ok(Value::Integer(number)) } else { Err(Malformed::PropertyValue(name)) }
}

/// 5.0 wants every variable byte integer in its shortest form [MQTT-1.5.5-1].
fn minimal(reader: &mut Reader<'_>) -> Result<u32, Malformed> {
    let varint = reader.varint()?;
    if varint.minimal { Ok(varint.value) } else { Err(Malformed::VarintNotMinimal) }
}
