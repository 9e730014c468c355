//! The command line.

mod check;
mod client_args;
mod completions;
mod config_file;
mod ctl;
mod exit_code;
mod log;
mod man;
mod openapi;
mod pin;
mod protocol_level;
mod route;
mod run;
mod schema;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use config_file::ConfigFile;

const FIRST_STEPS: &str = "\
First steps:
  mqtt-lb check -c config.yaml            list its faults; `mqtt-lb man yaml` describes every key
  mqtt-lb run -c config.yaml              run the proxy; SIGTERM or Ctrl-C stops it
  mqtt-lb route -c config.yaml my-device  list the brokers of a client ID, in order
  mqtt-lb ctl -c config.yaml status       query the running proxy; needs `admin` in its config

Exit codes: 0 done, 1 failed while running, 2 bad usage or configuration.";

const SIGNALS: &str = "\
Signals:
  SIGTERM, SIGINT  stop: end the sessions over drain.timeout; a second signal ends at once
  SIGUSR1          reopen the access logs, after they were renamed
  SIGHUP           reload the configuration and the certificates it names; sessions stay. Faults
                   are logged, and then nothing changes. Files that it names are also read without
                   it when they change, unless `watch` is false
  SIGUSR2          upgrade: start the program again and hand everything over, sessions included

The program log goes to standard error.";

const ROUTE_EXAMPLES: &str = "\
Examples:
  mqtt-lb route -c config.yaml my-device
  mqtt-lb route -c config.yaml --listener mqtts --username anna my-device
  mqtt-lb route -c config.yaml --against new.yaml - < client-ids.txt

No running proxy is asked: all brokers are assumed up and empty. Brokers of a pool with `discover`
are resolved by DNS.";

const CTL_EXAMPLES: &str = "\
Examples:
  mqtt-lb ctl status
  mqtt-lb ctl sessions --client-id my-device
  mqtt-lb ctl drain broker-1
  mqtt-lb ctl rule canary --percent 20
  mqtt-lb ctl --admin http://10.0.0.1:9883 --token-file admin.token upstreams --json

Exit codes: 0 done, 1 proxy unreachable or request refused, 2 bad usage or configuration.";

/// A layer-4 load balancer for MQTT: every client reaches the broker that has its session.
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
    /// Check a configuration and the files it names: list all faults and warnings.
    #[command(override_usage = "mqtt-lb check [-c FILE] [--print]")]
    Check(check::CheckArgs),
    /// Print the JSON schema of a configuration, for editors.
    Schema,
    /// List the brokers of a client ID, in the order in which they would be tried.
    #[command(after_help = ROUTE_EXAMPLES)]
    Route(route::RouteArgs),
    /// Print the fingerprints of the certificate that a broker presents, for `tls.pin` of its pool.
    Pin(pin::PinArgs),
    /// Print shell completions, such as `mqtt-lb completions bash`.
    Completions { shell: Shell },
    /// Print a manual page as roff, such as `mqtt-lb man ops | man -l -`.
    Man(man::ManArgs),
    /// Print the OpenAPI document of the admin API.
    Openapi,
    /// Query and control a running proxy through its `admin` listener.
    #[command(after_help = CTL_EXAMPLES)]
    Ctl(ctl::CtlArgs),
}

/// Runs the command in the arguments.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(file) => run::run(&file.config),
        Command::Check(args) => check::check(&args),
        Command::Schema => schema::schema(),
        Command::Route(args) => route::route(&args),
        Command::Pin(args) => pin::pin(&args),
        Command::Completions { shell } => completions::completions(Cli::command(), shell),
        Command::Man(args) => man::man(Cli::command(), &args),
        Command::Openapi => openapi::print(),
        Command::Ctl(args) => ctl::ctl(&args),
    }
}
