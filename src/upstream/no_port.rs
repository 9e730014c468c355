//! The error when no local port is left from which to dial a broker.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// No local address has a free port towards a broker.
#[derive(Debug)]
pub(crate) struct NoPort {
    pub(crate) pool: Arc<str>,
    pub(crate) to: SocketAddr,
    /// Configured addresses without a free port.
    pub(crate) full: Vec<IpAddr>,
    /// Configured addresses that this host does not have.
    pub(crate) foreign: Vec<IpAddr>,
}

impl fmt::Display for NoPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pool, to, full, foreign } = self;
        if full.is_empty() && !foreign.is_empty() {
            return write!(
                f,
                "no local address to reach {to} from: this host does not have {}; correct \
                 source_addresses of pool {pool}",
                AddressList(foreign)
            );
        }
        write!(f, "no local port left to reach {to}")?;
        if !full.is_empty() {
            write!(f, " from {}", AddressList(full))?;
        }
        if !foreign.is_empty() {
            write!(f, " (and this host does not have {})", AddressList(foreign))?;
        }
        write!(
            f,
            ": add addresses to source_addresses of pool {pool}, or widen \
             net.ipv4.ip_local_port_range"
        )
    }
}

impl std::error::Error for NoPort {}

/// Shows addresses as "10.0.0.2, 10.0.0.3".
struct AddressList<'a>(&'a [IpAddr]);

impl fmt::Display for AddressList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, address) in self.0.iter().enumerate() {
            write!(f, "{}{address}", if n == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}
