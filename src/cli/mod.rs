//! The command line.

mod check;
mod route;
mod run;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

/// Failed while running.
const FAILED: u8 = 1;
/// Bad usage or configuration; clap's own code for bad usage, too.
const BAD_CONFIG: u8 = 2;

/// A load balancer for MQTT: every client finds its own broker again.
#[derive(Debug, Parser)]
#[command(name = "mqtt-lb", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy.
    Run(ConfigFile),
    /// Check a configuration, files it names included: silent when it is good.
    Check(ConfigFile),
    /// Show which broker a client ID belongs to.
    Route(route::RouteArgs),
}

#[derive(Args, Debug)]
struct ConfigFile {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", default_value = "/etc/mqtt-lb/config.yaml")]
    config: PathBuf,
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(file) => run::run(&file.config),
        Command::Check(file) => check::check(&file.config),
        Command::Route(args) => route::route(&args),
    }
}
