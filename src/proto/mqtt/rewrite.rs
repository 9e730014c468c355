//! Changes fields of a CONNECT; every other byte stays as the client wrote it.

use std::ops::Range;

use super::{
    connect::Connect,
    connect_flags::{PASSWORD, USERNAME},
    malformed::Malformed,
    packet::FixedHeader,
    properties::{CONNECT, Properties, USER_PROPERTY},
    reader::{PacketReader, Span},
    strictness::{Strictness, Tolerance},
    version::Version,
    writer::{EncodedVarint, put_field},
};

/// The fields to change; by default none.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConnectEdits<'a> {
    pub client_id: Option<&'a str>,
    /// Added if the packet has no username.
    pub username: Option<&'a str>,
    pub password: PasswordEdit<'a>,
    /// Names and values, which are appended to the client's own properties. Ignored before 5.0,
    /// which introduced properties.
    pub user_properties: &'a [(&'a str, &'a str)],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PasswordEdit<'a> {
    #[default]
    Keep,
    /// Nothing changes if the packet has no password.
    Remove,
    /// Added if the packet has no password.
    Set(&'a [u8]),
}

impl ConnectEdits<'_> {
    /// Whether nothing is to be changed, so that the packet can be sent as it is.
    pub fn is_empty(&self) -> bool {
        self.client_id.is_none()
            && self.username.is_none()
            && self.password == PasswordEdit::Keep
            && self.user_properties.is_empty()
    }
}

/// Why a CONNECT cannot be rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RewriteError {
    #[error("the new {field} of {len} bytes exceeds 65535 bytes")]
    FieldTooLong { field: &'static str, len: usize },
    #[error("the new {0} contains the character U+0000")]
    Nul(&'static str),
    #[error("the rewritten packet would have {0} bytes after its fixed header, above 268435455")]
    PacketTooLarge(usize),
    #[error("before MQTT 5.0, a password cannot be added to a CONNECT without a username")]
    PasswordWithoutUsername,
    /// Only after a lenient reading.
    #[error("the CONNECT does not conform where it is to be rewritten: {0}")]
    Malformed(#[from] Malformed),
}

/// The CONNECT with `edits` applied, where `connect` was parsed from `packet`.
///
/// Remaining length and property length are rewritten only if their values change, then in their
/// shortest form. An edited username or password also makes both flags match the fields: 3.1 lets
/// clients set flags and omit the fields.
///
/// # Errors
/// If a field or the packet would exceed what MQTT can express, if a text contains U+0000 [3.1.1
/// MQTT-1.5.3-2, 5.0 MQTT-1.5.4-2], if a password would come without the username that 3.x
/// requires, or if the packet was read leniently and an edited field cannot be found in it.
pub fn rewrite(
    packet: &[u8],
    connect: &Connect,
    edits: &ConnectEdits<'_>,
) -> Result<Vec<u8>, RewriteError> {
    let packet = packet.get(..connect.len).ok_or(Malformed::Truncated)?;
    let header = FixedHeader::read(packet)?.ok_or(Malformed::Truncated)?;
    let flags = flags_position(packet, header)?;
    let credentials = Credentials::new(packet, flags, connect, edits)?;
    let mut splices = Vec::with_capacity(6);
    if credentials.is_some() {
        let byte = packet.get(flags).ok_or(Malformed::Truncated)? & !(USERNAME | PASSWORD);
        let byte = byte | credentials.as_ref().map_or(0, Credentials::flags);
        splices.push(Splice { range: flags..flags + 1, with: Replacement::Byte(byte) });
    }
    if connect.version == Version::V5 && !edits.user_properties.is_empty() {
        // Behind the flags and the two bytes of the keep alive.
        splices.extend(append_properties(packet, flags + 3, edits.user_properties)?);
    }
    if let Some(id) = edits.client_id {
        let with = Replacement::text("client ID", id)?;
        splices.push(Splice { range: connect.client_id.field_range(), with });
    }
    splices.extend(credentials.into_iter().flat_map(|credentials| credentials.splices));
    assemble(packet, header, &splices)
}

/// The offset of the connect flags: behind the fixed header, protocol name and level.
fn flags_position(packet: &[u8], header: FixedHeader) -> Result<usize, Malformed> {
    let mut reader = PacketReader::new(packet);
    reader.take(header.len)?;
    reader.binary()?;
    reader.u8()?;
    Ok(reader.position())
}

/// The username and password after the edits, if the edits change one of them.
struct Credentials<'a> {
    has_username: bool,
    has_password: bool,
    splices: Vec<Splice<'a>>,
}

impl<'a> Credentials<'a> {
    fn new(
        packet: &[u8],
        flags: usize,
        connect: &Connect,
        edits: &ConnectEdits<'a>,
    ) -> Result<Option<Self>, RewriteError> {
        let password = match edits.password {
            PasswordEdit::Keep => None,
            PasswordEdit::Remove => connect.password.map(|_| Replacement::Nothing),
            PasswordEdit::Set(bytes) => Some(Replacement::field("password", bytes)?),
        };
        let username =
            edits.username.map(|name| Replacement::text("username", name)).transpose()?;
        if username.is_none() && password.is_none() {
            return Ok(None);
        }
        let at = connect.credentials_position(packet, flags)?;
        let old_username = connect.username.map_or(at..at, Span::field_range);
        let end = old_username.end;
        let old_password = connect.password.map_or(end..end, Span::field_range);
        let has_username = username.is_some() || connect.username.is_some();
        let has_password = match password {
            None => connect.password.is_some(),
            Some(Replacement::Nothing) => false,
            Some(_) => true,
        };
        // A client that was accepted without a username may keep a password, and have it replaced.
        let is_added = has_password && connect.password.is_none();
        if is_added && !has_username && connect.version != Version::V5 {
            return Err(RewriteError::PasswordWithoutUsername);
        }
        let splices = [(old_username, username), (old_password, password)]
            .into_iter()
            .filter_map(|(range, with)| with.map(|with| Splice { range, with }))
            .collect();
        Ok(Some(Self { has_username, has_password, splices }))
    }

    fn flags(&self) -> u8 {
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        flag(self.has_username, USERNAME) | flag(self.has_password, PASSWORD)
    }
}

/// Appends to the property block whose length is at `at`. Every property before must be found, or
/// one that runs past the end of the block could swallow those appended.
fn append_properties<'a>(
    packet: &[u8],
    at: usize,
    added: &'a [(&'a str, &'a str)],
) -> Result<[Splice<'a>; 2], RewriteError> {
    for (name, value) in added {
        Replacement::text("user property", name)?;
        Replacement::text("user property", value)?;
    }
    let mut reader = PacketReader::new(packet);
    reader.take(at)?;
    let tolerance = &mut Tolerance::new(Strictness::Lenient);
    let mut properties = Properties::read(&mut reader, CONNECT, tolerance)?;
    let (start, end) = (properties.position(), reader.position());
    while properties.next(tolerance)?.is_some() {}
    let with = Replacement::UserProperties(added);
    let len = end - start + with.len();
    let encoded = EncodedVarint::new(len).map_err(|_| RewriteError::PacketTooLarge(len))?;
    Ok([
        Splice { range: at..start, with: Replacement::Varint(encoded) },
        Splice { range: end..end, with },
    ])
}

