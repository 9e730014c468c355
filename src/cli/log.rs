//! The program log, on standard error, where journald and containers collect it.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{self, IsTerminal},
    panic,
    time::Duration,
};

use tracing::{Dispatch, Subscriber, dispatcher};
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, Targets},
    fmt::MakeWriter,
    layer::SubscriberExt,
    registry::LookupSpan,
    reload,
    util::SubscriberInitExt,
};

use crate::{
    config::{Log, LogLevel, ProgramLogFormat},
    control,
    metrics::Metrics,
    program_log::{LossyWriter, PlainFields, PlainJson, ProgramLog, Stderr},
};

/// The crates that look up names in DNS.
const RESOLVER: [&str; 3] = ["hickory_net", "hickory_proto", "hickory_resolver"];

/// The limit for writing the last lines at exit.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Writes the last lines on drop.
pub(super) struct Flush(LossyWriter);

impl Drop for Flush {
    fn drop(&mut self) {
        self.0.flush(FLUSH_TIMEOUT);
    }
}

/// Starts the log. No thread that logs waits for standard error; the last lines are also kept in
/// `recent`.
///
/// # Errors
/// If the writer's thread cannot be started.
pub(super) fn start(
    log: Log,
    recent: &ProgramLog,
    metrics: &Metrics,
) -> io::Result<(control::SetLogLevel, Flush)> {
    // The writer's own messages bypass its queue.
    let direct = tracing_subscriber::registry()
        .with(LevelFilter::WARN)
        .with(lines(log.format, || Stderr))
        .with(recent.clone());
    let direct = Dispatch::new(direct);
    let report = move |lines| {
        dispatcher::with_default(&direct, || {
            tracing::warn!(lines, "lines of this log could not be written and are missing here");
        });
    };
    let writer = LossyWriter::start(Stderr, metrics.program_log_dropped(), report)?;
    let (levels, handle) = reload::Layer::new(levels(log.level));
    tracing_subscriber::registry()
        .with(levels)
        .with(lines(log.format, writer.clone()))
        .with(recent.clone())
        .init();
    log_panics();
    // Fails only once the subscriber is dropped.
    let set_level = move |level| handle.reload(self::levels(level)).unwrap_or_default();
    Ok((Box::new(set_level), Flush(writer)))
}

fn lines<S>(
    format: ProgramLogFormat,
    writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static,
) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        // They would be written to standard error directly, which may block, and panics if it is
        // closed.
        .log_internal_errors(false);
    match format {
        ProgramLogFormat::Text => lines.with_writer(writer).fmt_fields(PlainFields).boxed(),
        ProgramLogFormat::Json => lines.with_writer(PlainJson(writer)).json().boxed(),
    }
}

fn levels(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // The resolver warns about each forged answer, and there can be any number of them. The outcome
    // of a lookup is logged by its caller.
    let resolver = if level >= LevelFilter::DEBUG { level } else { LevelFilter::OFF };
    let resolver = RESOLVER.map(|target| (target, resolver));
    Targets::new().with_default(level).with_targets(resolver)
}

/// Logs panics, because the standard library's hook writes to standard error directly, and may
/// block.
fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or_default();
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        let backtrace = Backtrace::capture();
        let backtrace =
            (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
        // Debug output, so that it stays one line.
        tracing::error!(thread, at, backtrace, "panicked: {message:?}");
    }));
}
