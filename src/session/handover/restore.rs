//! A session in the new process, made of the state that the old process has captured.

use std::{
    os::fd::OwnedFd,
    rc::{Rc, Weak},
    sync::Arc,
};

use super::state::{SessionBody, StateError};
use crate::{
    labels::StayReason,
    limits::ConnectionPermit,
    net::{RestoreError, Stream},
    session::{
        active::ActiveSession,
        context::WorkerContext,
        counters::SessionCounters,
        pool_view::PoolView,
        record::{ListenerRef, ListenerState, Record, RouteState},
        relay::Flows,
    },
    upstream::{Endpoint, Lease},
};

/// Why a session is not continued in this process.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(transparent)]
    State(#[from] StateError),
    #[error("{0} descriptors came with the session instead of two")]
    DescriptorCount(usize),
    #[error(transparent)]
    Connection(#[from] RestoreError),
    #[error("the configuration has no pool {0}")]
    NoPool(Box<str>),
    #[error("this process is ending its sessions")]
    Draining,
    #[error("the session is here already")]
    Twice,
}

impl Refusal {
    /// The reason that the old process counts.
    pub(crate) fn reason(&self) -> StayReason {
        match self {
            Self::DescriptorCount(_) | Self::Connection(RestoreError::Descriptor(_)) => {
                StayReason::Descriptors
            }
            Self::State(_) | Self::Connection(_) | Self::Twice => StayReason::State,
            Self::NoPool(_) => StayReason::Pool,
            Self::Draining => StayReason::Draining,
        }
    }
}

/// The listeners of sessions that have moved here, where they differ from those of new connections:
/// of rules or names that the configuration no longer has. Sessions share them.
#[derive(Default)]
pub(super) struct MovedListeners(Vec<Weak<ListenerRef>>);

/// Restores a session. Everything is checked before anything is counted.
pub(super) fn restore(
    context: &WorkerContext,
    listeners: &mut MovedListeners,
    state: &[u8],
    descriptors: Vec<OwnedFd>,
) -> Result<(ActiveSession, Flows), Refusal> {
    if context.ending.get().is_some() {
        return Err(Refusal::Draining);
    }
    let body = SessionBody::decode(state)?;
    let SessionBody { record, bind, counters, idle_limit, flows, client, upstream } = body;
    let flows = Flows::restore(flows).ok_or(StateError::Impossible)?;
    let pool = &record.listener.pool;
    let view = context.pool_named(pool).ok_or_else(|| Refusal::NoPool(pool.clone()))?;
    let now = context.seconds();
    let count = descriptors.len();
    let [of_client, of_upstream] =
        <[_; 2]>::try_from(descriptors).map_err(|_| Refusal::DescriptorCount(count))?;
    let client = Stream::restore(&context.reactor, of_client, client, now)?;
    let upstream = Stream::restore(&context.reactor, of_upstream, upstream, now)?;

    let listener = listeners.of(context, &record.listener, bind.as_deref(), view);
    let (lease, endpoint) = lease(&listener, &record.route, &upstream);
    let record = Record::restore(&context.recorder, listener, endpoint, record, now);
    let permit = ConnectionPermit::of_moved(&context.limiter, record.client_ip());
    permit.recount_quotas(|| record.fields());
    let session = ActiveSession {
        counters: SessionCounters::restore(&counters, now),
        idle_limit,
        client,
        upstream,
        record,
        // Set by the table.
        slot: 0,
        lease,
        permit,
    };
    Ok((session, flows))
}

/// The place on the session's broker, and the endpoint with which it counts as dialled.
fn lease(listener: &ListenerRef, route: &RouteState, upstream: &Stream) -> (Lease, Arc<Endpoint>) {
    let broker = listener.pool.pool.broker_of_moved(&route.broker, &route.broker_address);
    let endpoint = broker.endpoint();
    let local = upstream.socket().local_address();
    let port = local.zip(route.address).and_then(|(local, peer)| {
        endpoint.local_addresses.port_in_use(local.ip().to_canonical(), peer)
    });
    (broker.lease_moved(port), endpoint)
}

impl MovedListeners {
    /// What the session keeps of its listener: as of its accept, like after a reload.
    fn of(
        &mut self,
        context: &WorkerContext,
        state: &ListenerState,
        bind: Option<&str>,
        pool: Rc<PoolView>,
    ) -> Rc<ListenerRef> {
        let ListenerState { name, transport, pool: _, rule } = state;
        let is_same = |known: &&Rc<ListenerRef>| {
            known.name == *name
                && known.transport == *transport
                && known.rule == *rule
                && Rc::ptr_eq(&known.pool, &pool)
        };
        let accepted = context.listener_named(name, bind);
        let current = accepted.iter().flat_map(|now| now.rules.iter().chain([&now.listener]));
        if let Some(known) = current.into_iter().find(is_same) {
            return known.clone();
        }
        self.0.retain(|known| known.strong_count() > 0);
        let earlier: Vec<_> = self.0.iter().filter_map(Weak::upgrade).collect();
        if let Some(known) = earlier.iter().find(is_same) {
            return known.clone();
        }
        let listener = Rc::new(ListenerRef {
            // No listener has this ID: the sessions of one that is gone stay, as after a reload.
            id: accepted.map_or(u64::MAX, |accepted| accepted.listener.id),
            name: name.clone(),
            transport: *transport,
            pool,
            rule: rule.clone(),
            metrics: context.metrics().listener(name),
        });
        self.0.push(Rc::downgrade(&listener));
        listener
    }
}
