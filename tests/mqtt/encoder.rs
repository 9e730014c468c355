//! Encodes CONNECT packets, and shares no line with the codec.

use mqtt_lb::testing::proto::mqtt::Version;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::string;

#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) version: Version,
    pub(crate) bridge: bool,
    pub(crate) clean_start: bool,
    pub(crate) keep_alive: u16,
    /// Each as it is on the wire.
    pub(crate) properties: Vec<Vec<u8>>,
    pub(crate) client_id: Vec<u8>,
    /// The flags; and properties, topic and payload as they are on the wire.
    pub(crate) will: Option<(u8, Vec<u8>)>,
    pub(crate) username: Option<Vec<u8>>,
    pub(crate) password: Option<Vec<u8>>,
    /// Flags without fields, which only 3.1 has.
    pub(crate) bare_flags: u8,
    /// Bytes by which the remaining length exceeds its shortest form.
    pub(crate) padding: usize,
}

impl Packet {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let body = self.body();
        let mut packet = vec![0x10];
        let length = varint(body.len());
        let (last, first) = length.split_last().unwrap();
        let padding = self.padding.min(4 - length.len());
        packet.extend_from_slice(first);
        packet.push(if padding > 0 { last | 0x80 } else { *last });
        packet.extend((1..=padding).map(|nth| if nth < padding { 0x80 } else { 0 }));
        packet.extend(body);
        packet
    }

    pub(crate) fn body(&self) -> Vec<u8> {
        let mut body = string(self.version.protocol_name());
        body.push(self.version.level() | if self.bridge { 0x80 } else { 0 });
        let (will_flags, will) = self.will.clone().unwrap_or_default();
        body.push(
            will_flags
                | self.bare_flags
                | if self.clean_start { 2 } else { 0 }
                | if self.username.is_some() { 0x80 } else { 0 }
                | if self.password.is_some() { 0x40 } else { 0 },
        );
        body.extend(self.keep_alive.to_be_bytes());
        if self.version == Version::V5 {
            let properties = self.properties.concat();
            body.extend(varint(properties.len()));
            body.extend(properties);
        }
        body.extend(field(&self.client_id));
        body.extend(will);
        for credential in [&self.username, &self.password].into_iter().flatten() {
            body.extend(field(credential));
        }
        body
    }
}

pub(crate) fn varint(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7F {
        bytes.push((value % 0x80) as u8 | 0x80);
        value /= 0x80;
    }
    bytes.push(value as u8);
    bytes
}

pub(crate) fn field(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

pub(crate) fn user_property(name: &str, value: &str) -> Vec<u8> {
    [vec![0x26], string(name), string(value)].concat()
}

pub(crate) fn text() -> impl Strategy<Value = String> {
    let short = || "[a-z/\u{1}\u{FEFF}é\u{2A6D4}]{0,12}";
    // Around the points at which a length takes another byte.
    prop_oneof![8 => short(), 1 => "x{90,140}", 1 => "x{16300,16400}"]
}

pub(crate) fn binary() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..40)
}

fn properties() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let one_each = (
        option::of(any::<u32>().prop_map(|seconds| [&[0x11][..], &seconds.to_be_bytes()].concat())),
        option::of((1u32..).prop_map(|bytes| [&[0x27][..], &bytes.to_be_bytes()].concat())),
        option::of(text().prop_map(|method| [&[0x15][..], &string(&method)].concat())),
        vec((text(), text()).prop_map(|(name, value)| user_property(&name, &value)), 0..4),
    );
    one_each.prop_map(|(expiry, size, method, users)| {
        // In an order that no encoder has.
        users.into_iter().chain(method).chain(expiry).chain(size).collect()
    })
}

prop_compose! {
    /// A packet that a strict reader accepts.
    pub(crate) fn connect()(
        version in prop_oneof![Just(Version::V31), Just(Version::V311), Just(Version::V5)],
        bridge in any::<bool>(),
        clean_start in any::<bool>(),
        keep_alive in any::<u16>(),
        properties in properties(),
        client_id in text(),
        will in option::of((0u8..3, any::<bool>(), text(), binary(), any::<bool>())),
        username in option::of(text()),
        password in option::of(binary()),
        bare in 0u8..4,
        padding in 0usize..3,
    ) -> Packet {
        let will = will.map(|(qos, retain, topic, payload, delayed)| {
            let block: &[u8] = match (version, delayed) {
                (Version::V5, true) => b"\x05\x18\x00\x00\x00\x09",
                (Version::V5, false) => b"\x00",
                _ => b"",
            };
            let flags = 0x04 | qos << 3 | if retain { 0x20 } else { 0 };
            (flags, [block, &string(&topic), &field(&payload)].concat())
        });
        let is_v5 = version == Version::V5;
        let password = password.filter(|_| is_v5 || username.is_some());
        // A username, or both, may be announced and left out; a password behind a username too.
        let bare_flags = match (version, &username, &password) {
            (Version::V31, None, _) => [0, 0, 0x80, 0xC0][usize::from(bare)],
            (Version::V31, Some(_), None) => [0, 0, 0x40, 0x40][usize::from(bare)],
            _ => 0,
        };
        Packet {
            version,
            bridge: bridge && !is_v5,
            clean_start,
            keep_alive,
            properties,
            client_id: client_id.into_bytes(),
            will,
            username: username.map(String::into_bytes),
            password,
            bare_flags,
            padding: if is_v5 { 0 } else { padding },
        }
    }
}
