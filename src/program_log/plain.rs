//! Escapes the program's log, so that it is safe on a terminal whatever peers send.

use std::{
    fmt,
    io::{self, Write},
};

use tracing::field::{Field, Visit};
use tracing_subscriber::{
    field::{MakeVisitor, RecordFields, VisitOutput},
    fmt::{
        FormatFields, MakeWriter,
        format::{DefaultFields, Writer},
    },
};

use crate::escape::{inside_json, plain};

/// The message and the fields as tracing-subscriber writes them, with colours, escaped.
#[derive(Clone, Copy, Debug)]
pub struct PlainFields;

impl<'writer> FormatFields<'writer> for PlainFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut visitor = DefaultFields::new().make_visitor(writer);
        fields.record(&mut PlainVisitor(&mut visitor));
        visitor.finish()
    }
}

struct PlainVisitor<'a>(&'a mut dyn Visit);

impl PlainVisitor<'_> {
    fn add(&mut self, field: &Field, value: &str) {
        self.0.record_debug(field, &format_args!("{}", plain(value)));
    }
}

impl Visit for PlainVisitor<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.add(field, value),
            _ => self.add(field, &format!("{value:?}")),
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add(field, &value.to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format!("{value:?}"));
    }
}

/// Escapes lines of JSON, in which serde_json escapes only ASCII control characters.
#[derive(Clone, Debug)]
pub(crate) struct PlainJson<M>(pub M);

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for PlainJson<M> {
    type Writer = PlainJsonLine<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        PlainJsonLine(self.0.make_writer())
    }
}

/// The writer of one event, which is written in one call.
pub(crate) struct PlainJsonLine<W>(W);

impl<W: Write> Write for PlainJsonLine<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let (text, end) = match text.strip_suffix('\n') {
            Some(text) => (text, "\n"),
            None => (&*text, ""),
        };
        // In one call, because lines are dropped as a whole.
        self.0.write_all(format!("{}{end}", inside_json(text)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::escape::is_unsafe;

    const HOSTILE: &str = "a\n\t\u{1b}[2J\u{9b}\u{7f}\u{2028}\u{202e}\u{200b}\u{feff}\u{e0041}é";

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Written {
        fn line(&self) -> String {
            let line = String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap();
            let line = line.strip_suffix('\n').unwrap();
            assert!(!line.contains(is_unsafe), "{line:?}");
            line.to_owned()
        }
    }

    fn log() {
        let error = io::Error::other(HOSTILE);
        tracing::warn!(text = HOSTILE, shown = %HOSTILE, error = %error, "{HOSTILE}");
    }

    #[test]
    fn a_line_of_text_has_nothing_unsafe() {
        let written = Written::default();
        let writer = written.clone();
        let lines = tracing_subscriber::fmt::layer().with_ansi(false).without_time();
        let lines = lines.with_writer(move || writer.clone()).with_target(false);
        let subscriber = tracing_subscriber::registry().with(lines.fmt_fields(PlainFields));
        tracing::subscriber::with_default(subscriber, log);
        let plain = plain(HOSTILE);
        // As a Rust literal, in which the remaining unsafe characters are escaped too.
        let literal = super::plain(&format!("{HOSTILE:?}")).into_owned();
        let wanted = format!(" WARN {plain} text={literal} shown={plain} error={plain}");
        assert_eq!(written.line(), wanted);
    }

    #[test]
    fn a_line_of_json_has_nothing_unsafe_and_says_the_same() {
        let written = Written::default();
        let writer = written.clone();
        let lines = tracing_subscriber::fmt::layer().with_target(false);
        let lines = lines.with_writer(PlainJson(move || writer.clone())).json();
        let subscriber = tracing_subscriber::registry().with(lines);
        tracing::subscriber::with_default(subscriber, log);
        let line = serde_json::from_str::<serde_json::Value>(&written.line()).unwrap();
        let fields = &line["fields"];
        for name in ["message", "text", "shown", "error"] {
            assert_eq!(fields[name], HOSTILE, "{name}");
        }
    }
}
