//! The properties of MQTT 5.0 (§2.2.2) that CONNECT, its Will and CONNACK may carry.

use super::{
    malformed::Malformed,
    reader::{PacketReader, Span},
    strictness::Tolerance,
};

pub(super) const SESSION_EXPIRY_INTERVAL: u8 = 0x11;
pub(super) const ASSIGNED_CLIENT_IDENTIFIER: u8 = 0x12;
pub(super) const SERVER_KEEP_ALIVE: u8 = 0x13;
pub(super) const AUTHENTICATION_METHOD: u8 = 0x15;
pub(super) const AUTHENTICATION_DATA: u8 = 0x16;
pub(super) const SERVER_REFERENCE: u8 = 0x1C;
pub(super) const REASON_STRING: u8 = 0x1F;
/// The only property that may appear more than once (5.0 §3.1.2.11.8).
pub(super) const USER_PROPERTY: u8 = 0x26;
pub(super) const MAXIMUM_PACKET_SIZE: u8 = 0x27;

/// The set of places where a property is allowed: CONNECT, its Will, and CONNACK.
#[derive(Clone, Copy)]
pub(super) struct PacketSet(u8);

pub(super) const CONNECT: PacketSet = PacketSet(1);
pub(super) const WILL: PacketSet = PacketSet(2);
pub(super) const CONNACK: PacketSet = PacketSet(4);
const CONNECT_CONNACK: PacketSet = PacketSet(CONNECT.0 | CONNACK.0);
const ANY: PacketSet = PacketSet(CONNECT.0 | WILL.0 | CONNACK.0);
/// Only in packets that are not decoded here.
const ELSEWHERE: PacketSet = PacketSet(0);

/// The type of a property's value.
#[derive(Clone, Copy)]
enum PropertyType {
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

/// A property's value, if this proxy uses it.
#[derive(Clone, Copy)]
pub(super) enum PropertyValue {
    Integer(u32),
    Text(Span),
    /// Checked and skipped.
    Opaque,
}

/// One row of 5.0 table 2-4.
type Definition = (&'static str, PropertyType, PacketSet);

fn definition(id: u8) -> Option<Definition> {
    Some(match id {
        0x01 => ("Payload Format Indicator", PropertyType::Flag, WILL),
        0x02 => ("Message Expiry Interval", PropertyType::U32, WILL),
        0x03 => ("Content Type", PropertyType::Text, WILL),
        0x08 => ("Response Topic", PropertyType::Text, WILL),
        0x09 => ("Correlation Data", PropertyType::Binary, WILL),
        0x0B => ("Subscription Identifier", PropertyType::Varint, ELSEWHERE),
        SESSION_EXPIRY_INTERVAL => ("Session Expiry Interval", PropertyType::U32, CONNECT_CONNACK),
        ASSIGNED_CLIENT_IDENTIFIER => ("Assigned Client Identifier", PropertyType::Text, CONNACK),
        SERVER_KEEP_ALIVE => ("Server Keep Alive", PropertyType::U16, CONNACK),
        AUTHENTICATION_METHOD => ("Authentication Method", PropertyType::Text, CONNECT_CONNACK),
        AUTHENTICATION_DATA => ("Authentication Data", PropertyType::Binary, CONNECT_CONNACK),
        0x17 => ("Request Problem Information", PropertyType::Flag, CONNECT),
        0x18 => ("Will Delay Interval", PropertyType::U32, WILL),
        0x19 => ("Request Response Information", PropertyType::Flag, CONNECT),
        0x1A => ("Response Information", PropertyType::Text, CONNACK),
        SERVER_REFERENCE => ("Server Reference", PropertyType::Text, CONNACK),
        REASON_STRING => ("Reason String", PropertyType::Text, CONNACK),
        0x21 => ("Receive Maximum", PropertyType::NonZeroU16, CONNECT_CONNACK),
        0x22 => ("Topic Alias Maximum", PropertyType::U16, CONNECT_CONNACK),
        0x23 => ("Topic Alias", PropertyType::NonZeroU16, ELSEWHERE),
        0x24 => ("Maximum QoS", PropertyType::Flag, CONNACK),
        0x25 => ("Retain Available", PropertyType::Flag, CONNACK),
        USER_PROPERTY => ("User Property", PropertyType::TextPair, ANY),
        MAXIMUM_PACKET_SIZE => ("Maximum Packet Size", PropertyType::NonZeroU32, CONNECT_CONNACK),
        0x28 => ("Wildcard Subscription Available", PropertyType::Flag, CONNACK),
        0x29 => ("Subscription Identifiers Available", PropertyType::Flag, CONNACK),
        0x2A => ("Shared Subscription Available", PropertyType::Flag, CONNACK),
        _ => return None,
    })
}

/// A property block, read in the order in which it was sent.
pub(super) struct Properties<'a> {
    reader: PacketReader<'a>,
    allowed_in: PacketSet,
    /// Bit `n` is set once property `n` was read; the highest identifier is 0x2A.
    seen: u64,
}

impl<'a> Properties<'a> {
    /// Takes the block and its length (5.0 §2.2.2.1) out of `reader`.
    pub(super) fn read(
        reader: &mut PacketReader<'a>,
        allowed_in: PacketSet,
        tolerance: &mut Tolerance,
    ) -> Result<Self, Malformed> {
        let len = minimal(reader, tolerance)?;
        Ok(Self { reader: reader.sub(len as usize)?, allowed_in, seen: 0 })
    }

