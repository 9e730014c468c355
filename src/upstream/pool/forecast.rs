//! The broker that a client would be given if it connected now.

use std::{cell::RefCell, sync::Arc, time::Instant};

use super::Pool;
use crate::{
    balance::Choice,
    template::ClientFields,
    upstream::{broker::Broker, pick::Pick},
};

/// The brokers that a client would be given.
#[derive(Clone, Debug)]
pub(crate) struct Forecast {
    /// All brokers in the order of the client's key, as if all were up and empty.
    pub order: Vec<Arc<Broker>>,
    /// The broker that the client would be given now; `None` if no broker serves.
    pub goes_to: Option<Arc<Broker>>,
}

/// Why a client's broker is not chosen by a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoKey {
    #[error("the pool's algorithm does not use a key")]
    Unkeyed,
    #[error("no key: least connections")]
    LeastConnections,
    #[error("no key: an ID is assigned")]
    Assigned,
    #[error("no key: refused")]
    Refused,
}

impl Pool {
    /// The brokers that a client would be given, by the client's key and the brokers' state.
    ///
    /// # Errors
    /// If the broker is not chosen by a key.
    pub(crate) fn forecast(
        &self,
        client: &ClientFields<'_>,
        now: Instant,
    ) -> Result<Forecast, NoKey> {
        let members = self.members();
        let balance = &members.config.balance;
        if !balance.algorithm.is_keyed() {
            return Err(NoKey::Unkeyed);
        }
        let mut scratch = Vec::new();
        let key = match balance.key.choose(balance.empty_client_id, client, &mut scratch) {
            Choice::Key(key) | Choice::FallbackKey(key) => key,
            Choice::LeastConnections => return Err(NoKey::LeastConnections),
            Choice::Assign => return Err(NoKey::Assigned),
            Choice::Reject => return Err(NoKey::Refused),
        };
        let broker = |index: usize| members.list[index].broker.clone();
        let router = RefCell::new(members.router.clone());
        let pick = Pick { pool: self, members: &members, router: &router, key: Some(key), now };
        let goes_to = pick.best(&|index| members.list[index].broker.load()).map(broker);
        let mut placed = vec![false; members.list.len()];
        let mut order = Vec::with_capacity(placed.len());
        while let Some(next) = pick.among(&|index| (!placed[index]).then_some(0)) {
            placed[next] = true;
            order.push(broker(next));
        }
        Ok(Forecast { order, goes_to })
    }
}
