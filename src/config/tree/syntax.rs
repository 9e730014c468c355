//! Syntax faults, in words for people who write YAML by hand.

use saphyr_parser::ScanError;

use super::node::SyntaxError;
use crate::config::fault::Position;

const TAB: &str = "a tab where YAML wants spaces; indent with spaces";

/// Parts of the texts of the parser, and the text that replaces them.
const CAUSES: &[(&str, &str)] = &[
    ("tab", TAB),
    ("unexpected end of stream", "a quote that is never closed"),
    ("document indicator", "a quote that is never closed"),
    ("invalid trailing content", "text after a closing quote; quote the whole value"),
    ("unknown escape", "an unknown escape after \\; use single quotes for text with \\ in it"),
    ("hexadecimal", "an escape without its hexadecimal digits; use single quotes for text with \\"),
    ("Unicode character escape", "an unknown escape; use single quotes for text with \\"),
    ("expected ',' or '}'", "a { that is not closed, or a missing comma between entries"),
    ("expected ',' or ']'", "a [ that is not closed, or a missing comma between entries"),
    ("misplaced bracket", "a closing bracket without its opening one"),
    ("flow construct", "text inside { or [ that is not closed, or that is indented less than that"),
    (
        "unknown anchor",
        "an alias (*) of an anchor (&) that is not defined before it; quote a value that starts with *",
    ),
    ("anchor or alias", "* or & without a name; quote a value that starts with one"),
    (
        "mapping values are not allowed",
        "a second \": \"; quote a value that contains \": \", or indent the key like those before it",
    ),
    ("block sequence entries are not allowed", "a list item here; put it on a line of its own"),
    (
        "did not find expected '-'",
        "a line indented like the items of a list, that does not start with \"- \"",
    ),
    (
        "'-' must be followed",
        "- without a space after it; write \"- \" for an item, or quote the value",
    ),
    (
        "':' must be followed",
        ": without a space after it; write \"key: value\", or quote the value",
    ),
    ("block scalar", "a text block (| or >) that is indented wrongly"),
    (
        "did not find expected key",
        "not a key here; indent it like the keys before it, or quote the value before it",
    ),
    ("simple key", "not a key; write \"key: value\", indented like the keys before it"),
    ("invalid indentation", "wrong indentation; keys of one section start in one column"),
    ("multiline", "a comment inside a text of several lines"),
    (
        "unexpected character",
        "a value that starts with a character that YAML reserves (@, ` or %); quote the value",
    ),
    ("byte order mark", "a byte order mark inside the text; remove it"),
    ("directive", "a directive (%); quote the value"),
    ("tag", "a tag (!); quote the value"),
    ("handle", "a tag (!); quote the value"),
    ("document", "text outside the document; a config is one document"),
    ("unexpected eof", "the end of the file in the middle of a value"),
    ("recursion limit", "nested too deeply"),
];

/// One text for each known cause, else the text of the parser.
pub(super) fn syntax_error(error: &ScanError, text: &str) -> SyntaxError {
    let at = Position { line: error.marker().line(), column: error.marker().col() + 1 };
    // A tab as indentation is reported as whatever it breaks, or at the end of the line before it.
    let mut near = text.lines().enumerate().skip(at.line.saturating_sub(1)).take(2);
    let tab = near.find_map(|(index, line)| Some((index + 1, indentation_tab(line)?)));
    let (at, message) = if let Some((line, column)) = tab {
        (Position { line, column }, TAB)
    } else {
        let cause = CAUSES.iter().find(|(part, _)| error.info().contains(part));
        (at, cause.map_or(error.info(), |(_, text)| text))
    };
    SyntaxError { at, message: format!("invalid YAML: {message}") }
}

/// The column of the first tab in the indentation of a line that has text.
fn indentation_tab(line: &str) -> Option<usize> {
    let indentation = &line[..line.len() - line.trim_start().len()];
    (indentation.len() < line.len()).then(|| indentation.find('\t')).flatten().map(|at| at + 1)
}
