//! Characters that are unsafe on a terminal or in a log, and their escape sequences.

use std::{borrow::Cow, fmt::Write};

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

/// Whether a character can break a line, control a terminal, reorder the text, or be invisible: the
/// general categories Cc, Cf, Zl and Zp, and Default_Ignorable_Code_Point, of Unicode 17. The
/// dashboard's `dom.js` has the same set.
pub const fn is_unsafe(c: char) -> bool {
    matches!(
        c,
        '\u{0}'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{ad}'
            | '\u{34f}'
            | '\u{600}'..='\u{605}'
            | '\u{61c}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{890}'..='\u{891}'
            | '\u{8e2}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{110bd}'
            | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Long enough for a path or a host name to be recognised.
const MAX_SHORT_CHARS: usize = 60;

/// A text inside a message: escaped, so that it stays on its line, and cut short.
pub(crate) fn quote(text: &str) -> String {
    match text.char_indices().nth(MAX_SHORT_CHARS) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// A text for a cell of a table: cut short, and not escaped.
pub(crate) fn shortened(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(MAX_SHORT_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

/// A text that is safe on a terminal and stays on one line: with `\n`, `\t`, `\u{1b}` as escapes.
pub fn plain(text: &str) -> Cow<'_, str> {
    replaced(text, |c, plain| plain.extend(c.escape_default()))
}

/// Applies [`plain`] to each line.
pub(crate) fn plain_lines(text: &str) -> String {
    text.lines().map(plain).collect::<Vec<_>>().join("\n")
}

/// JSON on one line, with unsafe characters in strings as `\u` and four digits.
///
/// # Errors
/// `value` cannot be serialized, such as a map whose keys are not strings.
pub(crate) fn json(value: &impl Serialize) -> serde_json::Result<String> {
    let mut out = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut out, SafeFormatter))?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// The content of a JSON string, with `\u` and four digits for each UTF-16 unit of an unsafe
/// character.
pub(crate) fn inside_json(text: &str) -> Cow<'_, str> {
    replaced(text, |c, plain| {
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to memory cannot fail.
            let _ = write!(plain, "\\u{unit:04x}");
        }
    })
}

fn replaced(text: &str, replace: impl Fn(char, &mut String)) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return text.into();
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_unsafe(c) { replace(c, &mut safe) } else { safe.push(c) }
    }
    safe.into()
}

struct SafeFormatter;

impl Formatter for SafeFormatter {
    fn write_string_fragment<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> std::io::Result<()> {
        CompactFormatter.write_string_fragment(writer, &inside_json(fragment))
    }
}

#[cfg(test)]
mod tests;
