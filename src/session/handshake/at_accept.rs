//! Floods: connections that are closed before they cost a task, a buffer or a record.
//!
//! A closed connection is always counted. Its line in the access log is written as far as
//! [`FloodLog`](crate::session::flood_log::FloodLog) allows, so that a flood does not fill the log.

use std::os::fd::OwnedFd;

use crate::{
    labels::{EndBy, EndPhase, Event},
    limits::AddressRefusal,
    net::{PeerAddress, reset},
    session::{
        accept_context::AcceptContext, ban_log::log_ban, context::WorkerContext, record::Record,
        reject::Rejection,
    },
};

/// Counts a new connection by its address, unless a proxy in front names the client later. One that
/// is refused is reset, and `None` returned.
pub(crate) fn admit_at_accept(
    context: &WorkerContext,
    accepted: &AcceptContext,
    fd: OwnedFd,
    peer: PeerAddress,
) -> Option<OwnedFd> {
    let Some(ip) = peer.ip().filter(|ip| !accepted.settings.is_from_proxy(Some(*ip))) else {
        return Some(fd);
    };
    match context.limiter.rates.admit(ip, context.reactor.now()) {
        Ok(()) => Some(fd),
        Err(refusal) => {
            // A reset leaves no socket in TIME_WAIT, and needs no answer of the peer.
            reset(fd);
            refuse(context, accepted, peer, refusal);
            None
        }
    }
}

fn refuse(
    context: &WorkerContext,
    accepted: &AcceptContext,
    peer: PeerAddress,
    refusal: AddressRefusal,
) {
    let unlogged = context.flood_log.admit(context.seconds());
    let has_ban = matches!(refusal, AddressRefusal::Handshakes(Some(_)));
    if unlogged.is_none() && !has_ban {
        let cause = refusal.cause();
        accepted.listener.metrics.connections_total.inc();
        context.metrics().count_end(EndBy::Proxy, EndPhase::Handshake, cause);
        return context.metrics().count_reject(cause.as_str());
    }
    let record = Record::new(&context.recorder, accepted.listener.clone(), peer);
    if let AddressRefusal::Handshakes(Some(ban)) = &refusal {
        log_ban(&record, ban);
    }
    let Rejection { end, .. } = Rejection::from(refusal);
    match unlogged {
        Some(unlogged) => record.end(Event::Reject, (0, 0), end.after_unlogged(unlogged)),
        None => record.end_unlogged(&end),
    }
}
