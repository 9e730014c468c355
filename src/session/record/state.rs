//! A record in a form that another process can continue.

use std::{
    cell::Cell,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{
    ClientInfo, ConnackSent, IdentityFacts, ListenerRef, Record, Recorder, RouteTaken,
    micros::Micros, transport::TransportState,
};
use crate::{
    config::Address,
    labels::{RouteKind, Transport},
    net::PeerAddress,
    upstream::Endpoint,
};

/// The record of a session, with ages in place of times, and names in place of what this process
/// shares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordState {
    pub(crate) session_id: u64,
    pub(crate) listener: ListenerState,
    source: PeerAddress,
    transport: Option<Box<TransportState>>,
    /// Since accept.
    age: Duration,
    client: Option<ClientInfo>,
    identity: Option<Box<IdentityFacts>>,
    /// The seconds until its token expires, negative if it has.
    expires_in: Option<i64>,
    pub(crate) route: RouteState,
    connack: Option<ConnackSent>,
    client_disconnect: Option<u8>,
    broker_disconnect: Option<u8>,
    tries: u8,
    read: u32,
    sent: u32,
    handshake: Option<Micros>,
    queued: Option<Micros>,
}

/// A [`ListenerRef`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListenerState {
    pub(crate) name: Arc<str>,
    pub(crate) transport: Transport,
    pub(crate) pool: Box<str>,
    pub(crate) rule: Option<Arc<str>>,
}

/// A [`RouteTaken`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RouteState {
    kind: RouteKind,
    pub(crate) broker: Box<str>,
    /// The broker's address in the configuration.
    pub(crate) broker_address: Address,
    /// The address at which the broker was reached; `None` for a unix socket.
    pub(crate) address: Option<SocketAddr>,
    dial: Micros,
}

impl Record {
    /// The record of an established session in this second, as counted by
    /// [`WorkerContext::seconds`](crate::session::context::WorkerContext::seconds); `None` without a
    /// broker.
    pub(crate) fn capture(&self, now: u32) -> Option<RecordState> {
        let Self {
            recorder: _,
            ended: _,
            session_id,
            listener,
            source,
            tls: _,
            transport: _,
            accepted,
            client,
            identity,
            route,
            connack,
            client_disconnect,
            broker_disconnect,
            tries,
            read,
            sent,
            handshake,
            queued,
        } = self;
        let ListenerRef { id: _, name, transport: kind, pool, rule, metrics: _ } = &**listener;
        let RouteTaken { kind: route_kind, endpoint, address, dial } = route.as_ref()?;
        let expires = identity.as_ref().and_then(|facts| facts.expires);
        Some(RecordState {
            session_id: *session_id,
            listener: ListenerState {
                name: name.clone(),
                transport: *kind,
                pool: (&*pool.pool.name).into(),
                rule: rule.clone(),
            },
            source: *source,
            transport: TransportState::of(self.transport.as_deref(), self.tls()),
            age: accepted.elapsed(),
            client: client.clone(),
            identity: identity.clone(),
            expires_in: expires.map(|at| i64::from(at) - i64::from(now)),
            route: RouteState {
                kind: *route_kind,
                broker: (&*endpoint.name).into(),
                broker_address: endpoint.address.clone(),
                address: address.as_deref().copied(),
                dial: *dial,
            },
            connack: connack.clone(),
            client_disconnect: client_disconnect.get(),
            broker_disconnect: broker_disconnect.get(),
            tries: *tries,
            read: *read,
            sent: *sent,
            handshake: *handshake,
            queued: *queued,
        })
    }

    /// Continues the record of a session that another process has [captured](Self::capture). The
    /// connection counts as open here, but not as accepted again.
    pub(crate) fn restore(
        recorder: &Rc<Recorder>,
        listener: Rc<ListenerRef>,
        endpoint: Arc<Endpoint>,
        state: RecordState,
        now: u32,
    ) -> Self {
        let RecordState {
            session_id,
            listener: _,
            source,
            transport,
            age,
            client,
            mut identity,
            expires_in,
            route: RouteState { kind, broker: _, broker_address: _, address, dial },
            connack,
            client_disconnect,
            broker_disconnect,
            tries,
            read,
            sent,
            handshake,
            queued,
        } = state;
        if let Some(facts) = &mut identity {
            let at = |left: i64| i64::from(now).saturating_add(left).clamp(0, u32::MAX.into());
            facts.expires = expires_in.map(|left| at(left) as u32);
        }
        // Shared with the other sessions of the broker.
        let known = endpoint.addresses();
        let shared = |address| known.as_ref()?.iter().find(|known| ***known == address).cloned();
        let address = address.map(|address| shared(address).unwrap_or_else(|| address.into()));
        let (tls, transport) = transport.map_or((None, None), |state| state.into_parts());
        let current = Instant::now();
        recorder.continue_session();
        listener.metrics.connections_active.inc();
        Self {
            recorder: recorder.clone(),
            ended: false,
            session_id,
            listener,
            source,
            tls: tls.map(|facts| recorder.tls_facts.share(facts)),
            transport,
            accepted: current.checked_sub(age).unwrap_or(current),
            client,
            identity,
            route: Some(RouteTaken { kind, endpoint, address, dial }),
            connack,
            client_disconnect: Cell::new(client_disconnect),
            broker_disconnect: Cell::new(broker_disconnect),
            tries,
            read,
            sent,
            handshake,
            queued,
        }
    }
}
