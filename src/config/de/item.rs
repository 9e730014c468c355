//! One value of the tree, as serde reads it.

use std::borrow::Cow;

use serde::{
    Deserializer,
    de::{self, DeserializeSeed, Expected, IntoDeserializer as _, MapAccess, SeqAccess, Visitor},
    forward_to_deserialize_any,
};

use super::{
    keys::{Entry, claims, known_entries},
    reader::Reader,
};
use crate::config::{
    at::AT,
    fault::quote,
    raw::{ONE_OR_MORE, SHORT_FORMS},
    tree::{Node, Value},
    values::{TEMPLATE, WORD_OR_LIST, expand},
};

/// One value, with its path.
pub(in crate::config) struct Item<'a> {
    pub(in crate::config) reader: &'a Reader<'a>,
    pub(in crate::config) node: &'a Node,
    pub(in crate::config) path: String,
}

/// Why a value cannot be read: what is wrong, and what is allowed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(in crate::config) struct Wrong(String);

impl de::Error for Wrong {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

impl Item<'_> {
    /// The text of a scalar, without its environment variables.
    fn text(&self, expected: &dyn Expected) -> Result<&str, Wrong> {
        match &self.node.value {
            Value::Scalar { text, .. } => Ok(text),
            _ => Err(self.wrong_kind(&expected.to_string())),
        }
    }

    /// The text of a scalar, environment variables replaced.
    fn expanded(&self, expected: &dyn Expected) -> Result<String, Wrong> {
        let text = self.text(expected)?;
        expand(text, self.reader.env).map_err(Wrong)
    }

    /// The text of a number or a truth value, which quotes would make a string. Variables need
    /// quotes inside `{}`.
    fn unquoted(&self, allowed: &dyn Expected) -> Result<String, Wrong> {
        match &self.node.value {
            Value::Scalar { text, quoted: true } if !text.contains("${") => {
                Err(Wrong(format!("{} is quoted; allowed: {allowed}", quote(text))))
            }
            _ => self.expanded(allowed),
        }
    }

    /// The text as written if it names variables.
    fn written(&self) -> &str {
        match &self.node.value {
            Value::Scalar { text, .. } if text.contains("${") => text,
            _ => "",
        }
    }

    fn wrong_kind(&self, allowed: &str) -> Wrong {
        let kind = match self.node.value {
            Value::Null => "is empty",
            Value::Scalar { .. } => "is a single value",
            Value::List(_) => "is a list",
            Value::Map(_) => "is a mapping",
            Value::Refused(reason) => return Wrong(reason.to_owned()),
        };
        Wrong(format!("{kind}; allowed: {allowed}"))
    }
}

