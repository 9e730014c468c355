//! From accept to CONNACK: unwrap the transport, read the CONNECT, find a broker, start the relay.
//! Or to the relay of TLS that is passed through, after its ClientHello.

mod access;
mod at_accept;
mod client_hello;
mod client_rates;
mod connect;
mod establish;
mod incomplete;
mod limits;
mod passthrough;
mod proxy_header;
mod quotas;
mod tls;
mod transport;
mod websocket;
mod wrong_protocol;

use std::{os::fd::OwnedFd, rc::Rc};

use super::{
    accept_context::AcceptContext,
    broker_search::{Opening, find_broker},
    context::WorkerContext,
    destination::{apply_rules, note_outdated_rules, rules_version},
    end::End,
    identity,
    panics::panic_if_requested,
    pending::PendingClient,
    record::Record,
    reject::{Rejection, reject},
};
use crate::{
    labels::{EndBy, EndPhase},
    limits::{ConnectionLimit, ConnectionPermit},
    net::{PeerAddress, Socket, Stream},
};
pub(crate) use at_accept::admit_at_accept;
use establish::{RelayStart, pass_answer, start_relay};

/// Serves a connection from accept until it ends or its relay starts in a task of its own.
pub(crate) async fn serve(
    context: Rc<WorkerContext>,
    accepted: Rc<AcceptContext>,
    fd: OwnedFd,
    peer: PeerAddress,
) {
    let record = Record::new(&context.recorder, accepted.listener.clone(), peer);
    let Some(record) = access::admit(&accepted.settings, record) else { return };
    let stream = match Socket::accepted(&context.reactor, fd) {
        Ok(socket) => Stream::new(socket),
        Err(error) => {
            let end = End::failed(EndBy::Proxy, EndPhase::Handshake, &error);
            return Box::pin(reject(&context, None, record, end.into())).await;
        }
    };
    let mut permit = match ConnectionPermit::enter(&context.limiter) {
        Ok(permit) => permit,
        Err(over) => return Box::pin(reject(&context, Some(stream), record, over.into())).await,
    };
    let buffer = context.take_buffer();
    let replaced = Vec::new();
    let mut client =
        PendingClient { context: &context, stream, record, buffer, rewritten: (0, 0), replaced };
    let outcome = handshake(&mut client, &accepted, &mut permit).await;
    let received = client.received_bytes();
    let PendingClient { stream, mut record, buffer, replaced, .. } = client;
    record.read = record.read.saturating_add(received as u32);
    context.give_back_buffer(buffer);
    let has_bad_credentials = match &outcome {
        Ok(_) => client_rates::is_refused_by_broker(&record),
        Err(rejection) => client_rates::has_bad_credentials(&record, rejection),
    };
    if has_bad_credentials {
        client_rates::count_bad_credentials(&context, &record, &permit);
    }
    match outcome {
        Ok(start) => start_relay(&context, stream, record, permit, start, replaced),
        Err(rejection) => {
            permit.leave_quotas();
            // Boxed, as it would otherwise enlarge every handshake.
            Box::pin(reject(&context, Some(stream), record, rejection)).await;
        }
    }
}

/// The handshake, from the first byte until the broker's CONNACK has been sent to the client.
async fn handshake(
    client: &mut PendingClient<'_>,
    accepted: &AcceptContext,
    permit: &mut ConnectionPermit,
) -> Result<RelayStart, Rejection> {
    let settings = &*accepted.settings;
    if settings.is_plain() {
        permit.identify(client.record.client_ip())?;
    } else {
        // Boxed, as plain handshakes do not need it.
        let unwrapped = Box::pin(transport::unwrap(client, settings, permit)).await;
        unwrapped.map_err(|rejection| *rejection)?;
        if settings.passes_tls_through() {
            return Box::pin(passthrough::connect(client, accepted, permit)).await;
        }
    }
    let connect = connect::read(client, settings).await?;
    client.record.set_connect(&connect, &client.buffer);
    identity::forget_token(client, settings);
    panic_if_requested(&client.record, "handshake");
    client.check_bans()?;
    // Limits precede the client's identity, which costs more. Only a client at the limit of its
    // address is identified first, as it may replace a session of its own.
    let is_at_address_limit = match permit.check() {
        Ok(()) => false,
        Err(ConnectionLimit::ConnectionsPerIp) => true,
        Err(limit) => return Err(limits::refuse(client, limit)),
    };
    let connect = if identity::is_needed(client, settings, &connect) {
        // Boxed, as plain handshakes do not need it.
        let connect = Box::pin(identity::establish(client, settings, connect)).await?;
        // Its broker may be sent other names.
        client.check_bans()?;
        connect
    } else {
        connect
    };
    // Only now is a client ID or a username surely the client's own.
    client_rates::count_connect(client)?;
    let decided_at = rules_version(accepted);
    apply_rules(client, accepted, Some(&connect))?;
    if is_at_address_limit {
        // Boxed, as few handshakes need it.
        Box::pin(limits::replace_at_limit(client, permit)).await?;
    }
    if permit.has_quotas() {
        // Boxed, as few configurations have quotas.
        Box::pin(quotas::enter(client, permit)).await?;
    }
    let answer = find_broker(client, Opening::Connect(&connect)).await?;
    // A ban that came since ends sessions, of which this is not one yet.
    client.check_bans()?;
    note_outdated_rules(client, accepted, decided_at);
    // The limits may have changed since accept; later changes recount the session with all others.
    permit.recount();
    permit.recount_quotas(|| client.record.fields());
    Ok(pass_answer(client, settings, &connect, answer))
}
