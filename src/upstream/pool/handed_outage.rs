//! An outage of a pool, as another process takes it over: times as how long ago they were.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{Pool, members::Members, outage::Outage};
use crate::upstream::{
    broker::Broker,
    health::{before, millis_ago},
};

/// An outage that has been declared. One that the proxy still looks into begins again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HandedOutage {
    /// The names and addresses of all brokers: it is of these.
    brokers: Vec<(String, String)>,
    /// How many milliseconds ago the first client was refused.
    since: u64,
    refused: u64,
    error: String,
    /// Whether brokers could be reached, and did not answer a CONNECT.
    needs_connect: bool,
}

impl Pool {
    /// `None` while the pool serves.
    pub(super) fn hand_over_outage(&self, now: Instant) -> Option<HandedOutage> {
        let brokers = brokers(&self.members());
        let state = self.state();
        let outage = state.outage.as_ref()?;
        Some(HandedOutage {
            brokers,
            since: millis_ago(outage.since, now),
            refused: outage.refused,
            error: outage.error()?.to_owned(),
            needs_connect: outage.needs_connect(),
        })
    }

    /// Goes on with the outage of another process, unless the brokers or their addresses differ.
    pub(super) fn take_over_outage(&self, handed: &HandedOutage, now: Instant) {
        if brokers(&self.members()) != handed.brokers {
            return;
        }
        let HandedOutage { brokers: _, since, refused, error, needs_connect } = handed;
        self.change(|state, effects| {
            let since = before(now, *since);
            let outage = Outage::declared(since, *refused, error.clone(), *needs_connect, now);
            state.outage = Some(outage);
            self.recovery_due.notify_one();
            self.recompute(state, effects, now);
        });
    }
}

fn brokers(members: &Members) -> Vec<(String, String)> {
    let broker = |broker: &Broker| (broker.name.to_string(), broker.endpoint().address.to_string());
    let mut brokers: Vec<_> = members.list.iter().map(|member| broker(&member.broker)).collect();
    brokers.sort_unstable();
    brokers
}
