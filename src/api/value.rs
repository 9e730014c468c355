//! Kinds of values that several types have.

use std::{borrow::Cow, collections::BTreeMap};

/// A word of a list that the schema has. It is text here, so that a client can show a word that a
/// later version has added.
pub(crate) type Word = Cow<'static, str>;

/// Counts by word.
pub(crate) type Counts = BTreeMap<String, u64>;

/// What clients speak to a listener.
pub(super) const TRANSPORTS: [&str; 6] = ["tcp", "unix", "tls", "tls_passthrough", "ws", "wss"];
