//! Renders an entry into the bytes of one line.

use super::{
    entry::Entry,
    fields::{FIELDS, FieldValue, LogField, write_members},
    value::{Escape, LogValue},
};
use crate::{config::LogLineFormat, timestamp::Timestamp};

/// The format of a log's lines, compiled once.
#[derive(Clone)]
pub(super) enum LineFormat {
    Json,
    Template(Template),
}

impl LineFormat {
    pub(super) fn new(format: &LogLineFormat) -> Result<Self, TemplateError> {
        Ok(match format {
            LogLineFormat::Json => Self::Json,
            LogLineFormat::Text => Self::Template(Template::compile(TEXT_TEMPLATE)?),
            LogLineFormat::Template(source) => Self::Template(Template::compile(source)?),
        })
    }

    /// Appends one line with its `\n`.
    pub(super) fn render(&self, entry: &Entry<'_>, stamp: &Timestamp, out: &mut Vec<u8>) {
        match self {
            Self::Json => render_json(entry, stamp, out),
            Self::Template(template) => template.render(entry, stamp, out),
        }
        out.push(b'\n');
    }
}

/// One object, without the unknown fields.
fn render_json(entry: &Entry<'_>, stamp: &Timestamp, out: &mut Vec<u8>) {
    let start = out.len();
    write_members(entry, stamp, out);
    // Replaces the first comma.
    if let Some(first) = out.get_mut(start) {
        *first = b'{';
    }
    out.push(b'}');
}

/// The `text` format: like nginx's stream log, the same fields in every line.
const TEXT_TEMPLATE: &str = "${client} [${time_local}] clientid: [${client_id}] username: [${username}] \
    protocol: [${protocol_name}] version: [${protocol_version}] event: [${event}] \
    session: [${session}] listener: [${listener}] pool: [${pool}] upstream: [${upstream}] \
    connack: [${connack}] bytes_in: [${bytes_in}] bytes_out: [${bytes_out}] \
    duration_ms: [${duration_ms}] end: [${end_by} ${end_phase} ${end_cause}] detail: [${detail}]";

/// The fields that only templates have: the time in UTC, formatted like nginx's `$time_local`, and
/// variables of other templates that are parts of a field here.
const TEMPLATE_FIELDS: [LogField; 5] = [
    LogField { name: "time_local", value: |_, stamp| Some(LogValue::Name(stamp.local())) },
    LogField { name: "source_ip", value: |e, _| e.client.map(|client| LogValue::Ip(client.ip())) },
    LogField { name: "tls_san_dns", value: |e, _| first(&e.tls_san?.san_dns) },
    LogField { name: "tls_san_uri", value: |e, _| first(&e.tls_san?.san_uri) },
    LogField { name: "tls_san_email", value: |e, _| first(&e.tls_san?.san_email) },
];

fn first(names: &[Box<str>]) -> Option<LogValue<'_>> {
    names.first().map(|name| LogValue::Text(name))
}

/// A line with `${field}` variables.
///
/// An unknown field is written as `-`. In a value, control characters, quotes, backslashes and
/// brackets are written as `\xHH`, and [unsafe characters](crate::escape::is_unsafe) outside ASCII
/// as
/// `\uHHHH`; a value that is itself `-` becomes `\x2D`, and a long one is truncated.
#[derive(Clone)]
pub(super) struct Template {
    parts: Vec<TemplatePart>,
}

#[derive(Clone)]
enum TemplatePart {
    Literal(Vec<u8>),
    Field(FieldValue),
}

/// Why a template cannot be compiled.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TemplateError {
    #[error("unknown access log field `${{{0}}}`")]
    UnknownField(String),
    #[error("`${{` without a closing `}}`")]
    Unclosed,
}

impl Template {
    /// Compiles `source`; a `$` that is not followed by `{` stands for itself.
    pub(super) fn compile(source: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = source;
        while let Some((literal, after)) = rest.split_once("${") {
            let (name, after) = after.split_once('}').ok_or(TemplateError::Unclosed)?;
            let field = FIELDS
                .iter()
                .chain(&TEMPLATE_FIELDS)
                .find(|field| field.name == name)
                .ok_or_else(|| TemplateError::UnknownField(name.to_owned()))?;
            parts.push(TemplatePart::literal(literal));
            parts.push(TemplatePart::Field(field.value));
            rest = after;
        }
        parts.push(TemplatePart::literal(rest));
        Ok(Self { parts })
    }

    fn render(&self, entry: &Entry<'_>, stamp: &Timestamp, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                TemplatePart::Literal(literal) => out.extend_from_slice(literal),
                TemplatePart::Field(value) => match value(entry, stamp) {
                    Some(value) => value.write_text(out),
                    None => out.push(b'-'),
                },
            }
        }
    }
}

impl TemplatePart {
    /// Escaped too, because a line break in a template would split an entry into two lines.
    fn literal(text: &str) -> Self {
        let mut literal = Vec::with_capacity(text.len());
        Escape::Literal.write(text, &mut literal);
        Self::Literal(literal)
    }
}
