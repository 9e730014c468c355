//! What clients meet with at the brokers of a pool: answers, and failures that eject a broker.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use super::{
    Pool, PoolState,
    effects::{Effects, Event},
};
use crate::upstream::{broker::Broker, health::News};

impl Pool {
    /// Counts a client that a broker failed and another one took. It was sent to the first at `began`.
    ///
    /// It is no failure if others were answered since: then the broker is there, and what failed is
    /// a packet or a place in a queue. A fleet that comes at once must not have it ejected.
    pub fn record_failure(&self, broker: &Broker, began: Instant, now: Instant) {
        self.change(|state, effects| self.count_failure(state, effects, broker, began, now));
    }

    /// Counts a client that a broker failed and no other one took, because there was none, it went,
    /// or it was not to be tried again. Only brokers that take clients meanwhile show that the fault
    /// is this one's.
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
            if health.failed_alone(now, passive, answered) {
                self.count_failure(state, effects, broker, began, now);
            }
        });
    }

    fn count_failure(
        &self,
        state: &mut PoolState,
        effects: &mut Effects,
        broker: &Broker,
        began: Instant,
        now: Instant,
    ) {
        let members = self.members();
        let Some(passive) = &members.config.health.passive else { return };
        let ejected = state.health.values().filter(|other| other.is_ejected()).count();
        let most = members.list.len() * passive.max_ejected_percent as usize / 100;
        let Some(health) = state.health.get_mut(&broker.name) else { return };
        broker.flags.suspect.store(true, Ordering::Relaxed);
        if broker.flags.answered.load(Ordering::Relaxed) > self.millis(began) {
            return health.displaced();
        }
        if health.failed(now, passive) && (health.is_ejected() || ejected < most) {
            let span = health.eject(now, passive);
            broker.metrics.ejections.inc();
            effects.events.push(Event::Ejected { upstream: broker.name.clone(), span });
            self.recompute(state, effects, now);
        }
    }

    /// Notes that a broker answered a client.
    pub fn record_success(&self, broker: &Broker, now: Instant) {
        broker.flags.answered.store(self.millis(now).max(1), Ordering::Relaxed);
        let is_awaited = self.awaits_success.load(Ordering::Relaxed);
        if !is_awaited && !broker.flags.suspect.load(Ordering::Relaxed) {
            return;
        }
        self.change(|state, effects| {
            if is_awaited {
                self.note_success(state, effects, now);
            }
            broker.flags.suspect.store(false, Ordering::Relaxed);
            let Some(health) = state.health.get_mut(&broker.name) else { return };
            match health.answered(now) {
                News::Recovered => {
                    let (upstream, by) = (broker.name.clone(), "it has taken a client again");
                    effects.events.push(Event::Recovered { upstream, by });
                    self.recompute(state, effects, now);
                }
                News::Displaced => state.displaced = true,
                News::None | News::Verdict => {}
            }
        });
    }
}
