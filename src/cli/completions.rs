//! `mqtt-lb completions`: shell completions, which packages ship.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Command;
use clap_complete::Shell;

use super::exit_code::FAILED;

/// Prints the completions of `command` for `shell`.
pub(super) fn completions(mut command: Command, shell: Shell) -> ExitCode {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, "mqtt-lb", &mut text);
    match io::stdout().write_all(&text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mqtt-lb completions: {error}");
            ExitCode::from(FAILED)
        }
    }
}
