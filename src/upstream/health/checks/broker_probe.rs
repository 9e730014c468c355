//! A probe of a broker at all of the addresses that clients may be sent to.

use std::{
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::Pin,
    task::Poll,
};

use super::{
    connect::{CheckTransport, ProbeTarget},
    error::ProbeError,
    probe::probe,
};
use crate::{
    config::ActiveCheck,
    upstream::{DialTarget, Endpoint, dial::DialError},
};

/// The result of probing a broker.
pub(crate) struct BrokerProbeResult {
    /// The broker passes if any of its addresses passes.
    pub(crate) outcome: Result<(), ProbeError>,
    /// The addresses that failed, if another address passed.
    pub(crate) failed: Vec<(SocketAddr, ProbeError)>,
}

/// Probes all addresses of a broker concurrently, each within the timeout of the check. `client_id`
/// returns the client ID of the MQTT probe of an address.
///
/// Sessions race the addresses of a broker for one connection; a check wants the result of each.
pub(crate) async fn probe_broker(
    check: &ActiveCheck,
    endpoint: &Endpoint,
    transport: CheckTransport<'_>,
    client_id: &(dyn Fn(Option<SocketAddr>) -> String + Send + Sync),
) -> BrokerProbeResult {
    let addresses = match endpoint.target() {
        Some(DialTarget::Ip(addresses)) => addresses,
        Some(DialTarget::Unix(path)) => {
            return probe(check, endpoint, ProbeTarget::Unix(path), transport, &client_id(None))
                .await
                .into();
        }
        None => return Err(ProbeError::Dial(DialError::Unresolved)).into(),
    };
    let probe_one = |address: SocketAddr| async move {
        probe(check, endpoint, ProbeTarget::Ip(address), transport, &client_id(Some(address))).await
    };
    if !addresses.is_several() {
        return probe_one(**addresses.first()).await.into();
    }
    let addresses: Vec<_> = addresses.iter().map(|address| **address).collect();
    let outcomes = all(addresses.iter().map(|address| Box::pin(probe_one(*address)))).await;
    let count = addresses.len();
    let outcomes = addresses.into_iter().zip(outcomes);
    let failed: Vec<_> =
        outcomes.filter_map(|(address, outcome)| Some((address, outcome.err()?))).collect();
    if failed.len() == count {
        return Err(ProbeError::AllAddresses(failed)).into();
    }
    BrokerProbeResult { outcome: Ok(()), failed }
}

impl From<Result<(), ProbeError>> for BrokerProbeResult {
    fn from(outcome: Result<(), ProbeError>) -> Self {
        Self { outcome, failed: Vec::new() }
    }
}

/// Runs all futures concurrently, in this task.
async fn all<F: Future>(futures: impl Iterator<Item = Pin<Box<F>>>) -> Vec<F::Output> {
    let mut running: Vec<_> = futures.map(Some).collect();
    let mut outputs: Vec<_> = running.iter().map(|_| None).collect();
    poll_fn(|cx| {
        for (future, output) in running.iter_mut().zip(&mut outputs) {
            if let Some(running) = future
                && let Poll::Ready(ended) = running.as_mut().poll(cx)
            {
                (*future, *output) = (None, Some(ended));
            }
        }
        if running.iter().all(Option::is_none) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    outputs.into_iter().flatten().collect()
}