/// Bytes of the packet, and what replaces them.
struct Splice<'a> {
    range: Range<usize>,
    with: Replacement<'a>,
}

enum Replacement<'a> {
    Nothing,
    Byte(u8),
    Varint(EncodedVarint),
    /// Behind its length.
    Field(&'a [u8]),
    UserProperties(&'a [(&'a str, &'a str)]),
}

impl<'a> Replacement<'a> {
    fn text(field: &'static str, text: &'a str) -> Result<Self, RewriteError> {
        if text.contains('\0') {
            return Err(RewriteError::Nul(field));
        }
        Self::field(field, text.as_bytes())
    }

    fn field(field: &'static str, bytes: &'a [u8]) -> Result<Self, RewriteError> {
        if bytes.len() > usize::from(u16::MAX) {
            return Err(RewriteError::FieldTooLong { field, len: bytes.len() });
        }
        Ok(Self::Field(bytes))
    }

    fn len(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Byte(_) => 1,
            Self::Varint(varint) => varint.as_bytes().len(),
            Self::Field(bytes) => 2 + bytes.len(),
            // An identifier and two strings.
            Self::UserProperties(pairs) => {
                pairs.iter().map(|(name, value)| 1 + 2 + name.len() + 2 + value.len()).sum()
            }
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Nothing => {}
            Self::Byte(byte) => out.push(*byte),
            Self::Varint(varint) => out.extend_from_slice(varint.as_bytes()),
            Self::Field(bytes) => put_field(out, bytes),
            Self::UserProperties(pairs) => {
                for (name, value) in *pairs {
                    out.push(USER_PROPERTY);
                    put_field(out, name.as_bytes());
                    put_field(out, value.as_bytes());
                }
            }
        }
    }
}

/// The packet with `splices`, which are in ascending order, applied.
fn assemble(
    packet: &[u8],
    header: FixedHeader,
    splices: &[Splice<'_>],
) -> Result<Vec<u8>, RewriteError> {
    let removed: usize = splices.iter().map(|splice| splice.range.len()).sum();
    let added: usize = splices.iter().map(|splice| splice.with.len()).sum();
    let old_len = packet.len() - header.len;
    let len = (old_len + added).saturating_sub(removed);
    let encoded = EncodedVarint::new(len).map_err(|_| RewriteError::PacketTooLarge(len))?;
    let copy = |range: Range<usize>| packet.get(range).ok_or(Malformed::Truncated);
    let mut out = Vec::with_capacity(5 + len);
    out.extend_from_slice(copy(0..1)?);
    // 3.x takes a length in any form of up to four bytes.
    let unchanged = copy(1..header.len)?;
    out.extend_from_slice(if len == old_len { unchanged } else { encoded.as_bytes() });
    let mut position = header.len;
    for Splice { range, with } in splices {
        out.extend_from_slice(copy(position..range.start)?);
        with.write(&mut out);
        position = range.end;
    }
    out.extend_from_slice(copy(position..packet.len())?);
    Ok(out)
}
