//! The arguments of `mqtt-lb route`.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
};

use clap::Args;

use crate::{
    cli::{config_file::ConfigFile, protocol_level::protocol_level},
    template::Variable,
};

#[derive(Args, Debug)]
pub(in crate::cli) struct RouteArgs {
    #[command(flatten)]
    pub(super) file: ConfigFile,
    /// The listener that the clients connect to, whose rules and `rewrite` apply: the only one, if
    /// there is one. With several, it is required, unless --pool is given or there is one pool and
    /// no rule.
    #[arg(long, value_name = "NAME", conflicts_with = "pool")]
    pub(super) listener: Option<String>,
    /// The pool, whatever the rules of listeners say.
    #[arg(long, value_name = "NAME")]
    pub(super) pool: Option<String>,
    /// The clients' username, if the key or a rule has it.
    #[arg(long, value_name = "NAME")]
    pub(super) username: Option<String>,
    /// The clients' IP address, if the key or a rule has it.
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub(super) source: IpAddr,
    /// The common name of the clients' certificate, if the key or a rule has it.
    #[arg(long, value_name = "NAME")]
    pub(super) tls_cn: Option<String>,
    /// The server name that the clients send in TLS, if the key or a rule has it.
    #[arg(long, value_name = "HOST")]
    pub(super) sni: Option<String>,
    /// The path of the clients' WebSocket request, if a rule has it.
    #[arg(long, value_name = "PATH")]
    pub(super) path: Option<String>,
    /// The clients' version of MQTT, if the key or a rule has it: 3.1, 3.1.1 or 5.
    #[arg(long, value_name = "VERSION", value_parser = protocol_level)]
    pub(super) protocol_version: Option<u8>,
    /// Whether the clients connect with Clean Start (Clean Session before 5.0), if a rule has it.
    #[arg(long, value_name = "BOOL")]
    pub(super) clean_start: Option<bool>,
    /// Whether the clients send a password, if a rule has it.
    #[arg(long, value_name = "BOOL")]
    pub(super) has_password: Option<bool>,
    /// Whether the clients have a will message, if a rule has it.
    #[arg(long, value_name = "BOOL")]
    pub(super) will: Option<bool>,
    /// A value for another variable of the key or of a rule, such as `jwt.tenant=acme`; repeatable.
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = variable)]
    pub(super) variables: Vec<(Variable, String)>,
    /// Another configuration: print how many of the IDs would move, and between which brokers.
    #[arg(long, value_name = "FILE")]
    pub(super) against: Option<PathBuf>,
    /// Print JSON: an object per client ID; with --against one for all.
    #[arg(long)]
    pub(super) json: bool,
    /// Client IDs, as clients send them; `-` reads them from standard input, one per line.
    #[arg(required = true, value_name = "ID")]
    pub(super) ids: Vec<String>,
}

/// Parses `NAME=VALUE`.
fn variable(text: &str) -> Result<(Variable, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    let variable = name.parse::<Variable>().map_err(|error| error.to_string())?;
    Ok((variable, value.to_owned()))
}
