//! The choice of a broker: the balancer's choice, limited by fair shares and slow starts.

use std::{cell::RefCell, num::NonZeroU32, sync::Arc, time::Instant};

use super::{
    broker::Broker,
    pool::{Members, Pool},
};
use crate::balance::Router;

/// The factor by which a broker's sessions have to exceed its fair share before sessions without a
/// key are moved: moving the last tenth costs more than it gains.
const REBALANCE_FACTOR: f64 = 1.1;

/// One choice among the brokers of a pool.
pub struct Pick<'a> {
    pub pool: &'a Pool,
    pub members: &'a Members,
    /// The caller's own copy of the members' balancers.
    pub router: &'a RefCell<Router>,
    /// `None` for least connections.
    pub key: Option<&'a [u8]>,
    pub now: Instant,
}

impl Pick<'_> {
    /// The best eligible broker, that is, one for which `load` returns a value; preferably one
    /// below its fair share and past the slow start of this key.
    pub fn best(&self, load: &dyn Fn(usize) -> Option<u32>) -> Option<usize> {
        if self.has_preferences() {
            let factor = self.members.config.balance.bounded_load;
            let share = factor.map(|factor| FairShare::new(self.members, factor, load));
            let picked = self.among(&|index| {
                let member = &self.members.list[index];
                load(index).filter(|sessions| {
                    // Primaries above their share or in their slow start still take precedence over
                    // backups.
                    !member.backup
                        && share.as_ref().is_none_or(|share| *sessions < share.of(member.weight))
                        && self.is_warm(index)
                })
            });
            if picked.is_some() {
                return picked;
            }
        }
        self.among(load)
    }

    /// The best eligible broker, regardless of fair shares and slow starts.
    pub fn among(&self, load: &dyn Fn(usize) -> Option<u32>) -> Option<usize> {
        let mut router = self.router.borrow_mut();
        match self.key {
            Some(key) => router.pick(key, load),
            None => router.pick_least_connections(load),
        }
    }

    /// The other broker that a session of `own` would be given if it connected now; `None` if it is
    /// where it belongs.
    pub fn preferred_broker(&self, own: &Arc<Broker>) -> Option<&Arc<Broker>> {
        // Sessions of a broker that only looks down stay; `on_down` decides about them.
        if !own.is_leaving() && !own.is_serving() {
            return None;
        }
        let list = &self.members.list;
        // Compared by name: a broker with a new address is still the same broker.
        let is_own = |index: usize| list[index].broker.id() == own.id();
        // Does not count this session.
        let load = |index: usize| match &list[index].broker {
            broker if !is_own(index) => broker.load(),
            broker => broker.is_serving().then(|| broker.sessions().saturating_sub(1)),
        };
        let picked = self.best(&load)?;
        let member = list.iter().find(|member| member.broker.id() == own.id());
        let moves = match member {
            // Without a key, only sessions beyond the fair share move.
            Some(member) if self.key.is_none() && !own.is_leaving() && !member.backup => {
                let share = FairShare::new(self.members, REBALANCE_FACTOR, &load);
                own.sessions().saturating_sub(1) > share.of(member.weight)
            }
            _ => true,
        };
        (moves && !is_own(picked)).then_some(&list[picked].broker)
    }

    /// Whether serving brokers may be passed over because of fair shares or slow starts.
    pub(crate) fn has_preferences(&self) -> bool {
        let config = &self.members.config;
        config.balance.bounded_load.is_some() || config.slow_start.is_some()
    }

    /// Whether the slow start of a broker has reached this key: it takes a growing part of its
    /// keys, always in the same order.
    pub(crate) fn is_warm(&self, index: usize) -> bool {
        let broker = &self.members.list[index].broker;
        let warmth = self.pool.warmth(broker, self.now);
        warmth >= 1.0
            || match self.key {
                Some(key) => broker.slow_start_position(key) < warmth,
                None => fastrand::f64() < warmth,
            }
    }
}

/// Consistent hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam, SODA 2018): no broker
/// has more than `factor` times the mean.
struct FairShare {
    per_weight: f64,
}

impl FairShare {
    /// `load` returns the sessions of each broker that counts; backups never count.
    fn new(members: &Members, factor: f64, load: &dyn Fn(usize) -> Option<u32>) -> Self {
        let (mut sessions, mut weight) = (1, 0);
        for (index, member) in members.list.iter().enumerate() {
            if let Some(load) = load(index).filter(|_| !member.backup) {
                sessions += u64::from(load);
                weight += u64::from(member.weight.get());
            }
        }
        Self { per_weight: factor * sessions as f64 / weight.max(1) as f64 }
    }

    /// The most sessions that a broker of this weight should have.
    fn of(&self, weight: NonZeroU32) -> u32 {
        (self.per_weight * f64::from(weight.get())).ceil() as u32
    }
}
