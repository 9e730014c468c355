//! Passive checks: what the brokers of a pool answer clients, and how they fail them.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use super::{
    Pool,
    effects::{PoolEffects, PoolEvent},
    state::PoolState,
};
use crate::upstream::{broker::Broker, health::HealthChange};

impl Pool {
    /// Counts a client that a broker failed and another one accepted. The failed attempt began at
    /// `began`.
    ///
    /// It is not a failure if the broker has answered other clients since then: the broker is up,
    /// and the fault lies in a packet or a place in a queue. A fleet that connects at once must not
    /// get it ejected.
    pub fn record_failure(&self, broker: &Broker, began: Instant, now: Instant) {
        self.change(|state, effects| self.count_failure(state, effects, broker, began, now));
    }

    /// Counts a client that a broker failed and that no other broker accepted, because there was no
    /// other, the client left, or it could not be offered again. Only other brokers that accept
    /// clients in the meantime show that the fault is this broker's.
    pub fn record_lone_failure(&self, broker: &Broker, began: Instant, now: Instant) {
        self.change(|state, effects| {
            let members = self.members();
            let Some(passive) = &members.config.health.passive else { return };
            let others = members.list.iter().map(|member| &*member.broker);
            let others = others.filter(|other| other.id() != broker.id());
            let answered = others.map(|other| other.flags.answered.load(Ordering::Relaxed)).max();
            let answered = answered.filter(|at| *at > 0);
            let answered = answered.map(|at| self.started + Duration::from_millis(at));
            let Some(health) = state.health.get_mut(&broker.name) else { return };
            broker.flags.suspect.store(true, Ordering::Relaxed);
            if health.record_lone_failure(now, passive, answered) {
                self.count_failure(state, effects, broker, began, now);
            }
        });
    }

    fn count_failure(
        &self,
        state: &mut PoolState,
        effects: &mut PoolEffects,
        broker: &Broker,
        began: Instant,
        now: Instant,
    ) {
        let members = self.members();
        let Some(passive) = &members.config.health.passive else { return };
        let ejected = state.health.values().filter(|other| other.is_ejected()).count();
        let max_ejected = members.list.len() * passive.max_ejected_percent as usize / 100;
        let Some(health) = state.health.get_mut(&broker.name) else { return };
        broker.flags.suspect.store(true, Ordering::Relaxed);
        if broker.flags.answered.load(Ordering::Relaxed) > self.millis(began) {
            return health.record_displaced();
        }
        let is_enough = health.record_failure(now, passive);
        if is_enough && (health.is_ejected() || ejected < max_ejected) {
            let span = health.eject(now, passive);
            broker.metrics.ejections.inc();
            effects.events.push(PoolEvent::Ejected { upstream: broker.name.clone(), span });
            self.recompute(state, effects, now);
        }
    }

    /// Records that a broker answered a client.
    pub fn record_success(&self, broker: &Broker, now: Instant) {
        broker.flags.answered.store(self.millis(now).max(1), Ordering::Relaxed);
        let is_awaited = self.awaits_success.load(Ordering::Relaxed);
        if !is_awaited && !broker.flags.suspect.load(Ordering::Relaxed) {
            return;
        }
        self.change(|state, effects| {
            if is_awaited {
                self.end_outage_by_client(state, effects, now);
            }
            broker.flags.suspect.store(false, Ordering::Relaxed);
            let Some(health) = state.health.get_mut(&broker.name) else { return };
            match health.record_success(now) {
                HealthChange::Recovered => {
                    let (upstream, by) = (broker.name.clone(), "it accepted a client");
                    effects.events.push(PoolEvent::Recovered { upstream, by });
                    self.recompute(state, effects, now);
                }
                HealthChange::Displaced => state.displaced = true,
                HealthChange::None | HealthChange::Verdict => {}
            }
        });
    }
}
