//! The networks that a listener serves.

use std::net::IpAddr;

use crate::{
    labels::{EndBy, EndCause, EndPhase, Event},
    listener::ListenerSettings,
    session::{end::End, record::Record},
};

/// Ends the record of a connection whose client is known to be denied at accept. That costs no
/// registration with the reactor and no permit, so that a flood of such connections is cheap.
pub(super) fn admit(settings: &ListenerSettings, record: Record) -> Option<Record> {
    let peer = record.client_ip();
    let proxy = settings.proxy_protocol.as_ref();
    let is_header_due = || proxy.is_some_and(|rules| rules.is_from(peer));
    if settings.access.is_none() || is_header_due() || may_be_forwarded(settings, peer) {
        return Some(record);
    }
    match check(settings, &record) {
        Ok(()) => Some(record),
        Err(end) => {
            record.end(Event::Reject, (0, 0), end);
            None
        }
    }
}

/// Checks the address of the client, as far as it is known.
///
/// # Errors
/// The listener does not serve it.
pub(super) fn check(settings: &ListenerSettings, record: &Record) -> Result<(), End> {
    // A peer on a unix socket has no address if its PROXY header names none.
    let (Some(access), Some(ip)) = (&settings.access, record.client_ip()) else { return Ok(()) };
    let Some(reason) = access.denied(ip) else { return Ok(()) };
    settings.metrics.denied_total.inc();
    Err(End::new(EndBy::Proxy, EndPhase::Handshake, EndCause::Denied).with(reason))
}

/// Whether a WebSocket request may name a client other than this peer.
pub(super) fn may_be_forwarded(settings: &ListenerSettings, peer: Option<IpAddr>) -> bool {
    let websocket = settings.websocket.as_ref();
    peer.is_some_and(|ip| websocket.is_some_and(|rules| rules.forwarded_for.contains(ip)))
}
