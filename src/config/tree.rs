//! YAML text as a tree in which every value knows where it stands.

use std::borrow::Cow;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};

use super::fault::Position;

/// A config nests about five deep; the rest of this is room, and keeps the recursion shallow.
const MAX_DEPTH: usize = 32;

#[derive(Debug)]
pub(super) struct Node {
    pub(super) at: Position,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// Kept as written, so that a broker named `0x10` is hashed as `0x10`.
    Scalar {
        text: String,
        quoted: bool,
    },
    List(Vec<Node>),
    /// In the order of the file, duplicates included.
    Map(Vec<(Node, Node)>),
    /// Legal YAML that a config does without, and why.
    Refused(&'static str),
}

impl Node {
    /// The value of a key, unless it is empty.
    pub(super) fn entry(&self, key: &str) -> Option<&Self> {
        let Value::Map(entries) = &self.value else { return None };
        let is_key = |node: &Node| matches!(&node.value, Value::Scalar { text, .. } if text == key);
        let (_, value) = entries.iter().find(|(name, _)| is_key(name))?;
        (!matches!(value.value, Value::Null)).then_some(value)
    }
}

/// Why a text is not one YAML document, and where.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub(super) at: Position,
    pub(super) message: String,
}

/// Reads a text of one YAML (or JSON) document; an empty one is [`Value::Null`].
pub(super) fn parse(text: &str) -> Result<Node, SyntaxError> {
    if let Some(at) = first_forbidden(text) {
        let message = "has a control character; only printable text is YAML".to_owned();
        return Err(SyntaxError { at, message });
    }
    let mut events = Events(Parser::new_from_str(text));
    let mut root = None;
    loop {
        let (event, span) = events.next()?;
        match event {
            Event::StreamEnd => break,
            Event::DocumentStart(_) if root.is_some() => {
                let message = "starts a second document; a config is one document".to_owned();
                return Err(SyntaxError { at: position(span), message });
            }
            Event::DocumentStart(_) => {
                let first = events.next()?;
                root = Some(node(&mut events, first, 0)?);
            }
            _ => {}
        }
    }
    Ok(root.unwrap_or(Node { at: Position::START, value: Value::Null }))
}

struct Events<'a>(Parser<'a, StrInput<'a>>);

impl<'a> Events<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), SyntaxError> {
        match self.0.next_event() {
            Some(event) => event.map_err(|error| syntax_error(&error)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }
}

fn node<'a>(
    events: &mut Events<'a>,
    (event, span): (Event<'a>, Span),
    depth: usize,
) -> Result<Node, SyntaxError> {
    let at = position(span);
    if depth > MAX_DEPTH {
        let message = format!("is nested too deeply; the most is {MAX_DEPTH} levels");
        return Err(SyntaxError { at, message });
    }
    let (tagged, value) = match event {
        Event::Scalar(text, style, _, tag) => (tag.is_some(), scalar(text, style)),
        Event::SequenceStart(_, tag) => {
            let mut items = Vec::new();
            loop {
                match events.next()? {
                    (Event::SequenceEnd, _) => break (tag.is_some(), Value::List(items)),
                    item => items.push(node(events, item, depth + 1)?),
                }
            }
        }
        Event::MappingStart(_, tag) => {
            let mut entries = Vec::new();
            loop {
                match events.next()? {
                    (Event::MappingEnd, _) => break (tag.is_some(), Value::Map(entries)),
                    key => {
                        let key = node(events, key, depth + 1)?;
                        let value = events.next()?;
                        entries.push((key, node(events, value, depth + 1)?));
                    }
                }
            }
        }
        // Following aliases would let a few lines stand for millions of values.
        Event::Alias(_) => (false, Value::Refused("is an alias; write the value out")),
        _ => (false, Value::Null),
    };
    let value = if tagged { Value::Refused("has a YAML tag; remove it") } else { value };
    Ok(Node { at, value })
}

fn scalar(text: Cow<'_, str>, style: ScalarStyle) -> Value {
    let quoted = style != ScalarStyle::Plain;
    match text.as_ref() {
        // The nulls of the YAML 1.2 core schema, section 10.3.2.
        "" | "~" | "null" | "Null" | "NULL" if !quoted => Value::Null,
        _ => Value::Scalar { text: text.into_owned(), quoted },
    }
}

/// The first character that YAML 1.2, section 5.1, does not allow; the parser would take some of
/// them for the end of the file.
fn first_forbidden(text: &str) -> Option<Position> {
    let forbidden = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}');
    text.find(forbidden).map(|offset| Position::after(&text[..offset]))
}

fn position(span: Span) -> Position {
    Position { line: span.start.line(), column: span.start.col() + 1 }
}

fn syntax_error(error: &ScanError) -> SyntaxError {
    let at = Position { line: error.marker().line(), column: error.marker().col() + 1 };
    let hint = "quote values that start with [ { * & ! % @ or contain \": \"";
    SyntaxError { at, message: format!("is not YAML: {}; {hint}", error.info()) }
}
