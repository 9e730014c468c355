//! Passwords and tokens, which files of their own hold.

use std::{fmt, fs, sync::Arc};

use super::{
    fault::quote,
    section::{Item, Read},
};

/// A password or token, which no debug line gives away.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// The token that a file holds, in characters that an HTTP header can carry.
pub(super) fn token_file(item: &Item<'_>) -> Read<Secret> {
    const ALLOWED: &str = "a readable file with one token of visible ASCII characters";
    let visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    read(item, ALLOWED, str::trim_ascii_end, visible)
}

/// The password that a file holds. Spaces belong to it, line ends behind it do not.
pub(super) fn password_file(item: &Item<'_>) -> Read<Secret> {
    const ALLOWED: &str = "a readable file with one line of text, of up to 65535 bytes";
    /// The longest password that MQTT can carry (5.0 and 3.1.1, section 1.5).
    const LONGEST: usize = u16::MAX as usize;
    let one_line = |text: &str| text.len() <= LONGEST && !text.contains(char::is_control);
    read(item, ALLOWED, |text| text.trim_end_matches(['\r', '\n']), one_line)
}

fn read(
    item: &Item<'_>,
    allowed: &str,
    trim: impl Fn(&str) -> &str,
    is_good: impl Fn(&str) -> bool,
) -> Read<Secret> {
    let path = item.expanded(allowed)?;
    let file = quote(&path);
    let contents = fs::read_to_string(item.reader.absolute(&path))
        .map_err(|error| item.wrong(&format!("{file} cannot be read: {error}"), allowed))?;
    match trim(&contents) {
        "" => Err(item.wrong(&format!("{file} is empty"), allowed)),
        text if !is_good(text) => Err(item.wrong(&format!("{file} holds something else"), allowed)),
        text => Ok(Secret::new(text)),
    }
}
