//! The choice of the broker that a client is offered to.

use std::{cell::Cell, sync::Arc};

use crate::{
    balance::Choice,
    labels::RouteKind,
    session::{
        active::ActiveSession, clients::possible_own_sessions, context::WorkerContext,
        pool_view::PoolView,
    },
    template::ClientFields,
    upstream::Broker,
};

/// The client has no client ID, and the pool's `empty_client_id` is `reject`.
pub(crate) struct NoRoutingKey;

/// The best available broker of a pool that has not been tried yet, and why it was chosen; `None`
/// if there is no other. A full broker is considered if the client seems to have a session on it.
pub(crate) fn choose(
    context: &WorkerContext,
    view: &PoolView,
    client: &ClientFields<'_>,
    tried: &[Arc<Broker>],
) -> Result<Option<(Arc<Broker>, RouteKind)>, NoRoutingKey> {
    view.refresh();
    let members = view.members();
    let balance = &members.config.balance;
    let mut scratch = context.key.lend();
    let choice = balance.key.choose(balance.empty_client_id, client, &mut scratch);
    let key = match choice {
        Choice::Key(key) | Choice::FallbackKey(key) => Some(key),
        Choice::LeastConnections | Choice::Assign => None,
        Choice::Reject => return Err(NoRoutingKey),
    };
    let (passed_over, full) = (Cell::new(false), Cell::new(false));
    let is_tried = |broker| tried.iter().any(|other| Arc::ptr_eq(other, broker));
    let load = |index: usize| {
        let broker = &members.list[index].broker;
        let load = broker.load().filter(|_| !is_tried(broker));
        if load.is_none() {
            passed_over.set(true);
            full.set(full.get() || broker.is_full() && !is_tried(broker));
        }
        load
    };
    let pick = view.pick(&members, key, context.reactor.now());
    let mut picked = pick.best(&load);
    if full.get() {
        let own = possible_own_sessions(&context.clients, view, client);
        // The load as if the older session had ended.
        let load_without_own = |index: usize| {
            let broker = &members.list[index].broker;
            let has_own = own.iter().any(|older| older.broker == broker.id());
            let replaceable = || (has_own && broker.is_full() && !is_tried(broker)).then_some(1);
            load(index).or_else(|| Some(broker.sessions().saturating_sub(replaceable()?)))
        };
        if !own.is_empty() {
            picked = pick.best(&load_without_own);
        }
    }
    let Some(picked) = picked else { return Ok(None) };
    let route = match key {
        None => RouteKind::EmptyId,
        Some(_) if !balance.algorithm.is_keyed() => RouteKind::Balanced,
        Some(_) if matches!(choice, Choice::FallbackKey(_)) => RouteKind::FallbackKey,
        Some(_) if client.client_id.is_empty() && balance.key.uses_client_id() => {
            RouteKind::EmptyId
        }
        // Only a broker that was passed over can be a better choice.
        Some(_) if !passed_over.get() && !pick.has_preferences() => RouteKind::Hash,
        Some(_) => match pick.among(&|_| Some(0)) {
            Some(first) if first == picked => RouteKind::Hash,
            Some(first) if load(first).is_some() && pick.is_warm(first) => RouteKind::Bounded,
            _ => RouteKind::Fallback,
        },
    };
    Ok(Some((members.list[picked].broker.clone(), route)))
}

/// The broker that a new session of this client would now be given instead, after brokers were
/// added, removed or changed; `None` if it would stay.
pub(crate) fn preferred_broker(
    context: &WorkerContext,
    session: &ActiveSession,
) -> Option<Arc<Broker>> {
    let record = &session.record;
    let client = record.fields();
    let view = &record.listener.pool;
    view.refresh();
    let members = view.members();
    let balance = &members.config.balance;
    let mut scratch = context.key.lend();
    let key = match balance.key.choose(balance.empty_client_id, &client, &mut scratch) {
        Choice::Key(key) | Choice::FallbackKey(key) if balance.algorithm.is_keyed() => Some(key),
        _ => None,
    };
    view.pick(&members, key, context.reactor.now())
        .preferred_broker(session.lease.broker())
        .cloned()
}
