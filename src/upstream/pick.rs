//! One choice of a broker: the balancer's, held back by fair shares and slow starts.

use std::{cell::RefCell, num::NonZeroU32, sync::Arc, time::Instant};

use super::{
    broker::Broker,
    pool::{Members, Pool},
};
use crate::balance::Router;

/// By how much a broker's sessions must be above its fair share before those without a key are
/// moved: to move the last tenth costs more than it evens out.
const UNEVEN: f64 = 1.1;

/// One choice among the brokers of a pool.
pub struct Pick<'a> {
    pub pool: &'a Pool,
    pub members: &'a Members,
    /// The chooser's own copy of the members' balancers.
    pub router: &'a RefCell<Router>,
    /// `None`: by least connections.
    pub key: Option<&'a [u8]>,
    pub now: Instant,
}

impl Pick<'_> {
    /// The best broker that `load` gives for; where it can be, one that has not more than its
    /// share of the load, and is no longer too cold for this key.
    pub fn best(&self, load: &dyn Fn(usize) -> Option<u32>) -> Option<usize> {
        if self.is_choosy() {
            let factor = self.members.config.balance.bounded_load;
            let share = factor.map(|factor| FairShare::new(self.members, factor, load));
            let picked = self.among(&|index| {
                let member = &self.members.list[index];
                load(index).filter(|sessions| {
                    // That all primaries are too warm or too cold is no reason to use a backup.
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

    /// The best broker that `load` gives for, whatever its share and warmth.
    pub fn among(&self, load: &dyn Fn(usize) -> Option<u32>) -> Option<usize> {
        let mut router = self.router.borrow_mut();
        match self.key {
            Some(key) => router.pick(key, load),
            None => router.pick_least_connections(load),
        }
    }

    /// The other broker that a session of `own` would be given if it came now.
    pub fn home(&self, own: &Arc<Broker>) -> Option<&Arc<Broker>> {
        // Of a broker that only looks down the clients are not sent away; `on_down` is for that.
        if !own.is_leaving() && !own.is_serving() {
            return None;
        }
        let list = &self.members.list;
        // By its name: at another address it is still the same broker.
        let is_own = |index: usize| list[index].broker.id() == own.id();
        // As if this session were not there yet.
        let load = |index: usize| match &list[index].broker {
            broker if !is_own(index) => broker.load(),
            broker => broker.is_serving().then(|| broker.sessions().saturating_sub(1)),
        };
        let picked = self.best(&load)?;
        let member = list.iter().find(|member| member.broker.id() == own.id());
        let moves = match member {
            // Where no key decides, only what is more than a fair share goes.
            Some(member) if self.key.is_none() && !own.is_leaving() && !member.backup => {
                let share = FairShare::new(self.members, UNEVEN, &load);
                own.sessions().saturating_sub(1) > share.of(member.weight)
            }
            _ => true,
        };
        (moves && !is_own(picked)).then_some(&list[picked].broker)
    }

    /// Whether some brokers are better left alone although they serve.
    pub fn is_choosy(&self) -> bool {
        let config = &self.members.config;
        config.balance.bounded_load.is_some() || config.slow_start.is_some()
    }

    /// In its slow start a broker takes part of its keys, always the same ones first.
    pub fn is_warm(&self, index: usize) -> bool {
        let broker = &self.members.list[index].broker;
        let warmth = self.pool.warmth(broker, self.now);
        warmth >= 1.0
            || match self.key {
                Some(key) => broker.slow_start_place(key) < warmth,
                None => fastrand::f64() < warmth,
            }
    }
}

/// Consistent hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam, SODA 2018): no broker
/// has more than so many times the mean.
pub struct FairShare {
    per_weight: f64,
}

impl FairShare {
    /// `load` gives the sessions of those that count, which backups never do.
    pub fn new(members: &Members, factor: f64, load: &dyn Fn(usize) -> Option<u32>) -> Self {
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
    pub fn of(&self, weight: NonZeroU32) -> u32 {
        (self.per_weight * f64::from(weight.get())).ceil() as u32
    }
}
