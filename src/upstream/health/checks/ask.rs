//! A broker asked: at each of the addresses that clients would be sent to.

use std::{
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::Pin,
    task::Poll,
};

use super::{
    probe::{Failure, probe},
    reach::{Site, Way},
};
use crate::{
    config::ActiveCheck,
    upstream::{Endpoint, Target, dial::DialError},
};

/// What asking a broker came to.
pub(in crate::upstream) struct Answer {
    /// It is well if one of its addresses is.
    pub(in crate::upstream) outcome: Result<(), Failure>,
    /// Those that are not, where another one is.
    pub(in crate::upstream) dead: Vec<(SocketAddr, Failure)>,
}

/// Asks all addresses of a broker at once, each for as long as the check may take. `client_id` is
/// who an MQTT probe of an address says it is.
pub(in crate::upstream) async fn ask(
    check: &ActiveCheck,
    endpoint: &Endpoint,
    way: Way<'_>,
    client_id: &(dyn Fn(Option<SocketAddr>) -> String + Send + Sync),
) -> Answer {
    let places = match endpoint.target() {
        Some(Target::Ip(places)) => places,
        Some(Target::Unix(path)) => {
            return probe(check, endpoint, Site::Unix(path), way, &client_id(None)).await.into();
        }
        None => return Err(Failure::Dial(DialError::Unresolved)).into(),
    };
    let ask_one = |address: SocketAddr| async move {
        probe(check, endpoint, Site::Ip(address), way, &client_id(Some(address))).await
    };
    if !places.is_several() {
        return ask_one(**places.first()).await.into();
    }
    let addresses: Vec<_> = places.iter().map(|place| **place).collect();
    let outcomes = all(addresses.iter().map(|address| Box::pin(ask_one(*address)))).await;
    let count = addresses.len();
    let failed = addresses.into_iter().zip(outcomes);
    let failed: Vec<_> =
        failed.filter_map(|(address, outcome)| Some((address, outcome.err()?))).collect();
    if failed.len() == count {
        return Err(Failure::Each(failed)).into();
    }
    Answer { outcome: Ok(()), dead: failed }
}

impl From<Result<(), Failure>> for Answer {
    fn from(outcome: Result<(), Failure>) -> Self {
        Self { outcome, dead: Vec::new() }
    }
}

/// Runs all of them at the same time, in this task.
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
