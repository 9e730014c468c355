//! `mqtt-lb run`: the proxy.

use std::{io::IsTerminal, path::Path, process::ExitCode};

use tracing_subscriber::filter::LevelFilter;

use super::{FAILED, check};
use crate::{
    app,
    config::{Log, LogLevel, ProgramLogFormat},
};

pub(super) fn run(file: &Path) -> ExitCode {
    let config = match check::load(file) {
        Ok(config) => config,
        Err(code) => return code,
    };
    start_log(config.log);
    match app::run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::from(FAILED)
        }
    }
}

/// The program's own log goes to standard error: journald and containers collect it there.
fn start_log(log: Log) {
    let level = match log.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let log_to = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    match log.format {
        ProgramLogFormat::Text => log_to.init(),
        ProgramLogFormat::Json => log_to.json().init(),
    }
}
