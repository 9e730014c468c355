//! The arguments of `ctl` and its commands.

use std::net::IpAddr;

use clap::{Args, Subcommand};

use super::target::TargetArgs;
use crate::{api::Weight, cli::client_args::ClientArgs, rules::Percent};

#[derive(Args, Debug)]
pub(in crate::cli) struct CtlArgs {
    #[command(flatten)]
    pub(super) target: TargetArgs,
    /// Print the API's response, as JSON.
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(subcommand)]
    pub(super) command: CtlCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum CtlCommand {
    /// Show the proxy's state: listeners, limits, and how connections ended.
    Status,
    /// Show the brokers and their state.
    Upstreams {
        /// Only this pool's.
        #[arg(long, value_name = "NAME")]
        pool: Option<String>,
    },
    /// Give a broker no new sessions; it keeps those it has, unless the pool has `rebalance`.
    Drain(BrokerArgs),
    /// Give a broker new sessions again.
    Ready(BrokerArgs),
    /// Treat a broker as down; its pool's `on_down` decides about its sessions.
    Down(BrokerArgs),
    /// Set a broker's weight, until its weight in the configuration changes or `default` is set.
    Weight {
        #[command(flatten)]
        broker: BrokerArgs,
        /// From 1 to 65535, or `default` for the configured weight.
        #[arg(value_name = "N", value_parser = weight)]
        weight: Weight,
    },
    /// List the sessions.
    Sessions(SessionsArgs),
    /// List the client IDs that several devices use, those with the most sessions ended first.
    Duplicates,
    /// End a session, by its ID in the access log or in `sessions`.
    Kick {
        /// 16 hexadecimal digits.
        #[arg(value_name = "SESSION")]
        id: String,
    },
    /// Ban an address, a client ID or a username; its sessions end (`end_cause` is `banned`).
    Ban(BanArgs),
    /// List the bans in force, the latest first.
    Bans,
    /// End a ban before its time.
    Unban(UnbanArgs),
    /// Reload the configuration. If it is invalid, print its faults and change nothing.
    Reload,
    /// Start another process, which takes over the listening sockets and the sessions. If it fails,
    /// print why; the proxy then carries on as before.
    Upgrade {
        /// The program to start; by default the one that the proxy was started by.
        #[arg(long, value_name = "PATH")]
        binary: Option<String>,
    },
    /// Print the configuration in force as YAML, with every default filled in.
    Config,
    /// Show which broker a client would get now, and where it is connected.
    Route(RouteArgs),
    /// Show the rules of the listeners, and how their pools serve, side by side.
    Rules {
        /// Only this listener's.
        #[arg(long, value_name = "NAME")]
        listener: Option<String>,
    },
    /// Set the share of clients of a rule, until its share in the configuration changes or `--reset`.
    Rule(RuleArgs),
    /// Print the last lines of the program log.
    Log,
    /// Check whether the proxy is ready for new sessions: exit code 0 if so, else 1. Needs no
    /// token.
    Health,
}

#[derive(Args, Debug)]
pub(super) struct BrokerArgs {
    /// The broker's name.
    pub(super) name: String,
    /// Its pool; required if several pools have a broker of that name.
    #[arg(long, value_name = "NAME")]
    pub(super) pool: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct RuleArgs {
    /// The rule's name.
    pub(super) name: String,
    #[command(flatten)]
    pub(super) share: ShareArgs,
    /// Its listener; required if several listeners have a rule of that name.
    #[arg(long, value_name = "NAME")]
    pub(super) listener: Option<String>,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(super) struct ShareArgs {
    /// From 0 to 100, with up to two decimals.
    #[arg(long, value_name = "N", value_parser = percent)]
    pub(super) percent: Option<Percent>,
    /// The share of the configuration again.
    #[arg(long)]
    pub(super) reset: bool,
}

fn percent(text: &str) -> Result<Percent, &'static str> {
    text.parse().map_err(|()| "allowed: 0 to 100, with up to two decimals")
}

fn weight(text: &str) -> Result<Weight, &'static str> {
    match text.parse() {
        _ if text == "default" => Ok(Weight(None)),
        Ok(weight) => Ok(Weight(Some(weight))),
        Err(_) => Err("allowed: 1 to 65535, or default"),
    }
}

