//! The detail of a client that sent only a part of what was expected.

use std::borrow::Cow;

/// `sent` is the part of `expected` that has arrived.
pub(super) fn incomplete(expected: &str, sent: &[u8]) -> Cow<'static, str> {
    match sent.len() {
        0 => "nothing was sent".into(),
        1 => format!("incomplete {expected}: only 1 byte was sent").into(),
        n => format!("incomplete {expected}: only {n} bytes were sent").into(),
    }
}
