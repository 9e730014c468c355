//! `mqtt-lb check`: every fault of a configuration, and what is likely a mistake, a line each.

use std::{
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
};

use clap::Args;

use super::{
    config_file::{ConfigFile, DEFAULT_CONFIG},
    exit_code::{BAD_CONFIG, FAILED},
};
use crate::{config::Config, control, escape::plain};

#[derive(Args, Debug)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    file: ConfigFile,
    /// Print the configuration as YAML, with every default filled in. Secrets are only in it as the
    /// names of their files, and environment variables as they are written.
    #[arg(long)]
    print: bool,
}

pub(super) fn check(args: &CheckArgs) -> ExitCode {
    let file = &*args.file.config;
    match load(file) {
        Ok(config) => {
            // The service may have other limits than this shell, so these are only warnings.
            let of_limits = control::descriptor_warnings(&config);
            let of_files =
                [control::expiry_warnings(&config), control::staple_warnings(&config)].concat();
            for warning in config.warnings().into_iter().chain(of_files).chain(of_limits) {
                eprintln!("{}: warning: {warning}", file.display());
            }
            if args.print {
                return print(config.effective());
            }
            ExitCode::SUCCESS
        }
        Err(code) => code,
    }
}

/// Writes to standard output, whose reader may close it early.
pub(super) fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("mqtt-lb: cannot write to standard output: {error}");
            ExitCode::from(FAILED)
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Reads the configuration, or prints its faults.
pub(super) fn load(file: &Path) -> Result<Config, ExitCode> {
    Config::load(file).map_err(|faults| {
        // Each fault is one line, whatever texts the file contains.
        faults.iter().for_each(|fault| eprintln!("{}", plain(&fault.to_string())));
        if file == Path::new(DEFAULT_CONFIG) && !file.exists() {
            eprintln!("mqtt-lb: no configuration there yet; name another with -c FILE");
        }
        ExitCode::from(BAD_CONFIG)
    })
}
