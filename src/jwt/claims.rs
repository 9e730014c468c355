//! The claims of a token.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// The claims of a token whose signature was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims(pub(super) Map<String, Value>);

impl Claims {
    /// The text of a claim: a string, a number, a truth value. `name` is the whole name of a claim,
    /// such as `https://example.com/tenant`, or else a path into objects, such as `device.id`.
    pub(crate) fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        match self.find(name)? {
            Value::String(text) => Some(text.into()),
            Value::Number(number) => Some(number.to_string().into()),
            Value::Bool(flag) => Some(flag.to_string().into()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }

    fn find(&self, name: &str) -> Option<&Value> {
        if let Some(value) = self.0.get(name) {
            return Some(value);
        }
        let mut parts = name.split('.');
        let first = self.0.get(parts.next()?)?;
        parts.try_fold(first, |value, part| value.get(part))
    }

    /// When the token expires, in seconds of Unix time; `None`: never.
    pub(crate) fn expires_at(&self) -> Option<u64> {
        self.time("exp").ok().flatten()
    }

    /// A time in seconds (a NumericDate; RFC 7519, section 2), rounded down.
    pub(super) fn time(&self, name: &str) -> Result<Option<u64>, ()> {
        match self.0.get(name) {
            None => Ok(None),
            Some(value) => match (value.as_u64(), value.as_f64()) {
                (Some(seconds), _) => Ok(Some(seconds)),
                // Before 1970, or with a fraction.
                (None, Some(seconds)) if seconds.is_finite() => Ok(Some(seconds.max(0.0) as u64)),
                _ => Err(()),
            },
        }
    }

    /// Whether a claim is this text.
    pub(super) fn is(&self, name: &str, text: &str) -> bool {
        self.0.get(name).is_some_and(|value| value == text)
    }

    /// Whether a claim is this text, or a list that contains it.
    pub(super) fn contains(&self, name: &str, text: &str) -> bool {
        match self.0.get(name) {
            Some(Value::String(value)) => value == text,
            Some(Value::Array(values)) => values.iter().any(|value| value == text),
            _ => false,
        }
    }
}
