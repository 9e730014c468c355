//! The keys of a mapping: unknown ones and duplicates are noted and skipped.

use std::borrow::Cow;

use super::reader::Reader;
use crate::config::{
    fault::join,
    raw::KEYS_OF_OTHER_TYPES,
    tree::{Node, Value},
};

/// Top-level keys with this prefix hold values for anchors, and are not read.
const EXTENSION: &str = "x-";

/// The prefix of keys that name a claim of a token.
const CLAIM: &str = "jwt.";

/// A key, the path of its value, and the value.
pub(super) type Entry<'a> = (Cow<'static, str>, String, &'a Node);

/// The entries of a section that are read. A null is left out: a section whose keys are all
/// commented out is an absent one.
pub(super) fn known_entries<'a>(
    reader: &Reader<'_>,
    path: &str,
    whole: &'a Node,
    section: &str,
    keys: &'static [&'static str],
) -> Vec<Entry<'a>> {
    let Value::Map(entries) = &whole.value else { return Vec::new() };
    let known = known_keys(entries, section, keys);
    let mut read = Vec::with_capacity(entries.len());
    for (index, (key, value)) in entries.iter().enumerate() {
        let name = name_of(key);
        let path_of_value = join(path, name);
        if let Some(twin) = entries[..index].iter().find(|(other, _)| name_of(other) == name) {
            let message = format!("is there twice, first at line {}; keep one", twin.0.at.line);
            reader.note(key.at, &path_of_value, message);
        } else if let Some(known) = known.iter().find(|known| **known == name && name != CLAIM) {
            let is_null = matches!(value.value, Value::Null);
            read.extend((!is_null).then_some(((*known).into(), path_of_value, value)));
        } else if is_claim(name) && known.contains(&CLAIM) {
            // All of them are one value of the section.
            if !read.iter().any(|(key, ..)| key == CLAIM) {
                read.push((CLAIM.into(), path.to_owned(), whole));
            }
        } else if !(reader.lenient || path.is_empty() && name.starts_with(EXTENSION)) {
            let nearest = nearest(name, &known)
                .map_or(String::new(), |key| format!(" (did you mean {key}?)"));
            let message = format!("is an unknown key{nearest}; allowed: {}", list(&known));
            reader.note(key.at, &path_of_value, message);
        }
    }
    read
}

/// The entries that name a claim, such as `jwt.tenant`; one that is there twice was noted.
pub(super) fn claims<'a>(path: &str, entries: &'a [(Node, Node)]) -> Vec<Entry<'a>> {
    let mut claims: Vec<Entry<'a>> = Vec::new();
    for (key, value) in entries {
        let name = name_of(key);
        let is_null = matches!(value.value, Value::Null);
        if is_claim(name) && !is_null && !claims.iter().any(|(known, ..)| known == name) {
            claims.push((name.to_owned().into(), join(path, name), value));
        }
    }
    claims
}

fn is_claim(name: &str) -> bool {
    name.strip_prefix(CLAIM).is_some_and(|claim| !claim.is_empty())
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

/// The keys as a file has them.
fn list(keys: &[&str]) -> String {
    let name = |key: &&str| if *key == CLAIM { format!("{CLAIM}CLAIM") } else { (*key).to_owned() };
    keys.iter().map(name).collect::<Vec<_>>().join(", ")
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
