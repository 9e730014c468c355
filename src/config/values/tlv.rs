//! The types of TLVs in PROXY headers of version 2.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, SeqAccess, Visitor},
};

use super::scalar::{Invalid, Scalar as _, scalar};
use crate::config::{at::At, fault::quote};

/// The newtype name with which a type asks the deserializer for a word or a list.
pub(in crate::config) const WORD_OR_LIST: &str = "@word_or_list";

const ALL: &str = "all";

/// The type of a TLV; the standard writes it in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct TlvType(pub(in crate::config) u8);

impl fmt::Display for TlvType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#04X}", self.0)
    }
}

scalar!(
    impl [] TlvType: StringOrInteger, "0x00 to 0xFF, such as 0xEA", tlv_type,
    {
        "type": ["integer", "string"],
        "minimum": 0,
        "maximum": 255,
        "pattern": "^0[xX][0-9A-Fa-f]{1,2}$",
    }
);

/// YAML takes 0xEA and 234 for the same number, and so does this.
fn tlv_type(text: &str) -> Result<TlvType, Invalid> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    let is_number = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u8::from_str_radix(digits, radix).ok().filter(|_| is_number);
    number.map(TlvType).ok_or_else(|| Invalid::not_a("type of a TLV", text))
}

/// The TLVs that a pool's brokers are sent.
#[derive(Debug)]
pub(in crate::config) enum TlvSelection {
    All,
    Listed(Vec<At<TlvType>>),
}

impl<'de> Deserialize<'de> for TlvSelection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(WORD_OR_LIST, SelectionVisitor)
    }
}

struct SelectionVisitor;

impl<'de> Visitor<'de> for SelectionVisitor {
    type Value = TlvSelection;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ALL}, or a list of {}", TlvType::allowed())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<TlvSelection, E> {
        if text == ALL {
            return Ok(TlvSelection::All);
        }
        let allowed = &self as &dyn de::Expected;
        Err(E::custom(format!("{} is unknown; allowed: {allowed}", quote(text))))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<TlvSelection, A::Error> {
        let mut listed = Vec::new();
        while let Some(entry) = entries.next_element()? {
            listed.push(entry);
        }
        Ok(TlvSelection::Listed(listed))
    }
}

impl Serialize for TlvSelection {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.serialize_str(ALL),
            Self::Listed(types) => types.serialize(serializer),
        }
    }
}

impl JsonSchema for TlvSelection {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "TlvSelection".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut listed = generator.subschema_for::<Vec<TlvType>>();
        listed.insert("minItems".to_owned(), 1.into());
        json_schema!({ "anyOf": [{ "enum": [ALL] }, listed] })
    }
}
