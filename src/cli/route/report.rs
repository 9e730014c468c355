//! Messages to the operator.

use std::fmt::Display;

use crate::escape::plain;

/// Prints an error on one line.
pub(super) fn report(error: &dyn Display) {
    eprintln!("mqtt-lb route: {}", plain(&error.to_string()));
}
