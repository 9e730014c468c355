//! Merge keys (<https://yaml.org/type/merge.html>): `<<: *base`, or a list of several.

use std::collections::HashSet;

use super::node::{Node, SyntaxError, Value};

const MERGE_KEY: &str = "<<";

/// The entries of a mapping, those of its merge keys last. A key of the mapping itself overrides one
/// that is merged, and an earlier source of a list overrides a later one.
///
/// The result has no more entries than the mapping and the aliases in it, which were counted.
pub(super) fn merged(entries: Vec<(Node, Node)>) -> Result<Vec<(Node, Node)>, SyntaxError> {
    let (merges, mut entries): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|(key, _)| name_of(key) == Some(MERGE_KEY));
    if merges.is_empty() {
        return Ok(entries);
    }
    let owned = |(key, _): &(Node, Node)| name_of(key).map(str::to_owned);
    let mut names: HashSet<String> = entries.iter().filter_map(owned).collect();
    let sources = merges.into_iter().flat_map(|(_, value)| match value.value {
        Value::List(sources) => sources,
        _ => vec![value],
    });
    for source in sources {
        let Value::Map(more) = source.value else {
            let message =
                "cannot be merged (<<); allowed: an alias of a mapping, or a list of those";
            return Err(SyntaxError { at: source.at, message: message.to_owned() });
        };
        entries.extend(more.into_iter().filter(|(key, _)| match name_of(key) {
            Some(name) => names.insert(name.to_owned()),
            None => true,
        }));
    }
    Ok(entries)
}

fn name_of(key: &Node) -> Option<&str> {
    match &key.value {
        Value::Scalar { text, .. } => Some(text),
        _ => None,
    }
}
