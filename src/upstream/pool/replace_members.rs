//! The replacement of a pool's members.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use super::{
    Pool,
    effects::PoolEffects,
    members::{Member, MemberChanges, Members},
    state::PoolState,
};
use crate::{
    config::{self, Upstream},
    upstream::{
        broker::{Broker, Endpoint, Serving},
        health::HealthState,
    },
};

/// The members as they should become.
pub(super) struct NewMembers<'a> {
    pub(super) config: Arc<config::Pool>,
    pub(super) upstreams: &'a [Upstream],
    /// Called with each endpoint before clients can be sent there.
    pub(super) prepare: &'a dyn Fn(&Endpoint),
}

impl Pool {
    /// Existing members stay the same brokers, with their sessions and everything that is known
    /// about them.
    pub(super) fn replace_members(
        &self,
        state: &mut PoolState,
        effects: &mut PoolEffects,
        new: &NewMembers<'_>,
        now: Instant,
    ) -> MemberChanges {
        let before = self.members();
        let config = &new.config;
        if before.config.health != config.health {
            for known in state.health.values_mut() {
                known.reconfigure(&before.config.health, &config.health);
            }
        }
        state.weights.revise(config, new.upstreams, effects);
        let mut leaving: HashMap<_, _> =
            before.list.iter().map(|member| (&*member.broker.name, member)).collect();
        let mut changes = MemberChanges::default();
        let mut list = Vec::with_capacity(new.upstreams.len());
        for upstream in new.upstreams {
            let known = leaving.remove(&*upstream.name);
            list.push(self.member(state, new, upstream, known, &mut changes, now));
        }
        let is_leaving = |member: &&Member| leaving.contains_key(&*member.broker.name);
        let departing: Vec<_> = before.list.iter().filter(is_leaving).collect();
        for Member { broker, .. } in &departing {
            changes.removed.push(broker.name.clone());
            state.forget(broker);
        }
        if before.list.is_empty() {
            // The first members have not recovered from an outage, so they have no slow start.
            for member in &list {
                member.broker.flags.up.store(true, Ordering::Relaxed);
            }
        }
        if !changes.is_empty() || !Arc::ptr_eq(config, &before.config) {
            self.store_members(config.clone(), list);
        }
        // Clients that wait for a departing broker go on to others, which are members by now.
        for Member { broker, .. } in departing {
            depart(broker, now);
        }
        changes
    }

    /// One of the new members: the existing one, a broker that is still in use, or a new broker.
    fn member(
        &self,
        state: &mut PoolState,
        new: &NewMembers<'_>,
        upstream: &Upstream,
        known: Option<&Member>,
        changes: &mut MemberChanges,
        now: Instant,
    ) -> Member {
        let config = &new.config;
        let broker = match known {
            Some(member) => member.broker.clone(),
            None => self.returning_or_new(state, config, upstream),
        };
        let change = broker.configure(config, upstream, new.prepare);
        if known.is_none() {
            // Set before clients can be sent to it: nothing is known against it.
            broker.set_serving(Serving::Yes, config.admission, now);
        }
        broker.flags.removed.store(false, Ordering::Relaxed);
        let member = Member {
            weight: state.weights.weight_of(upstream),
            configured_weight: upstream.weight,
            backup: upstream.backup,
            broker,
        };
        match known {
            None => changes.added.push(upstream.name.clone()),
            Some(known) if change.is_any() || !known.is_ranked_as(&member) => {
                changes.changed.push(upstream.name.clone());
            }
            Some(_) => {}
        }
        let health = state.health.entry(upstream.name.clone());
        let health = health.or_insert_with(|| HealthState::new(&config.health));
        if change.address {
            health.reset(&config.health);
        }
        member
    }

    /// The broker with that name that is still in use, otherwise a new one.
    fn returning_or_new(
        &self,
        state: &mut PoolState,
        config: &config::Pool,
        upstream: &Upstream,
    ) -> Arc<Broker> {
        let departed = state.departed.remove(&upstream.name);
        departed.and_then(|departed| departed.upgrade()).unwrap_or_else(|| {
            Arc::new(Broker::new(config, upstream, &self.all_metrics, &self.queued))
        })
    }

    /// Publishes new members. The caller holds the state's lock.
    pub(super) fn store_members(&self, config: Arc<config::Pool>, list: Vec<Member>) {
        let epoch = self.members.load().epoch + 1;
        self.members.store(Arc::new(Members::new(epoch, config, list)));
        self.epoch.store(epoch, Ordering::Release);
        self.changed.send_replace(());
    }
}

/// Marks a broker that has left the pool.
pub(super) fn depart(broker: &Broker, now: Instant) {
    broker.flags.leaving.store(true, Ordering::Relaxed);
    broker.flags.up.store(false, Ordering::Relaxed);
    broker.flags.down.store(false, Ordering::Relaxed);
    broker.set_serving(Serving::No, None, now);
    broker.metrics.up.set(0);
}
