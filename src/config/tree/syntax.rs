//! What is wrong with a text that is not YAML, in words for those who write such files by hand.

use saphyr_parser::ScanError;

use super::{Position, SyntaxError};

/// What the parser says, in parts of its texts, and what is said of it here.
const CAUSES: &[(&str, &str)] = &[
    ("tab", "has a tab where YAML wants spaces; indent with spaces"),
    ("unexpected end of stream", "has a quote that is never closed"),
    ("document indicator", "has a quote that is never closed"),
    ("invalid trailing content", "goes on after its closing quote; quote the whole value"),
    ("unknown escape", "has an unknown escape after \\; use single quotes for text with \\ in it"),
    (
        "hexadecimal",
        "has an escape without its hexadecimal digits; use single quotes for text with \\",
    ),
    (
        "Unicode character escape",
        "has an escape that is no character; use single quotes for text with \\",
    ),
    ("expected ',' or '}'", "has a { that is not closed, or lacks a comma between entries"),
    ("expected ',' or ']'", "has a [ that is not closed, or lacks a comma between entries"),
    ("misplaced bracket", "has a closing bracket without its opening one"),
    ("flow construct", "is inside { or [ that is not closed, or is indented less than that"),
    (
        "unknown anchor",
        "is an alias (*) of an anchor (&) that is not defined before it; quote a value that starts with *",
    ),
    ("anchor or alias", "has * or & without a name; quote a value that starts with one"),
    (
        "mapping values are not allowed",
        "has a second \": \"; quote a value that contains \": \", or indent the key like those before it",
    ),
    ("block sequence entries are not allowed", "has a list item here; put it on a line of its own"),
    (
        "did not find expected '-'",
        "is indented like the items of a list, but does not start with \"- \"",
    ),
    (
        "'-' must be followed",
        "has - without a space after it; write \"- \" for an item, or quote the value",
    ),
    (
        "':' must be followed",
        "has : without a space after it; write \"key: value\", or quote the value",
    ),
    ("block scalar", "has a text block (| or >) that is indented wrongly"),
    (
        "did not find expected key",
        "is not a key here; indent it like the keys before it, or quote the value before it",
    ),
    ("simple key", "is not a key; write \"key: value\", indented like the keys before it"),
    ("invalid indentation", "is indented wrongly; keys of one section start in one column"),
    ("multiline", "has a comment inside a text of several lines"),
    (
        "unexpected character",
        "starts with a character that YAML reserves (@, ` or %); quote the value",
    ),
    ("byte order mark", "has a byte order mark inside the text; remove it"),
    ("directive", "starts a directive (%); quote the value"),
    ("tag", "starts a tag (!); quote the value"),
    ("handle", "starts a tag (!); quote the value"),
    ("document", "is outside the document; a config is one document"),
    ("unexpected eof", "ends in the middle of a value"),
    ("recursion limit", "is nested too deeply"),
];

/// One text for each cause; that of the parser where the cause is not known.
pub(super) fn syntax_error(error: &ScanError, text: &str) -> SyntaxError {
    let at = Position { line: error.marker().line(), column: error.marker().col() + 1 };
    let indented_by_tab = |line: &str| {
        line.trim_start_matches(' ').starts_with('\t') && !line.trim_start().is_empty()
    };
    // A tab as indentation is reported as whatever it breaks.
    let line = text.lines().nth(at.line.saturating_sub(1));
    let message = if line.is_some_and(indented_by_tab) {
        CAUSES[0].1.to_owned()
    } else {
        let cause = CAUSES.iter().find(|(part, _)| error.info().contains(part));
        cause.map_or_else(|| error.info().to_owned(), |(_, text)| (*text).to_owned())
    };
    SyntaxError { at, message: format!("is not YAML: {message}") }
}
