//! The arguments of `ctl` and of its commands.

use std::net::IpAddr;

use clap::{Args, Subcommand};

use super::target::TargetArgs;
use crate::api::Weight;

#[derive(Args, Debug)]
pub(in crate::cli) struct CtlArgs {
    #[command(flatten)]
    pub(super) target: TargetArgs,
    /// Print what the API says, as JSON.
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// The proxy as a whole: its listeners, its limits, how connections end.
    Status,
    /// The brokers, and how they are.
    Upstreams {
        /// Only those of this pool.
        #[arg(long, value_name = "NAME")]
        pool: Option<String>,
    },
    /// Give a broker no new sessions; those that it has stay, unless the pool has `rebalance`.
    Drain(Broker),
    /// Give a broker sessions again.
    Ready(Broker),
    /// Take a broker for down: what becomes of its sessions is the pool's `on_down`.
    Down(Broker),
    /// Have a broker weigh so much until its weight in the configuration changes, or `default` is
    /// set.
    Weight {
        #[command(flatten)]
        broker: Broker,
        /// From 1 to 65535, or `default` for the configured one.
        #[arg(value_name = "N", value_parser = weight)]
        weight: Weight,
    },
    /// Who is connected, and where.
    Sessions(Sessions),
    /// End a session, by the ID that the log and `sessions` show.
    Kick {
        /// 16 hexadecimal digits.
        #[arg(value_name = "SESSION")]
        id: String,
    },
    /// Read the configuration again. What is wrong with it is said, and then nothing changes.
    Reload,
    /// Where a client would go now, and where it is.
    Route(Route),
    /// The last lines of the program's log.
    Log,
    /// Whether the proxy takes sessions: 0 when it does, 1 otherwise. For health checks; needs no
    /// token.
    Health,
}

#[derive(Args, Debug)]
pub(super) struct Broker {
    /// The broker's name.
    pub(super) name: String,
    /// Its pool, where several have a broker of that name.
    #[arg(long, value_name = "NAME")]
    pub(super) pool: Option<String>,
}

fn weight(text: &str) -> Result<Weight, &'static str> {
    match text.parse() {
        _ if text == "default" => Ok(Weight(None)),
        Ok(weight) => Ok(Weight(Some(weight))),
        Err(_) => Err("allowed: 1 to 65535, or default"),
    }
}

#[derive(Args, Debug)]
pub(super) struct Sessions {
    /// Those of this client ID.
    #[arg(long, value_name = "ID")]
    pub(super) client_id: Option<String>,
    /// Those of this username.
    #[arg(long, value_name = "NAME")]
    pub(super) username: Option<String>,
    /// Those on this broker.
    #[arg(long, value_name = "NAME")]
    pub(super) upstream: Option<String>,
    /// Those that came through this listener.
    #[arg(long, value_name = "NAME")]
    pub(super) listener: Option<String>,
    /// Those of this pool.
    #[arg(long, value_name = "NAME")]
    pub(super) pool: Option<String>,
    /// All of them, not the first 100. JSON then has a line for each page.
    #[arg(long)]
    pub(super) all: bool,
}

#[derive(Args, Debug)]
pub(super) struct Route {
    /// The client ID.
    pub(super) client_id: String,
    /// Its username, where the key uses it.
    #[arg(long, value_name = "NAME")]
    pub(super) username: Option<String>,
    /// Its address, where the key uses it.
    #[arg(long, value_name = "IP")]
    pub(super) source: Option<IpAddr>,
    /// The common name of its certificate, where the key uses it.
    #[arg(long, value_name = "NAME")]
    pub(super) tls_cn: Option<String>,
    /// The host that it asks for in TLS, where the key uses it.
    #[arg(long, value_name = "HOST")]
    pub(super) sni: Option<String>,
    /// Only in this pool.
    #[arg(long, value_name = "NAME")]
    pub(super) pool: Option<String>,
}
