//! Scalars with a meaning, each of which parses its own text.

mod address;
mod environment;
mod number;
mod text;

use std::{borrow::Cow, fmt, marker::PhantomData};

use schemars::Schema;
use serde::{
    Deserializer,
    de::{self, Visitor},
};
use serde_json::Value;

pub(super) use address::{ADDRESS, BIND, IpPort, Network, ProxySource, SYSLOG, SourceAddress};
pub(super) use environment::expand;
pub(super) use number::{
    Either, Factor, HOUR, Number, Size, Time, Words, YEAR, at_number, at_size, at_time,
};
pub use text::is_name;
pub(super) use text::{
    AlpnName, AppName, DNS_NAME, DnsName, FilePath, HttpPath, Key, LogFormat, MqttString, Name,
    Origin, SERVER_NAME, ServerName, Text,
};

/// The newtype under which a template asks for its text as it is written: its variables are not
/// those of the environment.
pub(super) const TEMPLATE: &str = "@template";
/// The newtype of what is either a scalar or a section.
pub(super) const EITHER: &str = "@either";

/// Why a text is not a value.
#[derive(Debug)]
pub(super) struct Invalid {
    what: String,
    /// `None`: what the type allows.
    allowed: Option<String>,
}

impl Invalid {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), allowed: None }
    }

    pub(super) fn allowed(self, allowed: impl Into<String>) -> Self {
        Self { allowed: Some(allowed.into()), ..self }
    }
}

/// How a scalar is asked for.
#[derive(Clone, Copy)]
pub(super) enum Style {
    /// Quotes make no difference.
    Text,
    /// Quotes would make it a string.
    Number,
    /// Its `${…}` are its own.
    Template,
}

/// What a single value of the file can be.
pub(super) trait Scalar: Sized {
    const STYLE: Style = Style::Text;

    /// What is allowed, for messages.
    fn allowed() -> Cow<'static, str>;

    /// Reads the text, environment variables replaced.
    fn parse(text: &str) -> Result<Self, Invalid>;

    /// What is printed, which reads back as the same value.
    fn print(&self) -> Value;

    /// Its JSON schema.
    fn schema() -> Value;
}

/// Gives a [`Scalar`] the traits of serde and schemars.
macro_rules! scalar {
    ($type:ty) => {
        scalar!(impl [] $type);
    };
    (impl [$($generics:tt)*] $type:ty) => {
        impl<'de, $($generics)*> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::config::values::read(deserializer)
            }
        }

        impl<$($generics)*> serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $crate::config::values::Scalar::print(self).serialize(serializer)
            }
        }

        impl<$($generics)*> schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $crate::config::values::schema_of(
                    <$type as $crate::config::values::Scalar>::schema(),
                )
            }
        }
    };
}
pub(super) use scalar;

/// Reads a scalar by its own parser.
pub(super) fn read<'de, T: Scalar, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    let visitor = ScalarVisitor(PhantomData);
    match T::STYLE {
        Style::Text => deserializer.deserialize_str(visitor),
        Style::Number => deserializer.deserialize_u64(visitor),
        Style::Template => deserializer.deserialize_newtype_struct(TEMPLATE, visitor),
    }
}

/// A schema without a fault: objects and booleans are schemas, and nothing else is given.
pub(super) fn schema_of(value: Value) -> Schema {
    Schema::try_from(value).unwrap_or_default()
}

struct ScalarVisitor<T>(PhantomData<T>);

impl<T: Scalar> Visitor<'_> for ScalarVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&T::allowed())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        T::parse(text).map_err(|Invalid { what, allowed }| {
            let allowed = allowed.map_or_else(T::allowed, Cow::Owned);
            // Some parsers of other rooms name what is allowed themselves.
            E::custom(if allowed.is_empty() { what } else { format!("{what}; allowed: {allowed}") })
        })
    }
}

/// `a`/`an` KIND is what `text` is not.
pub(super) fn not_a(kind: &str, text: &str) -> Invalid {
    let article =
        if kind.starts_with(['a', 'e', 'i', 'o', 'u', 'A', 'E', 'I', 'O']) { "an" } else { "a" };
    Invalid::new(format!("{} is not {article} {kind}", super::fault::quote(text)))
}
