//! The loop over the brokers.

use std::{rc::Rc, sync::Arc, time::Instant};

use super::{
    admission::{Turn, wait_for_admission},
    attempt::attempt,
    opening::Opening,
    outcome::{AttemptOutcome, BrokerAnswer},
    own_session::{has_replaced_on, replace_own_session},
    search::BrokerSearch,
};
use crate::{
    session::{
        clients::ReachedLimit, evict::note_arrival, pending::PendingClient, pool_view::PoolView,
        reject::Rejection,
    },
    upstream::{Broker, Lease},
};

/// Offers the client's opening to brokers in order until one gives an answer worth passing on. Begins
/// again where its rules have sent the client to another pool while it waited for admission.
pub(crate) async fn find_broker(
    client: &mut PendingClient<'_>,
    opening: Opening<'_>,
) -> Result<BrokerAnswer, Rejection> {
    let (mut view, mut tries_left) = arrive(client);
    let mut search = BrokerSearch::default();
    let mut next = search.choose(client)?;
    while let Some((broker, route)) = next.take() {
        if !has_room(client, &broker).await? {
            search.tried.push(broker);
            next = search.choose(client)?;
            continue;
        }
        if !broker.admission.try_enter(client.context.reactor.now())
            && Box::pin(wait_for_admission(client, opening, &broker)).await? == Turn::InOtherPool
        {
            search.record_unproven_failures(&view.pool);
            (view, tries_left) = arrive(client);
            search = BrokerSearch::default();
            next = search.choose(client)?;
            continue;
        }
        let leased = lease(client, broker).map_err(|broker| search.lease_failed(broker));
        let Ok(lease) = leased else {
            next = search.choose(client)?;
            continue;
        };
        tries_left -= 1;
        let began = Instant::now();
        let outcome = attempt(client, opening, lease, route).await;
        let outcome = outcome.inspect_err(|_| {
            search.record_unproven_failures(&view.pool);
        });
        let retry = match outcome? {
            AttemptOutcome::Answered(answer) => {
                let class = answer.class(opening);
                // A client that has exchanged authentication data with a broker stays there.
                let has_exchanged = (client.record.read, client.record.sent) != (0, 0);
                if has_exchanged || !class.is_retried(view.config().retry_on) {
                    search.record_answer(&view.pool, &answer, class);
                    return Ok(answer);
                }
                search.note_refusal(&view, &answer);
                if tries_left > 0 {
                    next = search.choose(client)?;
                }
                search.record_answer(&view.pool, &answer, class);
                if next.is_none() {
                    return Ok(answer);
                }
                search.keep_refusal(&mut client.record, answer, class, (began, opening.conforms()));
                false
            }
            AttemptOutcome::Failed { broker, failure, end, retry } => {
                search.note_failure(broker, failure, end);
                retry
            }
        };
        if retry && tries_left > 0 {
            next = search.choose(client)?;
        }
    }
    Err(search.give_up(client))
}

/// The client's pool, in which it now counts as arrived, and how many brokers of it are tried.
fn arrive(client: &PendingClient<'_>) -> (Rc<PoolView>, u32) {
    note_arrival(client.context, &client.record);
    let view = client.record.listener.pool.clone();
    let tries = view.config().tries.get();
    (view, tries)
}

/// Whether a broker has room for the client, if necessary by replacing an older session of its own.
async fn has_room(client: &mut PendingClient<'_>, broker: &Broker) -> Result<bool, Rejection> {
    if !broker.is_full() || has_replaced_on(client, broker) {
        return Ok(true);
    }
    // Boxed, as few handshakes need it.
    Box::pin(replace_own_session(client, ReachedLimit::Broker(broker.id()))).await
}

/// Leases a broker; beyond its limit if the client replaces an older session there. Fails if the
/// broker has become full or was removed since it was chosen.
fn lease(client: &mut PendingClient<'_>, broker: Arc<Broker>) -> Result<Lease, Arc<Broker>> {
    let leased = broker.lease();
    leased.or_else(|broker| {
        let replaced = client.replaced.iter_mut();
        let replaced = replaced.filter(|replaced| replaced.older.broker == broker.id());
        let claims = replaced.map(|replaced| replaced.until_closed = true).count();
        if claims > 0 { broker.lease_beyond_limit() } else { Err(broker) }
    })
}
