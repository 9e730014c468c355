//! `mqtt-lb check`: every fault of a configuration, and what is likely a mistake, a line each.

use std::{path::Path, process::ExitCode};

use super::{BAD_CONFIG, DEFAULT_CONFIG};
use crate::{config::Config, control, escape::plain};

pub(super) fn check(file: &Path) -> ExitCode {
    match load(file) {
        Ok(config) => {
            // The service may have other limits than this shell, so these are no faults.
            for warning in
                config.warnings().into_iter().chain(control::descriptor_warnings(&config))
            {
                eprintln!("{}: warning: {warning}", file.display());
            }
            ExitCode::SUCCESS
        }
        Err(code) => code,
    }
}

/// Reads the configuration, or says what is wrong with it.
pub(super) fn load(file: &Path) -> Result<Config, ExitCode> {
    Config::load(file).map_err(|faults| {
        // Each is one line, whatever the file has in its texts.
        faults.iter().for_each(|fault| eprintln!("{}", plain(&fault.to_string())));
        if file == Path::new(DEFAULT_CONFIG) && !file.exists() {
            eprintln!("mqtt-lb: no configuration there yet; name another with -c FILE");
        }
        ExitCode::from(BAD_CONFIG)
    })
}
