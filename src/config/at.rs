//! A value of the file together with its place, for faults that are found after it was read.

use std::{borrow::Cow, fmt, marker::PhantomData};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{SeqAccess, Visitor},
};

use super::fault::{Position, join};

/// The newtype under which [`At`] asks a deserializer for a place and a value. The deserializer
/// answers with a sequence: line, column, path, the text if it names environment variables, value.
pub(super) const AT: &str = "@at";

/// The place of a value in the file.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) position: Position,
    /// Such as `pools[0].upstreams[2].weight`.
    pub(super) path: String,
}

impl Place {
    /// The same position, for something about one of the section's keys.
    pub(super) fn key(&self, key: &str) -> Self {
        Self { position: self.position, path: join(&self.path, key) }
    }
}

/// A value with its place. Reading one never fails: a fault of the value is noted by the
/// deserializer, and the value is absent here.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    /// `None`: the key is absent.
    pub(super) place: Option<Place>,
    /// `None`: the key is required and absent, or its value has a fault.
    pub(super) value: Option<T>,
    /// The text of the file where it names environment variables: it is what is printed.
    written: Option<String>,
}

impl<T> At<T> {
    /// The value of an absent key.
    pub(super) fn default_of(value: T) -> Self {
        Self { place: None, value: Some(value), written: None }
    }

    /// A required value of an absent key.
    pub(super) const MISSING: Self = Self { place: None, value: None, written: None };
}

impl<T: Default> Default for At<T> {
    fn default() -> Self {
        Self::default_of(T::default())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // As an option, since serde gives that for a missing key, too.
        deserializer.deserialize_option(AtVisitor(PhantomData))
    }
}

struct AtVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for AtVisitor<T> {
    type Value = At<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_none<E>(self) -> Result<At<T>, E> {
        Ok(At::MISSING)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<At<T>, D::Error> {
        deserializer.deserialize_newtype_struct(AT, self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<At<T>, A::Error> {
        let line = parts.next_element()?.unwrap_or_default();
        let column = parts.next_element()?.unwrap_or_default();
        let path = parts.next_element()?.unwrap_or_default();
        let written = parts.next_element::<String>()?.filter(|text| !text.is_empty());
        let place = Some(Place { position: Position { line, column }, path });
        Ok(At { place, value: parts.next_element().ok().flatten(), written })
    }
}

impl<T: Serialize> Serialize for At<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.written {
            Some(text) => serializer.serialize_str(text),
            None => self.value.serialize(serializer),
        }
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<T>()
    }
}
