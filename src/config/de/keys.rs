//! The keys of a mapping: unknown ones and duplicates are noted and skipped.

use super::reader::Reader;
use crate::config::{
    fault::join,
    raw::KEYS_OF_OTHER_TYPES,
    tree::{Node, Value},
};

/// Top-level keys with this prefix hold values for anchors, and are not read.
const EXTENSION: &str = "x-";

/// A key, the path of its value, and the value.
pub(super) type Entry<'a> = (&'static str, String, &'a Node);

/// The entries of a section that are read. A null is left out: a section whose keys are all
/// commented out is an absent one.
pub(super) fn known_entries<'a>(
    reader: &Reader<'_>,
    path: &str,
    entries: &'a [(Node, Node)],
    section: &str,
    keys: &'static [&'static str],
) -> Vec<Entry<'a>> {
    let known = known_keys(entries, section, keys);
    let mut read = Vec::with_capacity(entries.len());
    for (index, (key, value)) in entries.iter().enumerate() {
        let name = name_of(key);
        let path_of_value = join(path, name);
        if let Some(twin) = entries[..index].iter().find(|(other, _)| name_of(other) == name) {
            let message = format!("is there twice, first at line {}; keep one", twin.0.at.line);
            reader.note(key.at, &path_of_value, message);
        } else if let Some(known) = known.iter().find(|known| **known == name) {
            let is_null = matches!(value.value, Value::Null);
            read.extend((!is_null).then_some((*known, path_of_value, value)));
        } else if !(reader.lenient || path.is_empty() && name.starts_with(EXTENSION)) {
            let nearest = nearest(name, &known)
                .map_or(String::new(), |key| format!(" (did you mean {key}?)"));
            let message = format!("is an unknown key{nearest}; allowed: {}", known.join(", "));
            reader.note(key.at, &path_of_value, message);
        }
    }
    read
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
