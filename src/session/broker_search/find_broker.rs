//! The loop over the brokers.

use std::{sync::Arc, time::Instant};

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
        clients::ReachedLimit, evict::note_arrival, pending::PendingClient, reject::Rejection,
    },
    upstream::{Broker, Lease},
};

/// Offers the client's opening to brokers in order until one gives an answer worth passing on.
pub(crate) async fn find_broker(
    client: &mut PendingClient<'_>,
    opening: Opening<'_>,
) -> Result<BrokerAnswer, Rejection> {
    loop {
        if let Some(answer) = search_pool(client, opening).await? {
            return Ok(answer);
        }
    }
}

/// Searches the client's pool; `None` if its rules have sent the client to another pool while it
/// waited for admission.
async fn search_pool(
    client: &mut PendingClient<'_>,
    opening: Opening<'_>,
) -> Result<Option<BrokerAnswer>, Rejection> {
    let view = client.record.listener.pool.clone();
    note_arrival(client.context, &client.record);
    let (pool, config) = (&view.pool, view.config());
    let mut tries_left = config.tries.get();
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
            search.record_unproven_failures(pool);
            return Ok(None);
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
            search.record_unproven_failures(pool);
        });
        let retry = match outcome? {
            AttemptOutcome::Answered(answer) => {
                let class = answer.class(opening);
                // A client that has exchanged authentication data with a broker stays there.
                let has_exchanged = (client.record.read, client.record.sent) != (0, 0);
                if has_exchanged || !class.is_retried(config.retry_on) {
                    search.record_answer(pool, &answer, class);
                    return Ok(Some(answer));
                }
                search.note_refusal(&view, &answer);
                if tries_left > 0 {
                    next = search.choose(client)?;
                }
                search.record_answer(pool, &answer, class);
                if next.is_none() {
                    return Ok(Some(answer));
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
