//! The wait for the CONNACK of a broker that has the CONNECT.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    pin::pin,
    time::{Duration, Instant},
};

use super::{
    auth_exchange::AuthExchange,
    outcome::{AttemptOutcome, BrokerAnswer, BrokerFailure, FailureKind},
};
use crate::{
    labels::{EndBy, EndCause, EndPhase},
    metrics::TryOutcome,
    net::{Elapsed, Stream, deadline},
    proto::mqtt::{Connack, Connect, reason},
    session::{end::End, pending::PendingClient, record::ConnackSent, reject::Rejection},
    upstream::{AllBrokersFailed, Lease},
};

/// Waits for the CONNACK, up to `connack_timeout`.
pub(super) async fn await_connack(
    client: &mut PendingClient<'_>,
    connect: &Connect,
    upstream: Stream,
    lease: Lease,
) -> Result<AttemptOutcome, Rejection> {
    let context = client.context;
    let config = client.record.listener.pool.config();
    let began = Instant::now();
    let at = began + config.connack_timeout;
    let mut exchange = AuthExchange::new(context, &client.stream, &upstream, connect.version);
    let answered = {
        let answering = pin!(exchange.connack());
        let answering = client.while_connected(EndPhase::Connack, answering);
        deadline(&context.reactor, at, pin!(answering)).await
    };
    let waited = began.elapsed();
    let AuthExchange { reply, exchanged, .. } = exchange;
    (client.record.read, client.record.sent) = exchanged;
    let has_exchanged = exchanged != (0, 0);
    let (kind, end) = match answered {
        Ok(Ok(Ok(connack))) => {
            let answer = {
                note_connack(client, connect, &lease, (&connack, &reply), waited);
                BrokerAnswer { upstream, lease, connack: Some(connack), bytes: reply }
            };
            return Ok(AttemptOutcome::Answered(answer));
        }
        Ok(Ok(Err(end)) | Err(end)) if end.by == EndBy::Upstream => {
            (Some(FailureKind::NoAnswer), end)
        }
        Ok(Ok(Err(end)) | Err(end)) => {
            context.give_back_buffer(reply);
            lease.broker().metrics.count_try(TryOutcome::Abandoned);
            // A client that has waited this long may have left because of the broker.
            let was_long = waited >= config.connack_timeout / 2;
            if !has_exchanged && end.by == EndBy::Client && was_long {
                record_abandoned(client, &lease, began);
            }
            return Err(client.search_ended(end));
        }
        Err(Elapsed) => {
            // If the broker resumes, it sees at once that the connection is gone.
            upstream.reset_on_close();
            let end = End::new(EndBy::Proxy, EndPhase::Connack, EndCause::Timeout)
                .with("no CONNACK within connack_timeout");
            ((!has_exchanged).then_some(FailureKind::Silent), end)
        }
    };
    context.give_back_buffer(reply);
    lease.broker().metrics.count_try(TryOutcome::NoConnack);
    let trial = lease.take_trial();
    // A broker may close on a CONNECT that violates the standard, which others accept.
    let kind = kind.filter(|_| connect.conforms);
    let failure = kind.map(|kind| BrokerFailure { began, kind, trial });
    let retry = !has_exchanged && config.retry_on.no_connack;
    Ok(AttemptOutcome::Failed { broker: lease.broker().clone(), failure, end, retry })
}

/// Counts a CONNACK and adds it to the record.
fn note_connack(
    client: &mut PendingClient<'_>,
    connect: &Connect,
    lease: &Lease,
    (connack, bytes): (&Connack, &[u8]),
    waited: Duration,
) {
    let metrics = &lease.broker().metrics;
    metrics.count_connack(reason::name(connect.version, connack.code), waited);
    metrics.count_try(match connack.code {
        0 => TryOutcome::Accepted,
        _ => TryOutcome::Refused,
    });
    let sent = ConnackSent::of_broker(connect.version, connack, bytes, waited);
    client.record.connack = Some(sent);
}

/// Records against the broker that a client left after a long wait.
fn record_abandoned(client: &PendingClient<'_>, lease: &Lease, began: Instant) {
    lease.settle();
    let (pool, now) = (&client.record.listener.pool.pool, Instant::now());
    pool.record_lone_failure(lease.broker(), began, now);
    pool.record_refusal(AllBrokersFailed::Unanswered(client_hash(client)), now);
}

/// A hash of the client's address and client ID, to tell clients apart.
pub(super) fn client_hash(client: &PendingClient<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (client.record.client_ip(), client.record.fields().client_id).hash(&mut hasher);
    hasher.finish()
}
