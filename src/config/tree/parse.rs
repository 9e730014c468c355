//! From text to a tree.

use std::{borrow::Cow, collections::HashMap};

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput};

use super::{
    merge::merged,
    node::{Node, SyntaxError, Value},
    syntax::syntax_error,
};
use crate::config::fault::Position;

/// A configuration has about five levels; the limit leaves room and bounds the recursion.
const MAX_DEPTH: usize = 32;

/// The most values that are copied for anchors and aliases, so that a few lines cannot expand to
/// billions of values: at some 100 bytes for a value and its text, 10 MB. A pool of 4,096 brokers that share
/// five settings copies 41,000.
const MAX_COPIES: usize = 100_000;

/// Reads a text of one YAML (or JSON) document; an empty one is [`Value::Null`].
pub(in crate::config) fn parse(text: &str) -> Result<Node, SyntaxError> {
    if let Some(at) = first_forbidden(text) {
        let message = "has a control character; only printable text is YAML".to_owned();
        return Err(SyntaxError { at, message });
    }
    let mut builder =
        Builder { text, parser: Parser::new_from_str(text), anchors: HashMap::new(), copies: 0 };
    let mut root = None;
    loop {
        let (event, span) = builder.next()?;
        match event {
            Event::StreamEnd => break,
            Event::DocumentStart(_) if root.is_some() => {
                let message = "starts a second document; a config is one document".to_owned();
                return Err(SyntaxError { at: position(span), message });
            }
            Event::DocumentStart(_) => {
                let first = builder.next()?;
                root = Some(builder.node(first, 0)?.node);
            }
            _ => {}
        }
    }
    Ok(root.unwrap_or(Node { at: Position::START, value: Value::Null }))
}

/// A part of the tree, and what copying it costs.
#[derive(Clone)]
struct Subtree {
    node: Node,
    /// All values in it, itself included.
    size: usize,
    /// The levels below it.
    height: usize,
}

struct Builder<'a> {
    text: &'a str,
    parser: Parser<'a, StrInput<'a>>,
    /// By the number that the parser gives each. An anchor is added after its value was read, so an
    /// alias inside that value does not find it.
    anchors: HashMap<usize, Subtree>,
    /// Values that were copied so far, for an anchor or for an alias.
    copies: usize,
}

impl<'a> Builder<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), SyntaxError> {
        match self.parser.next_event() {
            Some(event) => event.map_err(|error| syntax_error(&error, self.text)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(
        &mut self,
        (event, span): (Event<'a>, Span),
        depth: usize,
    ) -> Result<Subtree, SyntaxError> {
        let at = position(span);
        if depth > MAX_DEPTH {
            return Err(too_deep(at));
        }
        let (mut size, mut height) = (1, 0);
        let mut add = |child: &Subtree| {
            size += child.size;
            height = height.max(child.height + 1);
        };
        let (anchor, tagged, value) = match event {
            Event::Scalar(text, style, anchor, tag) => (anchor, tag.is_some(), scalar(text, style)),
            Event::SequenceStart(anchor, tag) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => {
                            break (anchor, tag.is_some(), Value::List(items));
                        }
                        item => {
                            let item = self.node(item, depth + 1)?;
                            add(&item);
                            items.push(item.node);
                        }
                    }
                }
            }
            Event::MappingStart(anchor, tag) => {
                let mut entries = Vec::new();
                loop {
                    match self.next()? {
                        (Event::MappingEnd, _) => {
                            break (anchor, tag.is_some(), Value::Map(merged(entries)?));
                        }
                        key => {
                            let key = self.node(key, depth + 1)?;
                            let value = self.next()?;
                            let value = self.node(value, depth + 1)?;
                            add(&key);
                            add(&value);
                            entries.push((key.node, value.node));
                        }
                    }
                }
            }
            Event::Alias(anchor) => return self.alias(anchor, at, depth),
            _ => (0, false, Value::Null),
        };
        let value = if tagged { Value::Refused("has a YAML tag; remove it") } else { value };
        let subtree = Subtree { node: Node { at, value }, size, height };
        if anchor != 0 {
            self.count_copies(subtree.size, at)?;
            self.anchors.insert(anchor, subtree.clone());
        }
        Ok(subtree)
    }

    /// A copy of what an anchor marks. Faults of the value itself are those of the alias, faults
    /// inside it those of the anchor.
    fn alias(&mut self, anchor: usize, at: Position, depth: usize) -> Result<Subtree, SyntaxError> {
        let Some(anchored) = self.anchors.get(&anchor) else {
            let message = "is an alias inside the value that it stands for".to_owned();
            return Err(SyntaxError { at, message });
        };
        if depth + anchored.height > MAX_DEPTH {
            return Err(too_deep(at));
        }
        let mut copy = anchored.clone();
        self.count_copies(copy.size, at)?;
        copy.node.at = at;
        Ok(copy)
    }

    fn count_copies(&mut self, size: usize, at: Position) -> Result<(), SyntaxError> {
        self.copies += size;
        if self.copies <= MAX_COPIES {
            return Ok(());
        }
        let message = format!(
            "is one anchor or alias too many: together they stand for more than {MAX_COPIES} values"
        );
        Err(SyntaxError { at, message })
    }
}

fn too_deep(at: Position) -> SyntaxError {
    let message = format!("is nested too deeply; the most is {MAX_DEPTH} levels");
    SyntaxError { at, message }
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
