//! What an operator is told when there is no local port to dial from.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// No local address of this host has a port left for a broker.
#[derive(Debug)]
pub struct NoPort {
    pub(in crate::upstream) pool: Arc<str>,
    pub(in crate::upstream) to: SocketAddr,
    /// The configured addresses whose ports are all taken.
    pub(in crate::upstream) full: Vec<IpAddr>,
    /// Those that this host does not have.
    pub(in crate::upstream) elsewhere: Vec<IpAddr>,
}

impl fmt::Display for NoPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pool, to, full, elsewhere } = self;
        if full.is_empty() && !elsewhere.is_empty() {
            return write!(
                f,
                "no local address to reach {to} from, as this host has none of {}: correct \
                 source_addresses of pool {pool}",
                List(elsewhere)
            );
        }
        write!(f, "no local port left to reach {to}")?;
        if !full.is_empty() {
            write!(f, " from {}", List(full))?;
        }
        if !elsewhere.is_empty() {
            write!(f, " (and this host does not have {})", List(elsewhere))?;
        }
        write!(
            f,
            ": add addresses to source_addresses of pool {pool}, or widen \
             net.ipv4.ip_local_port_range"
        )
    }
}

impl std::error::Error for NoPort {}

/// Addresses, as "10.0.0.2, 10.0.0.3".
struct List<'a>(&'a [IpAddr]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, address) in self.0.iter().enumerate() {
            write!(f, "{}{address}", if n == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}
