//! From an entry to the bytes of one line.

use super::{
    entry::{Entry, FIELDS, Field, write_members},
    value::{Escape, Value},
};
use crate::{config::LogLineFormat, timestamp::Timestamp};

/// How one sink writes its lines, compiled once.
#[derive(Clone)]
pub(super) enum LineFormat {
    Json,
    Template(Template),
}

impl LineFormat {
    pub(super) fn new(format: &LogLineFormat) -> Result<Self, TemplateError> {
        Ok(match format {
            LogLineFormat::Json => Self::Json,
            LogLineFormat::Text => Self::Template(Template::compile(TEXT)?),
            LogLineFormat::Template(source) => Self::Template(Template::compile(source)?),
        })
    }

    /// Appends one whole line, its `\n` included.
    pub(super) fn render(&self, entry: &Entry<'_>, stamp: &Timestamp, out: &mut Vec<u8>) {
        match self {
            Self::Json => render_json(entry, stamp, out),
            Self::Template(template) => template.render(entry, stamp, out),
        }
        out.push(b'\n');
    }
}

/// One object, without the fields that are unknown.
fn render_json(entry: &Entry<'_>, stamp: &Timestamp, out: &mut Vec<u8>) {
    let start = out.len();
    write_members(entry, stamp, out);
    // The first comma.
    if let Some(first) = out.get_mut(start) {
        *first = b'{';
    }
    out.push(b'}');
}

/// The `text` format: the shape of nginx's stream log, every line with the same fields.
const TEXT: &str = "${client} [${time_local}] clientid: [${client_id}] username: [${username}] \
    protocol: [${protocol_name}] version: [${protocol_version}] event: [${event}] \
    session: [${session}] listener: [${listener}] pool: [${pool}] upstream: [${upstream}] \
    connack: [${connack}] bytes_in: [${bytes_in}] bytes_out: [${bytes_out}] \
    duration_ms: [${duration_ms}] end: [${end_by} ${end_phase} ${end_cause}] detail: [${detail}]";

/// What only templates know: the time as nginx's `$time_local` writes it, in UTC.
const TIME_LOCAL: Field =
    Field { name: "time_local", value: |_, stamp| Some(Value::Name(stamp.local())) };

/// A line with `${field}` variables.
///
/// A field that is unknown is written as `-`. In a value, control characters, quotes, backslashes
/// and brackets are written as `\xHH`, and [what is unsafe](crate::escape::is_unsafe) outside of ASCII
/// as `\uHHHH`; a value that is itself `-` becomes `\x2D`, and a long one is cut.
#[derive(Clone)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone)]
enum Part {
    Literal(Vec<u8>),
    Field(for<'e> fn(&'e Entry<'e>, &'e Timestamp) -> Option<Value<'e>>),
}

/// Why a template cannot be compiled.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TemplateError {
    #[error("`${{{0}}}` is no field of the access log")]
    UnknownField(String),
    #[error("a `${{` is not closed by `}}`")]
    Unclosed,
}

impl Template {
    /// Compiles `source`; a `$` that no `{` follows stands for itself.
    pub fn compile(source: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = source;
        while let Some((literal, after)) = rest.split_once("${") {
            let (name, after) = after.split_once('}').ok_or(TemplateError::Unclosed)?;
            let field = FIELDS
                .iter()
                .chain([&TIME_LOCAL])
                .find(|field| field.name == name)
                .ok_or_else(|| TemplateError::UnknownField(name.to_owned()))?;
            parts.push(Part::literal(literal));
            parts.push(Part::Field(field.value));
            rest = after;
        }
        parts.push(Part::literal(rest));
        Ok(Self { parts })
    }

    fn render(&self, entry: &Entry<'_>, stamp: &Timestamp, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Literal(literal) => out.extend_from_slice(literal),
                Part::Field(value) => match value(entry, stamp) {
                    Some(value) => value.write_text(out),
                    None => out.push(b'-'),
                },
            }
        }
    }
}

impl Part {
    /// A line break in a template would make two lines of one entry, so it is escaped too.
    fn literal(text: &str) -> Self {
        let mut literal = Vec::with_capacity(text.len());
        Escape::Literal.write(text, &mut literal);
        Self::Literal(literal)
    }
}
