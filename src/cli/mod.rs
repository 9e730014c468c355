//! The command line.

mod check;
mod client_ids;
mod ctl;
mod log;
mod manual;
mod openapi;
mod route;
mod run;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

/// Exit code: failed while running.
const FAILED: u8 = 1;
/// Exit code: bad usage or configuration; clap's code for bad usage too.
const BAD_CONFIG: u8 = 2;

/// The default of `-c`: the path that service files use.
const DEFAULT_CONFIG: &str = "/etc/mqtt-lb/config.yaml";

const FIRST_STEPS: &str = "\
First steps:
  mqtt-lb check -c config.yaml            check it; config.yaml.example explains every key
  mqtt-lb run -c config.yaml              SIGTERM or Ctrl-C stops it
  mqtt-lb route -c config.yaml my-device  the brokers of a client ID, in order
  mqtt-lb ctl -c config.yaml status       the running proxy's state; needs `admin` in its config

Exit codes: 0 done, 1 failed while running, 2 bad usage or configuration.";

const SIGNALS: &str = "\
Signals:
  SIGTERM, SIGINT  stop accepting, end the sessions over drain.timeout; again: end them at once
  SIGUSR1          reopen the access logs, after they were renamed
  SIGHUP           reload the configuration, certificates included; sessions stay. If anything
                   is wrong with it, that is logged and nothing changes

The program log goes to standard error.";

const ROUTE_EXAMPLES: &str = "\
Examples:
  mqtt-lb route -c config.yaml my-device
  mqtt-lb route -c config.yaml --against new.yaml - < client-ids.txt

All brokers count as up and empty: no running proxy is asked. The brokers of a pool with
`discover` are looked up in DNS.";

const CTL_EXAMPLES: &str = "\
Examples:
  mqtt-lb ctl status
  mqtt-lb ctl sessions --client-id my-device
  mqtt-lb ctl drain broker-1
  mqtt-lb ctl --admin http://10.0.0.1:9883 --token-file admin.token upstreams --json

Exit codes: 0 done, 1 the proxy cannot be reached or refuses, 2 bad usage or configuration.";

/// A load balancer for MQTT: every client finds its broker again.
#[derive(Debug, Parser)]
#[command(name = "mqtt-lb", version, arg_required_else_help = true, after_help = FIRST_STEPS)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy.
    #[command(override_usage = "mqtt-lb run [-c FILE]", after_help = SIGNALS)]
    Run(ConfigFile),
    /// Check a configuration and the files it names. Prints faults, and warnings of likely
    /// mistakes; nothing if there are none.
    #[command(override_usage = "mqtt-lb check [-c FILE]")]
    Check(ConfigFile),
    /// Show the brokers of a client ID, in the order they would be tried.
    #[command(after_help = ROUTE_EXAMPLES)]
    Route(route::RouteArgs),
    /// Print completions for a shell: `mqtt-lb completions bash`.
    Completions { shell: Shell },
    /// Write the manual's pages to a folder, such as `mqtt-lb man /usr/local/share/man/man1`.
    Man {
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
    },
    /// Print the OpenAPI document of the admin API.
    Openapi,
    /// Inspect and control a running proxy through its `admin` listener.
    #[command(after_help = CTL_EXAMPLES)]
    Ctl(ctl::CtlArgs),
}

#[derive(Args, Debug)]
struct ConfigFile {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
}

/// Runs the command in the arguments.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(file) => run::run(&file.config),
        Command::Check(file) => check::check(&file.config),
        Command::Route(args) => route::route(&args),
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { folder } => manual::man(&folder),
        Command::Openapi => openapi::print(),
        Command::Ctl(args) => ctl::ctl(&args),
    }
}
