//! A tree of values that know their positions.

use crate::config::fault::Position;

#[derive(Clone, Debug)]
pub(in crate::config) struct Node {
    pub(in crate::config) at: Position,
    pub(in crate::config) value: Value,
}

#[derive(Clone, Debug)]
pub(in crate::config) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// Kept as written, so that a broker named `0x10` is hashed as `0x10`.
    Scalar {
        text: String,
        quoted: bool,
    },
    List(Vec<Node>),
    /// In the order of the file, duplicates included; entries of merge keys come last.
    Map(Vec<(Node, Node)>),
    /// Valid YAML that is not allowed in a configuration, and the reason.
    Refused(&'static str),
}

impl Node {
    /// The value of a key, unless it is empty.
    pub(in crate::config) fn entry(&self, key: &str) -> Option<&Self> {
        let Value::Map(entries) = &self.value else { return None };
        let is_key = |node: &Node| matches!(&node.value, Value::Scalar { text, .. } if text == key);
        let (_, value) = entries.iter().find(|(name, _)| is_key(name))?;
        (!matches!(value.value, Value::Null)).then_some(value)
    }
}

/// Why a text is not one YAML document, with the position.
#[derive(Debug)]
pub(in crate::config) struct SyntaxError {
    pub(in crate::config) at: Position,
    pub(in crate::config) message: String,
}
