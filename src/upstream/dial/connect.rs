//! Starting a connection to a broker, for both sessions and checks: a firewall may allow only the
//! configured local addresses.

use std::{net::SocketAddr, os::fd::OwnedFd, sync::Arc, time::Instant};

use super::error::DialError;
use crate::{
    net::{ConnectError, start_connect},
    upstream::{broker::Endpoint, local_addresses::LocalAddress},
};

/// Starts connecting to `to` from the first of the broker's local addresses that has a free port,
/// without waiting for the connection.
///
/// # Errors
/// If no local address can be used, or the connection fails at once.
pub(crate) fn connect_from_local(
    endpoint: &Endpoint,
    to: SocketAddr,
    now: Instant,
) -> Result<(OwnedFd, &Arc<LocalAddress>), DialError> {
    let local = &endpoint.local_addresses;
    for source in local.in_turn(to).filter(|source| local.may_have_ports(source, now)) {
        match start_connect(source.address, to) {
            Ok(socket) => return Ok((socket, source)),
            Err(ConnectError::NoPort) => local.set_full(source, now),
            Err(error) => source.record_error(error).map_err(DialError::Failed)?,
        }
    }
    Err(DialError::NoPort(Box::new(local.exhausted(to))))
}
