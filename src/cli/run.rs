//! `mqtt-lb run`: the proxy.

use std::{io::IsTerminal, path::Path, process::ExitCode};

use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

use super::{FAILED, check};
use crate::{
    app,
    config::{Log, LogLevel, ProgramLogFormat},
    observe::ProgramLog,
};

/// The crates that look up names in DNS.
const RESOLVER: [&str; 3] = ["hickory_net", "hickory_proto", "hickory_resolver"];

pub(super) fn run(file: &Path) -> ExitCode {
    let config = match check::load(file) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let log = ProgramLog::default();
    let set_level = start_log(config.log, &log);
    match app::run(config, file, log, set_level) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::from(FAILED)
        }
    }
}

/// The program's own log goes to standard error: journald and containers collect it there. Its last
/// lines are kept in `recent` as well.
fn start_log(log: Log, recent: &ProgramLog) -> app::SetLevel {
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    let lines = match log.format {
        ProgramLogFormat::Text => lines.boxed(),
        ProgramLogFormat::Json => lines.json().boxed(),
    };
    let (levels, handle) = reload::Layer::new(levels(log.level));
    tracing_subscriber::registry().with(levels).with(lines).with(recent.clone()).init();
    // Fails only once the log itself is gone.
    Box::new(move |level| handle.reload(self::levels(level)).unwrap_or_default())
}

fn levels(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // The resolver has a warning for each forged answer, of which there may be any number; what
    // comes of a look-up is said where it is made.
    let resolver = if level >= LevelFilter::DEBUG { level } else { LevelFilter::OFF };
    let resolver = RESOLVER.map(|target| (target, resolver));
    Targets::new().with_default(level).with_targets(resolver)
}
