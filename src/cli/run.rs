//! `mqtt-lb run`: the proxy.

use std::{path::Path, process::ExitCode};

use super::{check, exit_code::FAILED, log};
use crate::{control, metrics::Metrics, program_log::ProgramLog};

pub(super) fn run(file: &Path) -> ExitCode {
    let config = match check::load(file) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let (metrics, recent) = (Metrics::new(), ProgramLog::default());
    let (set_level, _flush) = match log::start(config.log, &recent, &metrics) {
        Ok(started) => started,
        Err(error) => {
            eprintln!("mqtt-lb: cannot start the log's thread: {error}");
            return ExitCode::from(FAILED);
        }
    };
    match control::run(config, file, &metrics, recent, set_level) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::from(FAILED)
        }
    }
}