impl<'de> Deserializer<'de> for Item<'_> {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let text = self.expanded(&visitor)?;
        visitor.visit_str(&text)
    }

    /// Numbers are read by their types, whose messages name their ranges.
    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let text = self.unquoted(&visitor)?;
        visitor.visit_str(&text)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        const ALLOWED: &str = "true, false";
        match &*self.unquoted(&ALLOWED)? {
            "true" => visitor.visit_bool(true),
            "false" => visitor.visit_bool(false),
            text => Err(Wrong(format!("{} is unknown; allowed: {ALLOWED}", quote(text)))),
        }
    }

    /// Null is an absent key, which does not come here.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        match (name, &self.node.value) {
            (AT, _) => visitor.visit_seq(Parts { item: self, next: 0 }),
            (TEMPLATE, _) => {
                let text = self.text(&visitor)?;
                visitor.visit_str(text)
            }
            (ONE_OR_MORE, Value::Scalar { .. }) => visitor.visit_seq(Single { item: Some(self) }),
            (ONE_OR_MORE, _) | (WORD_OR_LIST, Value::List(_)) => self.deserialize_seq(visitor),
            (WORD_OR_LIST, _) => self.deserialize_any(visitor),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let Value::List(nodes) = &self.node.value else { return Err(self.wrong_kind("a list")) };
        visitor.visit_seq(List { reader: self.reader, path: &self.path, nodes, next: 0 })
    }

    /// The claims among the keys of a section.
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let Value::Map(entries) = &self.node.value else {
            return Err(self.wrong_kind("a mapping of keys to values"));
        };
        let entries = claims(&self.path, entries).into_iter();
        visitor.visit_map(Section { reader: self.reader, entries, value: None })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        keys: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        let short_form = SHORT_FORMS.iter().find(|short| short.section == name);
        let entries = match (&self.node.value, short_form) {
            (Value::Map(_), _) => known_entries(self.reader, &self.path, self.node, name, keys),
            (Value::Scalar { .. }, Some(short)) => {
                vec![(Cow::Borrowed(short.key), self.path, self.node)]
            }
            (Value::List(_), Some(short)) if short.takes_lists => {
                vec![(Cow::Borrowed(short.key), self.path, self.node)]
            }
            (_, Some(short)) => {
                let allowed = format!("{}, or a mapping of keys to values", short.value);
                return Err(self.wrong_kind(&allowed));
            }
            _ => return Err(self.wrong_kind("a mapping of keys to values")),
        };
        let entries = entries.into_iter();
        visitor.visit_map(Section { reader: self.reader, entries, value: None })
    }

    /// One of a few words.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        let allowed = words.join(", ");
        let text = self.expanded(&&*allowed)?;
        if !words.contains(&&*text) {
            return Err(Wrong(format!("{} is unknown; allowed: {allowed}", quote(&text))));
        }
        visitor.visit_enum(text.into_deserializer())
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 u8 u16 u32 f32 f64 char str string bytes byte_buf unit unit_struct tuple
        tuple_struct identifier ignored_any
    }
}

/// A place and a value, part by part, for [`At`](crate::config::at::At).
struct Parts<'a> {
    item: Item<'a>,
    next: usize,
}

impl<'de> SeqAccess<'de> for Parts<'_> {
    type Error = Wrong;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Wrong> {
        let Item { reader, node, path } = &self.item;
        self.next += 1;
        let part = match self.next {
            1 => seed.deserialize(node.at.line.into_deserializer()),
            2 => seed.deserialize(node.at.column.into_deserializer()),
            3 => seed.deserialize(path.as_str().into_deserializer()),
            4 => seed.deserialize(self.item.written().into_deserializer()),
            _ => seed.deserialize(Item { reader, node, path: path.clone() }).inspect_err(|wrong| {
                reader.note(node.at, path, wrong.to_string());
            }),
        };
        part.map(Some)
    }
}

/// A single value in place of a list.
struct Single<'a> {
    item: Option<Item<'a>>,
}

impl<'de> SeqAccess<'de> for Single<'_> {
    type Error = Wrong;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Wrong> {
        self.item.take().map(|item| seed.deserialize(item)).transpose()
    }
}

struct List<'a> {
    reader: &'a Reader<'a>,
    path: &'a str,
    nodes: &'a [Node],
    next: usize,
}

impl<'de> SeqAccess<'de> for List<'_> {
    type Error = Wrong;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Wrong> {
        let Some(node) = self.nodes.get(self.next) else { return Ok(None) };
        let path = format!("{}[{}]", self.path, self.next);
        self.next += 1;
        seed.deserialize(Item { reader: self.reader, node, path }).map(Some)
    }
}

/// The entries of a mapping.
struct Section<'a> {
    reader: &'a Reader<'a>,
    entries: std::vec::IntoIter<Entry<'a>>,
    /// The item of the key that was read last.
    value: Option<Item<'a>>,
}

impl<'de> MapAccess<'de> for Section<'_> {
    type Error = Wrong;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Wrong> {
        let Some((key, path, node)) = self.entries.next() else { return Ok(None) };
        self.value = Some(Item { reader: self.reader, node, path });
        seed.deserialize((&*key).into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Wrong> {
        let item = self.value.take().ok_or_else(|| Wrong("has no value".to_owned()))?;
        seed.deserialize(item)
    }
}
