//! Lists of single values, in the file or in a file of their own.

use std::{borrow::Cow, fmt, marker::PhantomData};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{SeqAccess, Visitor},
};

use super::common::List;
use crate::config::{at::At, values::FilePath};

/// The newtype under which [`OneOrMore`] asks a deserializer for a list; a single value is a list of
/// one.
pub(in crate::config) const ONE_OR_MORE: &str = "@one_or_more";

/// The key of [`Entries`] that a list in place of the section sets.
pub(in crate::config) const ENTRIES_KEY: &str = "any";

/// Entries that are written here, in a file, or both.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, bound(deserialize = "T: Deserialize<'de>"))]
pub(in crate::config) struct Entries<T> {
    /// The entries.
    #[serde(default)]
    pub(in crate::config) any: At<OneOrMore<T>>,
    /// A text file with one entry a line, up to a million; empty lines and those that begin with #
    /// are ignored. It is read again when it changes.
    pub(in crate::config) file: Option<At<FilePath>>,
}

/// A list; a single value is a list of one.
#[derive(Debug)]
pub(in crate::config) struct OneOrMore<T>(pub(in crate::config) List<T>);

impl<T> Default for OneOrMore<T> {
    fn default() -> Self {
        Self(List::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMore<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(ONE_OR_MORE, OneOrMoreVisitor(PhantomData))
    }
}

struct OneOrMoreVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrMoreVisitor<T> {
    type Value = OneOrMore<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value or a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut list = List::new();
        while let Some(entry) = entries.next_element()? {
            list.push(entry);
        }
        Ok(OneOrMore(list))
    }
}

impl<T: Serialize> Serialize for OneOrMore<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<T: JsonSchema> JsonSchema for Entries<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Entries_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let entry = generator.subschema_for::<T>();
        let list = json_schema!({ "type": "array", "items": entry.clone(), "minItems": 1 });
        let any = json_schema!({ "anyOf": [entry, list] });
        let section = json_schema!({
            "type": "object",
            "properties": { "any": any.clone(), "file": { "type": "string" } },
            "additionalProperties": false,
        });
        json_schema!({ "anyOf": [entry, list, section] })
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMore<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMore_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let entry = generator.subschema_for::<T>();
        let list = json_schema!({ "type": "array", "items": entry.clone(), "minItems": 1 });
        json_schema!({ "anyOf": [entry, list] })
    }
}
