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

/// Failed while running.
const FAILED: u8 = 1;
/// Bad usage or configuration; clap's own code for bad usage, too.
const BAD_CONFIG: u8 = 2;

/// Where `-c` looks when it is left out: the path that service files use.
const DEFAULT_CONFIG: &str = "/etc/mqtt-lb/config.yaml";

const FIRST_STEPS: &str = "\
First steps:
  mqtt-lb check -c config.yaml            is it right? config.yaml.example explains every key
  mqtt-lb run -c config.yaml              SIGTERM or Ctrl-C ends it
  mqtt-lb route -c config.yaml my-device  the brokers of a client ID, in order
  mqtt-lb ctl -c config.yaml status       how the running proxy is; needs `admin` in its config

Exit codes: 0 done, 1 failed while running, 2 bad usage or configuration.";

const SIGNALS: &str = "\
Signals:
  SIGTERM, SIGINT  accept no more, end the sessions over drain.timeout; the second ends at once
  SIGUSR1          open the access logs anew, after they were renamed
  SIGHUP           reload: go by the configuration as it is now, certificates included; sessions
                   stay. If anything in it is wrong, that is logged and nothing changes

The program's own messages go to standard error.";

const ROUTE_EXAMPLES: &str = "\
Examples:
  mqtt-lb route -c config.yaml my-device
  mqtt-lb route -c config.yaml --against new.yaml - < client-ids.txt

All brokers are taken for up and empty: no running proxy is asked. Those of a pool with discover
are looked up in DNS.";

const CTL_EXAMPLES: &str = "\
Examples:
  mqtt-lb ctl status
  mqtt-lb ctl sessions --client-id my-device
  mqtt-lb ctl drain broker-1
  mqtt-lb ctl --admin http://10.0.0.1:9883 --token-file admin.token upstreams --json

Exit codes: 0 done, 1 the proxy cannot be reached or says no, 2 bad usage or configuration.";

/// A load balancer for MQTT: every client finds its own broker again.
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
    /// Check a configuration, files it names included: silent when it is good, but for a warning
    /// of limits that the descriptors do not allow.
    #[command(override_usage = "mqtt-lb check [-c FILE]")]
    Check(ConfigFile),
    /// Show the brokers that a client ID belongs to, in the order they would be tried.
    #[command(after_help = ROUTE_EXAMPLES)]
    Route(route::RouteArgs),
    /// Print completions for a shell, such as `mqtt-lb completions bash`.
    Completions { shell: Shell },
    /// Write the manual's pages to a folder, such as `mqtt-lb man /usr/local/share/man/man1`.
    Man {
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
    },
    /// Print the OpenAPI document of the admin API.
    Openapi,
    /// Ask and steer a running proxy, by way of its `admin` listener.
    #[command(after_help = CTL_EXAMPLES)]
    Ctl(ctl::CtlArgs),
}

#[derive(Args, Debug)]
struct ConfigFile {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
}

/// Runs the command that the arguments name.
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
