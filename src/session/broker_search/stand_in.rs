//! A client's own older session does not count against it: at a limit the newer one has its place.
//!
//! The older one ends when a broker has accepted the newer, and stays if none does.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::sync::oneshot;

use super::attempt::while_unbroken;
use crate::{
    balance::Client,
    labels::EndPhase,
    net::deadline,
    session::{
        active::ActiveSession,
        clients::{ClientHash, Held, Place, Question, TenantHash},
        context::WorkerContext,
        evict::{is_of, newer, tenant_fields},
        handshake::{Handshake, Rejected},
        pool_view::PoolView,
    },
    upstream::Broker,
};

/// The older sessions of a client that are asked about; one with more is not slowed down by them.
const MOST: usize = 4;

/// How long a busy worker is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

impl Handshake<'_> {
    /// Whether this client has been given the place of an older session on that broker.
    pub(in crate::session) fn has_place_on(&self, broker: &Broker) -> bool {
        self.stand_ins.iter().any(|stand_in| stand_in.older.broker == broker.id())
    }

    /// Whether this client is given the place of an older session of its own.
    pub(in crate::session) async fn take_place(&mut self, place: Place) -> Result<bool, Rejected> {
        let on_broker = |older: &Held| match place {
            Place::Broker(id) => older.broker == id,
            Place::Address(_) => true,
        };
        let context = self.context;
        let view = &self.record.origin.pool;
        let Some(client) = &self.record.client else { return Ok(false) };
        let client = self.record.for_route(client.client_id(), client.username());
        let older = may_be_own(context, view, &client);
        let newer = Arc::new(newer(view, &client));
        for older in older.into_iter().filter(on_broker) {
            let Some(stand_in) = context.clients.places.take(older) else { continue };
            let (answer, answered) = oneshot::channel();
            context.clients.places.ask(Question { older, newer: newer.clone(), place, answer });
            let (until, answered) = (context.reactor.now() + PATIENCE, pin!(answered));
            let answering = pin!(deadline(&context.reactor, until, answered));
            let answered =
                while_unbroken(context, &self.client, EndPhase::Connect, answering).await;
            if let Ok(Ok(true)) = answered.map_err(|end| self.given_up(end))? {
                let before = std::mem::take(&mut self.stand_ins);
                self.stand_ins = before.into_iter().chain([stand_in]).collect();
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// AcceptContext sessions that seem to be of the client that comes, the newest first.
pub(in crate::session) fn may_be_own(
    context: &WorkerContext,
    view: &PoolView,
    client: &Client<'_>,
) -> Vec<Held> {
    if client.client_id.is_empty() {
        return Vec::new();
    }
    let hash = ClientHash::new(view.pool.id(), client.client_id);
    context.clients.may_be_of(hash, TenantHash::new(client), tenant_fields(view), MOST)
}

/// Answers what this worker is asked about its sessions.
pub(in crate::session) fn answer(context: &WorkerContext) {
    for Question { older, newer, place, answer } in context.clients.places.questions(context.worker)
    {
        let has_place = |live: &ActiveSession| {
            // One that ends frees its place by itself, and can't give it to two.
            live.record.session == older.session
                && live.tally.verdict.get().is_none()
                && is_of(live, &newer)
                && match place {
                    Place::Broker(id) => live.lease.broker().id() == id,
                    Place::Address(address) => live.pass.counted() == Some(address),
                }
        };
        let _ = answer.send(context.sessions.with(older.slot as usize, has_place) == Some(true));
    }
}