#[derive(Args, Debug)]
pub(super) struct SessionsArgs {
    /// Only this client ID's.
    #[arg(long, value_name = "ID")]
    pub(super) client_id: Option<String>,
    /// Only this username's.
    #[arg(long, value_name = "NAME")]
    pub(super) username: Option<String>,
    /// Only those that asked for this server name in TLS, also with TLS passed through.
    #[arg(long, value_name = "HOST")]
    pub(super) sni: Option<String>,
    /// Only those from this IP address.
    #[arg(long, value_name = "IP")]
    pub(super) source: Option<IpAddr>,
    /// Only those on this broker.
    #[arg(long, value_name = "NAME")]
    pub(super) upstream: Option<String>,
    /// Only this listener's.
    #[arg(long, value_name = "NAME")]
    pub(super) listener: Option<String>,
    /// Only this pool's.
    #[arg(long, value_name = "NAME")]
    pub(super) pool: Option<String>,
    /// All, not just the first 100; with --json one line per page.
    #[arg(long)]
    pub(super) all: bool,
}

#[derive(Args, Debug)]
pub(super) struct BanArgs {
    #[command(flatten)]
    pub(super) target: BanTargetArgs,
    /// How long: a whole number with s, m or h, such as 90s, 10m, 8760h.
    #[arg(long = "for", value_name = "TIME", value_parser = seconds)]
    pub(super) time: u32,
    /// Why, for the list and the access log.
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct UnbanArgs {
    #[command(flatten)]
    pub(super) target: BanTargetArgs,
    /// End all bans.
    #[arg(long, group = "ban_target")]
    pub(super) all: bool,
}

#[derive(Args, Debug)]
#[group(id = "ban_target", required = true, multiple = false)]
pub(super) struct BanTargetArgs {
    /// An address, or a network such as 10.0.0.0/8.
    #[arg(long, value_name = "IP", group = "ban_target")]
    pub(super) ip: Option<String>,
    /// A client ID, as the client sends it or as its broker is sent it.
    #[arg(long, value_name = "ID", group = "ban_target")]
    pub(super) client_id: Option<String>,
    /// A username, as the client sends it or as its broker is sent it.
    #[arg(long, value_name = "NAME", group = "ban_target")]
    pub(super) username: Option<String>,
}

impl BanTargetArgs {
    /// The kind as the API names it, and the value; `None` for `unban --all`.
    pub(super) fn kind_and_value(&self) -> Option<(&'static str, &str)> {
        let Self { ip, client_id, username } = self;
        let given = [("ip", ip), ("client_id", client_id), ("username", username)];
        given.into_iter().find_map(|(kind, value)| Some((kind, value.as_deref()?)))
    }
}

fn seconds(text: &str) -> Result<u32, &'static str> {
    const UNITS: [(char, u32); 3] = [('s', 1), ('m', 60), ('h', 3600)];
    const MAX_SECONDS: u32 = 8760 * 3600;
    let unit = UNITS.iter().find_map(|(unit, seconds)| Some((text.strip_suffix(*unit)?, seconds)));
    unit.and_then(|(number, seconds)| number.parse::<u32>().ok()?.checked_mul(*seconds))
        .filter(|seconds| (1..=MAX_SECONDS).contains(seconds))
        .ok_or("allowed: 1s to 8760h, such as 90s, 10m, 8760h")
}

#[derive(Args, Debug)]
pub(super) struct RouteArgs {
    /// The client ID.
    pub(super) client_id: String,
    #[command(flatten)]
    pub(super) client: ClientArgs,
    /// The listener that it connects to, whose rules and `rewrite` apply; without it, the answer has
    /// every pool.
    #[arg(long, value_name = "NAME", conflicts_with = "pool")]
    pub(super) listener: Option<String>,
    /// Only this pool.
    #[arg(long, value_name = "NAME")]
    pub(super) pool: Option<String>,
}