    /// The offset of the next property from the start of the packet.
    pub(super) const fn position(&self) -> usize {
        self.reader.position()
    }

    /// # Errors
    /// A violation of the standard; to a lenient reader, one after which the next property cannot
    /// be found: an unknown property, or one that runs past the end of the block.
    pub(super) fn next(
        &mut self,
        tolerance: &mut Tolerance,
    ) -> Result<Option<(u8, PropertyValue)>, Malformed> {
        if self.reader.left() == 0 {
            return Ok(None);
        }
        let number = minimal(&mut self.reader, tolerance)?;
        let unknown = Malformed::UnknownProperty(number);
        let id = u8::try_from(number).map_err(|_| unknown)?;
        let (name, kind, allowed_in) = definition(id).ok_or(unknown)?;
        if allowed_in.0 & self.allowed_in.0 == 0 {
            tolerance.note(Malformed::MisplacedProperty(name))?;
        }
        if self.seen & 1 << id != 0 && id != USER_PROPERTY {
            tolerance.note(Malformed::DuplicateProperty(name))?;
        }
        self.seen |= 1 << id;
        Ok(Some((id, value(&mut self.reader, kind, name, tolerance)?)))
    }

    /// As [`Properties::next`], but a lenient reader takes an error for the end of the block.
    pub(super) fn next_noted(
        &mut self,
        tolerance: &mut Tolerance,
    ) -> Result<Option<(u8, PropertyValue)>, Malformed> {
        match self.next(tolerance) {
            Err(fault) => tolerance.note(fault).map(|()| None),
            next => next,
        }
    }
}

fn value(
    reader: &mut PacketReader<'_>,
    kind: PropertyType,
    name: &'static str,
    tolerance: &mut Tolerance,
) -> Result<PropertyValue, Malformed> {
    let (number, allowed) = match kind {
        PropertyType::Flag => {
            let byte = reader.u8()?;
            (u32::from(byte), byte <= 1)
        }
        PropertyType::U16 => (u32::from(reader.u16()?), true),
        PropertyType::NonZeroU16 => {
            let number = reader.u16()?;
            (u32::from(number), number != 0)
        }
        PropertyType::U32 => (reader.u32()?, true),
        PropertyType::NonZeroU32 => {
            let number = reader.u32()?;
            (number, number != 0)
        }
        PropertyType::Varint => (minimal(reader, tolerance)?, true),
        PropertyType::Text => return reader.string(name, tolerance).map(PropertyValue::Text),
        PropertyType::Binary => {
            reader.binary()?;
            return Ok(PropertyValue::Opaque);
        }
        PropertyType::TextPair => {
            reader.string(name, tolerance)?;
            reader.string(name, tolerance)?;
            return Ok(PropertyValue::Opaque);
        }
    };
    if !allowed {
        tolerance.note(Malformed::PropertyValue(name))?;
    }
    Ok(PropertyValue::Integer(number))
}

/// 5.0 requires every variable byte integer in its shortest form [MQTT-1.5.5-1].
fn minimal(reader: &mut PacketReader<'_>, tolerance: &mut Tolerance) -> Result<u32, Malformed> {
    let varint = reader.varint()?;
    if !varint.minimal {
        tolerance.note(Malformed::VarintNotMinimal)?;
    }
    Ok(varint.value)
}
