//! Starting a connection to a broker.

use std::{net::SocketAddr, rc::Rc};

use super::{error::DialError, sources::Port};
use crate::{
    net::{ConnectError, Reactor, Socket},
    upstream::broker::Endpoint,
};

/// Starts connecting from the first of the broker's local addresses that has a port left.
pub(in crate::upstream) fn connect(
    reactor: &Rc<Reactor>,
    endpoint: &Endpoint,
    to: SocketAddr,
) -> Result<(Socket, Port), DialError> {
    let (sources, now) = (&endpoint.sources, reactor.now());
    for source in sources.in_turn(to).filter(|source| sources.may_have_ports(source, now)) {
        match Socket::connect(reactor, source.address, to) {
            Ok(socket) => return Ok((socket, Port::at(source))),
            Err(ConnectError::NoPort) => sources.set_full(source, now),
            Err(error) => source.pass_over(error)?,
        }
    }
    Err(sources.exhausted(to))
}
