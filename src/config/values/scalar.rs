//! What every single value of the file has, and how serde and schemars get it.

use std::{borrow::Cow, fmt, marker::PhantomData};

use schemars::Schema;
use serde::{
    Deserializer, Serialize, Serializer,
    de::{self, Visitor},
};
use serde_json::{Number, Value};

use crate::config::fault::quote;

/// The newtype name with which a template asks the deserializer for its text as written: its
/// variables are not those of the environment.
pub(in crate::config) const TEMPLATE: &str = "@template";

/// Why a text is not a value.
#[derive(Debug)]
pub(in crate::config) struct Invalid {
    what: String,
    /// `None`: what the type allows.
    pub(super) allowed: Option<String>,
}

impl Invalid {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), allowed: None }
    }

    /// `text` is not `a`/`an` kind.
    pub(super) fn not_a(kind: &str, text: &str) -> Self {
        let vowels = ['a', 'e', 'i', 'o', 'u', 'A', 'E', 'I', 'O'];
        let article = if kind.starts_with(vowels) { "an" } else { "a" };
        Self::new(format!("{} is not {article} {kind}", quote(text)))
    }

    pub(super) fn allowed(self, allowed: impl Into<String>) -> Self {
        Self { allowed: Some(allowed.into()), ..self }
    }
}

/// How a value is written in YAML.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum Style {
    /// A string; quotes make no difference.
    String,
    /// A string, or a number where it has only digits; quotes make no difference.
    StringOrInteger,
    /// A number; quotes would make it a string.
    Numeric,
    /// A string whose `${…}` are its own.
    Template,
}

/// A single value of the file. What its `Display` prints, `parse` reads as the same value.
pub(in crate::config) trait Scalar: fmt::Display + Sized {
    const STYLE: Style;

    /// What is allowed, for messages.
    fn allowed() -> Cow<'static, str>;

    /// Reads the text, environment variables replaced.
    fn parse(text: &str) -> Result<Self, Invalid>;

    /// Its JSON schema.
    fn schema() -> Value;
}

/// Makes a type a [`Scalar`] with the traits of serde and schemars, from its style, what it allows,
/// its parser and its JSON schema; also defines it, if it is a newtype printed as its content is.
macro_rules! scalar {
    (
        $(#[$meta:meta])*
        struct $name:ident($inner:ty): $($rest:tt)*
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub(in crate::config) struct $name(pub(in crate::config) $inner);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        scalar!(impl [] $name: $($rest)*);
    };
    (
        impl [$($generics:tt)*] $type:ty:
        $style:ident, $allowed:expr, $parse:expr, $schema:tt
    ) => {
        impl<$($generics)*> $crate::config::values::scalar::Scalar for $type {
            const STYLE: $crate::config::values::scalar::Style =
                $crate::config::values::scalar::Style::$style;

            fn allowed() -> std::borrow::Cow<'static, str> {
                $allowed.into()
            }

            fn parse(text: &str) -> Result<Self, $crate::config::values::scalar::Invalid> {
                $parse(text)
            }

            fn schema() -> serde_json::Value {
                serde_json::json!($schema)
            }
        }

        impl<'de, $($generics)*> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::config::values::scalar::read(deserializer)
            }
        }

        impl<$($generics)*> serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $crate::config::values::scalar::print(self, serializer)
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
                $crate::config::values::scalar::schema::<$type>()
            }
        }
    };
}
pub(super) use scalar;

/// The value of a text.
///
/// # Errors
/// What is wrong; what is allowed.
pub(in crate::config) fn parse<T: Scalar>(text: &str) -> Result<T, String> {
    T::parse(text).map_err(|Invalid { what, allowed }| {
        let allowed = allowed.map_or_else(T::allowed, Cow::Owned);
        // The parser of a key template names what is allowed itself.
        if allowed.is_empty() { what } else { format!("{what}; allowed: {allowed}") }
    })
}

/// Reads a value by its own parser.
pub(super) fn read<'de, T: Scalar, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    let visitor = ScalarVisitor(PhantomData);
    match T::STYLE {
        Style::String | Style::StringOrInteger => deserializer.deserialize_str(visitor),
        Style::Numeric => deserializer.deserialize_u64(visitor),
        Style::Template => deserializer.deserialize_newtype_struct(TEMPLATE, visitor),
    }
}

/// Prints a value as a number if it can be one and is one, else as a string.
pub(super) fn print<T: Scalar, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    let text = value.to_string();
    let can_be_number = matches!(T::STYLE, Style::StringOrInteger | Style::Numeric);
    match text.parse::<Number>() {
        Ok(number) if can_be_number => number.serialize(serializer),
        _ => serializer.serialize_str(&text),
    }
}

pub(super) fn schema<T: Scalar>() -> Schema {
    // Only objects and booleans are schemas, and every type gives an object.
    Schema::try_from(T::schema()).unwrap_or_default()
}

struct ScalarVisitor<T>(PhantomData<T>);

impl<T: Scalar> Visitor<'_> for ScalarVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&T::allowed())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        parse(text).map_err(E::custom)
    }
}
