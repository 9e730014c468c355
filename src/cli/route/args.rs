//! The arguments of `mqtt-lb route`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::{client_args::ClientArgs, config_file::ConfigFile};

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
    #[command(flatten)]
    pub(super) client: ClientArgs,
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
