//! A mapping, as serde reads it: keys that a section does not have are noted, and passed over.

use serde::de::{DeserializeSeed, IntoDeserializer as _, MapAccess};

use super::{Item, Reader, Wrong};
use crate::config::{
    fault::join,
    raw::KEYS_OF_OTHER_TYPES,
    tree::{Node, Value},
};

/// Keys with this prefix at the top of a file hold what its anchors need, and are not read.
const EXTENSION: &str = "x-";

pub(super) struct Section<'a> {
    reader: &'a Reader<'a>,
    path: String,
    /// What is left, without nulls: a section whose keys are all commented out is an absent one.
    entries: std::vec::IntoIter<(&'static str, &'a Node)>,
    value: Option<(&'static str, &'a Node)>,
}

impl<'a> Section<'a> {
    pub(super) fn new(
        reader: &'a Reader<'a>,
        path: String,
        entries: &'a [(Node, Node)],
        name: &'static str,
        keys: &'static [&'static str],
    ) -> Self {
        let known = known_keys(entries, name, keys);
        let mut read = Vec::with_capacity(entries.len());
        for (index, (key, value)) in entries.iter().enumerate() {
            let name = name_of(key);
            if let Some(twin) = entries[..index].iter().find(|(other, _)| name_of(other) == name) {
                let line = twin.0.at.line;
                let message = format!("is there twice, first at line {line}; keep one");
                reader.note(key.at, &join(&path, name), message);
            } else if let Some(known) = known.iter().find(|known| **known == name) {
                read.extend((!matches!(value.value, Value::Null)).then_some((*known, value)));
            } else if !reader.lenient && !(path.is_empty() && name.starts_with(EXTENSION)) {
                let nearest = nearest(name, &known)
                    .map_or(String::new(), |key| format!(" (did you mean {key}?)"));
                let message = format!("is an unknown key{nearest}; allowed: {}", known.join(", "));
                reader.note(key.at, &join(&path, name), message);
            }
        }
        Self { reader, path, entries: read.into_iter(), value: None }
    }
}

/// The keys of a section, without those that its `type` does not have.
fn known_keys(
    entries: &[(Node, Node)],
    section: &str,
    keys: &'static [&'static str],
) -> Vec<&'static str> {
    let written = entries.iter().find(|(key, _)| name_of(key) == "type").map(|(_, value)| value);
    let text = match written.map(|node| &node.value) {
        Some(Value::Scalar { text, .. }) => text,
        _ => "",
    };
    let of_others = KEYS_OF_OTHER_TYPES
        .iter()
        .find(|(name, value, _)| *name == section && *value == text)
        .map_or(&[][..], |(_, _, keys)| keys);
    keys.iter().copied().filter(|key| !of_others.contains(key)).collect()
}

impl<'de> MapAccess<'de> for Section<'_> {
    type Error = Wrong;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Wrong> {
        self.value = self.entries.next();
        self.value.map(|(key, _)| seed.deserialize(key.into_deserializer())).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Wrong> {
        let (key, node) = self.value.take().ok_or_else(|| Wrong("has no value".to_owned()))?;
        seed.deserialize(Item { reader: self.reader, node, path: join(&self.path, key) })
    }
}

fn name_of(key: &Node) -> &str {
    match &key.value {
        Value::Scalar { text, .. } => text,
        _ => "(not a word)",
    }
}

/// The known key that `name` was probably meant to be.
fn nearest(name: &str, known: &[&'static str]) -> Option<&'static str> {
    // Two typing errors; more would guess.
    const MAX_DISTANCE: usize = 2;
    let distances = known.iter().map(|key| (strsim::levenshtein(name, key), *key));
    distances
        .filter(|(distance, key)| *distance <= MAX_DISTANCE && *distance < key.len())
        .min()
        .map(|(_, key)| key)
}
