//! From an entry to the bytes of one line.

use std::{
    fmt::Write as _,
    io::{self, Write},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::Serialize;
use time::OffsetDateTime;

use super::entry::{Endpoint, Entry, FIELDS, Field, Stamped, Value, millis};
use crate::config::LogLineFormat;

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
    pub(super) fn render(&self, entry: &Entry<'_>, stamp: &Stamp, out: &mut Vec<u8>) {
        match self {
            Self::Json => {
                let mut json = serde_json::Serializer::with_formatter(&mut *out, HarmlessJson);
                // Writing to memory cannot fail, and no value refuses to be serialized.
                let _ = Stamped { entry, stamp }.serialize(&mut json);
            }
            Self::Template(template) => template.render(entry, stamp, out),
        }
        out.push(b'\n');
    }
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
/// and brackets are written as `\xHH`, and what could move the cursor or the direction of the text
/// outside of ASCII as `\uHHHH`; a value that is itself `-` becomes `\x2D`.
#[derive(Clone)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone)]
enum Part {
    Literal(Vec<u8>),
    Field(for<'e> fn(&'e Entry<'e>, &'e Stamp) -> Option<Value<'e>>),
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

    fn render(&self, entry: &Entry<'_>, stamp: &Stamp, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Literal(literal) => out.extend_from_slice(literal),
                Part::Field(value) => match value(entry, stamp) {
                    Some(value) => value.render(out),
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
        escape(text, |c| hostile(c) && c != '\t', &mut literal);
        Self::Literal(literal)
    }
}

impl Value<'_> {
    fn render(self, out: &mut Vec<u8>) {
        // Writing to memory cannot fail.
        let _ = match self {
            Self::Text("-") => out.write_all(br"\x2D"),
            Self::Text(text) => {
                escape(text, |c| hostile(c) || matches!(c, '"' | '\\' | '[' | ']'), out);
                Ok(())
            }
            Self::Name(name) => out.write_all(name.as_bytes()),
            Self::Number(number) => write!(out, "{number}"),
            Self::Flag(flag) => write!(out, "{flag}"),
            Self::Id(id) => write!(out, "{id:016x}"),
            Self::Millis(duration) => write!(out, "{:.3}", millis(duration)),
            Self::Address(address) | Self::Endpoint(Endpoint::Ip(address)) => {
                write!(out, "{address}")
            }
            Self::Endpoint(Endpoint::Unix(path)) => {
                out.extend_from_slice(b"unix:");
                escape(&path.to_string_lossy(), hostile, out);
                Ok(())
            }
        };
    }
}

/// Whether a character can break a line, move a terminal's cursor, or reorder what is shown:
/// C0, DEL and C1, the line and paragraph separators, and the bidirectional controls (UAX #9).
fn hostile(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Appends `text`, each character that `must` names as `\xHH`, or `\uHHHH` outside of ASCII.
fn escape(text: &str, must: impl Fn(char) -> bool, out: &mut Vec<u8>) {
    let mut written = 0;
    for (at, c) in text.char_indices() {
        if must(c) {
            out.extend_from_slice(text.get(written..at).unwrap_or_default().as_bytes());
            let code = u32::from(c);
            // Writing to memory cannot fail.
            let _ = if c.is_ascii() {
                write!(out, r"\x{code:02X}")
            } else {
                write!(out, r"\u{code:04X}")
            };
            written = at + c.len_utf8();
        }
    }
    out.extend_from_slice(text.get(written..).unwrap_or_default().as_bytes());
}

/// Compact JSON in which no character is [`hostile`]: the standard asks for less (RFC 8259, section 7).
struct HarmlessJson;

impl serde_json::ser::Formatter for HarmlessJson {
    fn write_string_fragment<W>(&mut self, to: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + Write,
    {
        // C0 never gets here: serde_json has cut it out.
        if fragment.is_ascii() && !fragment.as_bytes().contains(&0x7f) {
            return to.write_all(fragment.as_bytes());
        }
        let mut written = 0;
        for (at, c) in fragment.char_indices() {
            if hostile(c) {
                to.write_all(fragment.get(written..at).unwrap_or_default().as_bytes())?;
                write!(to, r"\u{:04x}", u32::from(c))?;
                written = at + c.len_utf8();
            }
        }
        to.write_all(fragment.get(written..).unwrap_or_default().as_bytes())
    }
}

/// The time of a line in words; the date is worked out once a second.
#[derive(Default)]
pub(super) struct Stamp {
    second: Option<u64>,
    rfc3339: String,
    local: String,
}

/// Length of `2026-11-22T23:22:27.`: what stays the same for a second.
const SECONDS_PREFIX: usize = 20;

impl Stamp {
    pub(super) fn set(&mut self, time: SystemTime) {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        if self.second != Some(since.as_secs()) {
            self.second = Some(since.as_secs());
            self.set_second(since.as_secs());
        }
        self.rfc3339.truncate(SECONDS_PREFIX);
        // Writing to memory cannot fail.
        let _ = write!(self.rfc3339, "{:03}Z", since.subsec_millis());
    }

    fn set_second(&mut self, second: u64) {
        // A clock beyond the year 9999 shows the epoch.
        let date = i64::try_from(second)
            .ok()
            .and_then(|second| OffsetDateTime::from_unix_timestamp(second).ok())
            .unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
        let (hour, minute, second) = date.time().as_hms();
        let month_name = date.month().to_string();
        let month_name = month_name.get(..3).unwrap_or_default();
        self.rfc3339.clear();
        self.local.clear();
        // Writing to memory cannot fail.
        let _ = write!(
            self.rfc3339,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}."
        );
        let _ = write!(
            self.local,
            "{day:02}/{month_name}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000"
        );
    }

    /// RFC 3339 in UTC, to the millisecond.
    pub(super) fn rfc3339(&self) -> &str {
        &self.rfc3339
    }

    /// nginx's `$time_local`, in UTC.
    pub(super) fn local(&self) -> &str {
        &self.local
    }
}
