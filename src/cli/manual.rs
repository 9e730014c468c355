//! `mqtt-lb completions` and `mqtt-lb man`: what packages ship beside the program.

use std::{fs, io, path::Path, process::ExitCode};

use clap::{Command, CommandFactory};
use clap_complete::Shell;

use super::{Cli, FAILED};

/// Prints the completions for `shell`.
pub(super) fn completions(shell: Shell) -> ExitCode {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "mqtt-lb", &mut text);
    match io::Write::write_all(&mut io::stdout(), &text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mqtt-lb completions: {error}");
            ExitCode::from(FAILED)
        }
    }
}

/// Writes a page for the program and one for each of its commands: mqtt-lb.1, mqtt-lb-run.1, …
pub(super) fn man(folder: &Path) -> ExitCode {
    match fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(command(), folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mqtt-lb man: {}: {error}", folder.display());
            ExitCode::from(FAILED)
        }
    }
}

/// Without `help`, whose pages would say nothing.
fn command() -> Command {
    Cli::command().disable_help_subcommand(true)
}
