//! The arguments about a client of `route` and `ctl route`.

use std::net::IpAddr;

use clap::Args;

use super::protocol_level::protocol_level;
use crate::template::GivenVariable;

/// What is known about a client besides its ID.
#[derive(Args, Debug)]
pub(super) struct ClientArgs {
    /// The client's username, if the key or a rule has it.
    #[arg(long, value_name = "NAME")]
    pub(super) username: Option<String>,
    /// The client's IP address, if the key or a rule has it; without it, 127.0.0.1.
    #[arg(long, value_name = "IP")]
    pub(super) source: Option<IpAddr>,
    /// The common name of the client's certificate, if the key or a rule has it.
    #[arg(long, value_name = "NAME")]
    pub(super) tls_cn: Option<String>,
    /// The server name that the client sends in TLS, if the key or a rule has it.
    #[arg(long, value_name = "HOST")]
    pub(super) sni: Option<String>,
    /// The path of the client's WebSocket request, if a rule has it.
    #[arg(long, value_name = "PATH")]
    pub(super) path: Option<String>,
    /// The client's version of MQTT, if the key or a rule has it: 3.1, 3.1.1 or 5.
    #[arg(long, value_name = "VERSION", value_parser = protocol_level)]
    pub(super) protocol_version: Option<u8>,
    /// Whether the client connects with Clean Start (Clean Session before 5.0), if a rule has it.
    #[arg(long, value_name = "BOOL")]
    pub(super) clean_start: Option<bool>,
    /// Whether the client sends a password, if a rule has it.
    #[arg(long, value_name = "BOOL")]
    pub(super) has_password: Option<bool>,
    /// Whether the client has a will message, if a rule has it.
    #[arg(long, value_name = "BOOL")]
    pub(super) will: Option<bool>,
    /// A value for another variable of the key or of a rule, such as `jwt.tenant=acme`; repeatable.
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = given_variable)]
    pub(super) variables: Vec<(String, GivenVariable)>,
}

/// The text, which the API takes as well, and its meaning.
fn given_variable(text: &str) -> Result<(String, GivenVariable), String> {
    Ok((text.to_owned(), GivenVariable::parse(text)?))
}
