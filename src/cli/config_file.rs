//! The argument that names the configuration file.

use std::path::PathBuf;

use clap::Args;

/// The default of `-c`: the path that service files use.
pub(super) const DEFAULT_CONFIG: &str = "/etc/mqtt-lb/config.yaml";

#[derive(Args, Debug)]
pub(super) struct ConfigFile {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub(super) config: PathBuf,
}
