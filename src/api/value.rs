//! Kinds of values that several types have.

use std::{borrow::Cow, collections::BTreeMap};

use serde::Serializer;

/// A word of a list that the schema has. It is text here, so that a client can show a word that a
/// later version has added.
pub(crate) type Word = Cow<'static, str>;

/// Counts by word.
pub(crate) type Counts = BTreeMap<String, u64>;

/// What clients speak to a listener.
pub(super) const TRANSPORTS: [&str; 6] = ["tcp", "unix", "tls", "tls_passthrough", "ws", "wss"];

/// Writes a number without decimals as 5, not 5.0.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference to the field")]
pub(super) fn whole_if_possible<S: Serializer>(
    number: &f64,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    if number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(number) {
        serializer.serialize_u32(*number as u32)
    } else {
        serializer.serialize_f64(*number)
    }
}
