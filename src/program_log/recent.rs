//! The last lines of the program's own log, kept in memory for the API and the dashboard.

use std::{
    collections::VecDeque,
    fmt::{self, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

/// Lines kept: some hours of a healthy proxy, the last minute of one in trouble.
const MAX_LINES: usize = 500;

/// Bytes kept of a line, so that all lines take at most half a megabyte.
const MAX_LINE_BYTES: usize = 1024;

/// The last lines of the program's log. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct ProgramLog(Arc<Mutex<Ring>>);

#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<LogLine>,
    /// The number of the last line so far.
    last: u64,
}

/// One line.
#[derive(Clone, Debug)]
pub struct LogLine {
    /// 1 for the first line of the run.
    pub seq: u64,
    pub time: SystemTime,
    pub level: Level,
    /// The message and its fields.
    pub text: String,
}

impl ProgramLog {
    /// The lines after number `seq` that are still kept, and the number of the last line so far.
    pub fn after(&self, seq: u64) -> (Vec<LogLine>, u64) {
        let ring = self.ring();
        let lines = ring.lines.iter().filter(|line| line.seq > seq).cloned().collect();
        (lines, ring.last)
    }

    fn push(&self, level: Level, text: String) {
        let time = SystemTime::now();
        let mut ring = self.ring();
        ring.last += 1;
        let seq = ring.last;
        if ring.lines.len() == MAX_LINES {
            ring.lines.pop_front();
        }
        ring.lines.push_back(LogLine { seq, time, level, text });
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Subscriber> Layer<S> for ProgramLog {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = LineBuilder::default();
        event.record(&mut line);
        self.push(*event.metadata().level(), line.finish());
    }
}

/// A line under construction: the message comes first, as on standard error.
#[derive(Default)]
struct LineBuilder {
    message: BoundedText,
    fields: BoundedText,
}

/// A text that stops growing at [`MAX_LINE_BYTES`].
#[derive(Default)]
struct BoundedText(String);

impl LineBuilder {
    fn finish(self) -> String {
        let mut line = self.message;
        // Writing to a bounded text never fails.
        let _ = line.write_str(&self.fields.0);
        line.0
    }

    fn add(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let _ = match field.name() {
            "message" => self.message.write_fmt(value),
            name => write!(self.fields, " {name}={value}"),
        };
    }
}

impl Visit for LineBuilder {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.add(field, format_args!("{value}")),
            _ => self.add(field, format_args!("{value:?}")),
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format_args!("{value:?}"));
    }
}

impl Write for BoundedText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_LINE_BYTES.saturating_sub(self.0.len());
        if text.len() <= room {
            self.0.push_str(text);
        } else {
            self.0.push_str(&text[..text.floor_char_boundary(room)]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn lines_read_as_on_standard_error_and_only_the_last_stay() {
        let log = ProgramLog::default();
        let subscriber = tracing_subscriber::registry().with(log.clone());
        tracing::subscriber::with_default(subscriber, || {
            let (pool, error) = ("p", std::io::Error::other("no route"));
            tracing::warn!(%pool, weight = 3, word = "two words", %error, "cannot {}", "dial");
            tracing::info!("{}", "ä".repeat(MAX_LINE_BYTES));
            for n in 0..MAX_LINES {
                tracing::debug!(n);
            }
        });
        let (lines, last) = log.after(0);
        assert_eq!((lines.len(), last), (MAX_LINES, MAX_LINES as u64 + 2));
        assert_eq!((lines[0].seq, &*lines[0].text), (3, " n=0"));
        assert_eq!(log.after(last - 1).0.len(), 1);
        assert_eq!(log.after(last).0.len(), 0);
        assert_eq!(log.after(u64::MAX).0.len(), 0);
    }

    #[test]
    fn a_line_has_its_message_first_and_an_end() {
        let log = ProgramLog::default();
        let subscriber = tracing_subscriber::registry().with(log.clone());
        tracing::subscriber::with_default(subscriber, || {
            let (pool, error) = ("p", std::io::Error::other("no route"));
            tracing::warn!(%pool, weight = 3, word = "two words", %error, "cannot {}", "dial");
            tracing::info!(text = "ä".repeat(MAX_LINE_BYTES), "xy");
        });
        let lines = log.after(0).0;
        let wanted = "cannot dial pool=p weight=3 word=\"two words\" error=no route";
        assert_eq!((lines[0].level, &*lines[0].text), (Level::WARN, wanted));
        assert_eq!(lines[1].text.len(), MAX_LINE_BYTES - 1, "no partial character");
    }
}
