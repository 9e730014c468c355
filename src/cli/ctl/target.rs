//! The proxy to query, and the token for it.

use std::{
    env, fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow, bail, ensure};
use clap::Args;
use hyper::Uri;

use crate::{
    cli::config_file::DEFAULT_CONFIG,
    config::{Admin, Bind},
};

/// The environment variable for the token.
const TOKEN_VARIABLE: &str = "MQTT_LB_TOKEN";

#[derive(Args, Debug)]
pub(super) struct TargetArgs {
    /// The proxy's configuration file: its `admin` has the address and the token [default:
    /// /etc/mqtt-lb/config.yaml].
    #[arg(short, long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// The address of the admin listener, instead of a configuration: http://HOST:PORT or
    /// unix:PATH.
    #[arg(long, value_name = "URL", global = true, conflicts_with = "config")]
    admin: Option<String>,
    /// A file with the bearer token, instead of `MQTT_LB_TOKEN` or the configuration's
    /// `admin.token_file`.
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,
}

/// The address of an admin listener.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AdminAddress {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

pub(super) struct CtlTarget {
    pub(super) address: AdminAddress,
    pub(super) token: Option<BearerToken>,
}

/// A bearer token and its source, for errors.
pub(super) struct BearerToken {
    pub(super) text: String,
    pub(super) from: String,
}

impl TargetArgs {
    /// The target according to the arguments, the environment and the configuration, in this order.
    /// `with_token`: also read a token.
    ///
    /// # Errors
    /// If an argument, a file or the variable is invalid, or none of them has the address.
    pub(super) fn target(&self, with_token: bool) -> anyhow::Result<CtlTarget> {
        let token = if with_token { self.token()? } else { None };
        if let Some(url) = &self.admin {
            return Ok(CtlTarget { address: AdminAddress::parse(url)?, token });
        }
        let file = self.config.as_deref().unwrap_or(Path::new(DEFAULT_CONFIG));
        let admin = Admin::load(file, with_token && token.is_none()).map_err(|faults| {
            anyhow!("{faults}\nname its configuration with -c, or its address with --admin")
        })?;
        let admin = admin.ok_or_else(|| {
            anyhow!("{} has no `admin`: that proxy has no admin listener", file.display())
        })?;
        let from_file = admin.token.map(|token| {
            let from = format!("admin.token_file of {}", file.display());
            BearerToken { text: token.reveal().to_owned(), from }
        });
        Ok(CtlTarget { address: AdminAddress::of(&admin.bind)?, token: token.or(from_file) })
    }

    fn token(&self) -> anyhow::Result<Option<BearerToken>> {
        let token = match (&self.token_file, env::var(TOKEN_VARIABLE)) {
            (Some(file), _) => {
                let from = file.display().to_string();
                let text = fs::read_to_string(file)
                    .with_context(|| format!("cannot read --token-file {from}"))?;
                BearerToken { text: text.trim_ascii_end().to_owned(), from }
            }
            (None, Ok(text)) => BearerToken { text, from: TOKEN_VARIABLE.to_owned() },
            (None, Err(env::VarError::NotPresent)) => return Ok(None),
            (None, Err(error)) => bail!("{TOKEN_VARIABLE}: {error}"),
        };
        let is_token = !token.text.is_empty() && token.text.bytes().all(|b| b.is_ascii_graphic());
        ensure!(is_token, "invalid token in {}; allowed: visible ASCII characters", token.from);
        Ok(Some(token))
    }
}

impl AdminAddress {
    fn parse(url: &str) -> anyhow::Result<Self> {
        if let Some(path) = url.strip_prefix("unix:") {
            ensure!(!path.is_empty(), "--admin {url}: the path is missing");
            return Ok(Self::Unix(path.into()));
        }
        let wrong = || format!("invalid --admin {url}; allowed: http://HOST:PORT, unix:PATH");
        ensure!(!url.starts_with("https:"), "{}; the admin listener does not use TLS", wrong());
        let uri: Uri = url.parse().with_context(wrong)?;
        ensure!(uri.scheme_str().is_none_or(|scheme| scheme == "http"), wrong());
        ensure!(matches!(uri.path(), "" | "/") && uri.query().is_none(), wrong());
        let host = uri.host().filter(|host| !host.is_empty()).with_context(wrong)?;
        let names_a_port = uri.authority().is_some_and(|authority| authority.as_str() != host);
        let default = uri.scheme().filter(|_| !names_a_port).map(|_| 80);
        let port = uri.port_u16().or(default).with_context(wrong)?;
        Ok(Self::Tcp { host: host.trim_matches(['[', ']']).to_owned(), port })
    }

    /// A listener on all addresses is reached through a loopback address.
    fn of(bind: &Bind) -> anyhow::Result<Self> {
        let address = match bind {
            Bind::Unix(path) => return Ok(Self::Unix(path.clone())),
            Bind::Tcp(address) => *address,
        };
        ensure!(
            address.port() != 0,
            "admin.bind has port 0: pass the address with its port by --admin"
        );
        let host: IpAddr = match address {
            SocketAddr::V4(v4) if v4.ip().is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(v6) if v6.ip().is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            other => other.ip(),
        };
        Ok(Self::Tcp { host: host.to_string(), port: address.port() })
    }

    /// The value of the `Host` header.
    pub(super) fn host(&self) -> String {
        match self {
            Self::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tcp { host, port } => format!("{host}:{port}"),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }
}

impl std::fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { .. } => f.write_str(&self.host()),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let tcp = |host: &str, port| AdminAddress::Tcp { host: host.to_owned(), port };
        for (url, address) in [
            ("http://127.0.0.1:9883", tcp("127.0.0.1", 9883)),
            ("http://[::1]:9883/", tcp("::1", 9883)),
            ("proxy.example:9883", tcp("proxy.example", 9883)),
            ("http://proxy.example", tcp("proxy.example", 80)),
            ("unix:/run/a b.sock", AdminAddress::Unix("/run/a b.sock".into())),
        ] {
            assert_eq!(AdminAddress::parse(url).unwrap(), address, "{url}");
        }
        for url in
            ["", "unix:", "https://x:1", "ftp://x:1", "x", "http://x:1/api", "http://x:99999"]
        {
            assert!(AdminAddress::parse(url).is_err(), "{url}");
        }
        let of =
            |bind: &str| AdminAddress::of(&Bind::Tcp(bind.parse().unwrap())).unwrap().to_string();
        assert_eq!(of("0.0.0.0:9883"), "127.0.0.1:9883");
        assert_eq!(of("[::]:9883"), "[::1]:9883");
        assert_eq!(of("10.0.0.1:9883"), "10.0.0.1:9883");
    }
}
