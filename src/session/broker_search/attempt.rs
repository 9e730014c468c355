//! One attempt at a broker: the dial, then the CONNACK if there is one.

use std::{pin::pin, time::Instant};

use super::{
    connack::await_connack,
    opening::Opening,
    outcome::{AttemptOutcome, BrokerAnswer, BrokerFailure, FailureKind},
    proxy_header::proxy_header,
};
use crate::{
    labels::{EndBy, EndCause, EndPhase, RouteKind},
    metrics::TryOutcome,
    session::{
        end::End, pending::PendingClient, pool_view::PoolView, record::RouteTaken,
        reject::Rejection,
    },
    upstream::{DialError, DialedBroker, FirstBytes, Lease, dial},
};

/// Dials a broker, sends it the opening, and waits for a CONNACK if that is a CONNECT.
pub(super) async fn attempt(
    client: &mut PendingClient<'_>,
    opening: Opening<'_>,
    mut lease: Lease,
    route: RouteKind,
) -> Result<AttemptOutcome, Rejection> {
    let context = client.context;
    let view = client.record.listener.pool.clone();
    let config = view.config();
    client.record.tries = client.record.tries.saturating_add(1);
    let began = Instant::now();
    let endpoint = lease.broker().endpoint();
    let dialed = {
        let header = proxy_header(client, config.send_proxy_protocol.as_ref());
        let first = FirstBytes { header: &header, opening: &client.buffer };
        let dialing = pin!(dial(&context.reactor, &config, &mut lease, &endpoint, first));
        client.while_connected(EndPhase::Dial, dialing).await
    };
    let dialed = dialed.map_err(|end| {
        lease.broker().metrics.count_try(TryOutcome::Abandoned);
        client.search_ended(end)
    })?;
    let took = began.elapsed();
    let (dialed, address) = match dialed {
        Ok(DialedBroker { stream, address: place }) => (Ok(stream), place),
        Err(error) => (Err(error), None),
    };
    client.record.route = Some(RouteTaken { kind: route, endpoint, address, dial: took.into() });
    match dialed {
        Ok(upstream) => {
            lease.broker().metrics.connect_seconds.observe(took.as_secs_f64());
            view.pool.metrics.count_route(route);
            match opening {
                Opening::Connect(connect) => await_connack(client, connect, upstream, lease).await,
                Opening::ClientHello => {
                    lease.broker().metrics.count_try(TryOutcome::Accepted);
                    let answer = BrokerAnswer { upstream, lease, connack: None, bytes: Vec::new() };
                    Ok(AttemptOutcome::Answered(answer))
                }
            }
        }
        Err(error) => Ok(dial_failed(&view, &lease, began, &error)),
    }
}

fn dial_failed(
    view: &PoolView,
    lease: &Lease,
    began: Instant,
    error: &DialError,
) -> AttemptOutcome {
    let broker = lease.broker();
    tracing::debug!(pool = %view.pool.name, upstream = %broker.name, %error, "dial failed");
    let failure = error.is_broker_fault().then(|| BrokerFailure {
        began,
        kind: FailureKind::Unreachable,
        trial: lease.take_trial(),
    });
    let on = view.config().retry_on;
    let (outcome, cause, retry) = if let Some(shortage) = error.no_port() {
        broker.endpoint().warn_no_port(shortage, Instant::now());
        (TryOutcome::NoPort, EndCause::NoUpstream, on.connect_failure)
    } else if error.is_timeout() {
        (TryOutcome::ConnectTimeout, EndCause::Timeout, on.connect_timeout)
    } else {
        (TryOutcome::ConnectFailure, EndCause::NoUpstream, on.connect_failure)
    };
    broker.metrics.count_try(outcome);
    let end = End::new(EndBy::Proxy, EndPhase::Dial, cause).with(error.to_string());
    AttemptOutcome::Failed { broker: broker.clone(), failure, end, retry }
}
