//! Which brokers of a pool serve, as decided by the operator, the checks and the clients.

use std::{
    num::NonZeroU32,
    sync::{Arc, Weak, atomic::Ordering},
    time::Instant,
};

use super::{
    Pool,
    effects::{PoolEffects, PoolEvent},
    members::Member,
    state::{PoolState, is_shared},
};
use crate::{
    config::{self, ActiveCheck, OnDown},
    upstream::{
        broker::{Broker, Endpoint, Serving},
        health::{BrokerState, CircuitState, HealthChange, HealthState},
    },
};

/// The result of one probe of a broker.
pub struct ProbeResult<'a> {
    pub broker: &'a Broker,
    /// The endpoint and the check that were used; the result counts only while both are in force.
    pub endpoint: &'a Arc<Endpoint>,
    pub check: &'a ActiveCheck,
    pub began: Instant,
    /// `Err` holds the reason for the failure.
    pub outcome: Result<(), &'a str>,
}

impl Pool {
    /// Counts a probe.
    pub fn record_probe(&self, result: &ProbeResult<'_>, now: Instant) {
        let ProbeResult { broker, endpoint, check, began, outcome } = result;
        self.change(|state, effects| {
            let config = self.config();
            let active = config.health.active.as_ref();
            let is_in_force = active.is_some_and(|active| active.probe == check.probe)
                && Arc::ptr_eq(&broker.endpoint(), endpoint);
            if !is_in_force {
                return;
            }
            let Some(health) = state.health.get_mut(&broker.name) else { return };
            let upstream = broker.name.clone();
            match (health.record_probe(outcome.is_ok(), check, *began, now), outcome) {
                (HealthChange::None, _) => return,
                (HealthChange::Verdict, Ok(())) => {
                    effects.events.push(PoolEvent::CheckedUp { upstream });
                }
                (HealthChange::Verdict, Err(error)) => {
                    let (error, fall) = ((*error).to_owned(), check.fall);
                    effects.events.push(PoolEvent::CheckedDown { upstream, error, fall });
                }
                (HealthChange::Recovered, _) => {
                    let by = "its checks succeed";
                    effects.events.push(PoolEvent::Recovered { upstream, by });
                }
                (HealthChange::Displaced, _) => {
                    state.displaced = true;
                    return;
                }
            }
            self.recompute(state, effects, now);
        });
    }

    /// Handles what depends on time: ends of ejections and slow starts, and outages. To be called
    /// periodically.
    pub fn tick(&self, now: Instant) {
        self.change(|state, effects| {
            let members = self.members();
            let passive = members.config.health.passive.as_ref();
            let (mut ended, mut half_opened) = (false, false);
            for health in state.health.values_mut() {
                let just_ended = health.tick(now, passive);
                ended |= just_ended;
                half_opened |= just_ended && health.awaits_trial();
            }
            // The probes of other brokers decide whether a verdict is due to a broker's own fault.
            if ended || state.held > 0 && !self.is_failing_open() {
                self.recompute(state, effects, now);
            }
            if members.config.rebalance.is_some() {
                effects.moved |= state.take_move_request(half_opened, now);
            }
            for member in &members.list {
                let warming = &member.broker.flags.warming_since;
                if warming.load(Ordering::Relaxed) > 0 && self.warmth(&member.broker, now) >= 1.0 {
                    warming.store(0, Ordering::Relaxed);
                    effects.moved = true;
                }
            }
            self.tick_outage(state, effects, now);
            state.departed.retain(|_, broker| Weak::strong_count(broker) > 0);
        });
    }

    /// Decides which brokers serve, from everything that is known about them.
    pub(super) fn recompute(&self, state: &mut PoolState, effects: &mut PoolEffects, now: Instant) {
        let members = self.members();
        let config = &members.config;
        let failing_open = self.recompute_failing_open(&config.health, state, effects);
        state.hold_or_confirm(&members, failing_open, effects, now);
        let closes = config.on_down == OnDown::Close;
        self.metrics.down_held.set(if closes { state.held.into() } else { 0 });
        let serves_nobody = state.serves_nobody();
        for member in &members.list {
            let Some(health) = state.health.get(&member.broker.name) else { continue };
            let serving = serving(health, failing_open);
            member.broker.set_serving(serving, config.admission, now);
            self.publish_flags(member, health, config, effects, now);
            let up = member.broker.flags.up.load(Ordering::Relaxed) && !serves_nobody;
            member.broker.metrics.up.set(up.into());
            let down =
                health.state == BrokerState::Down || health.is_confirmed_down() && !failing_open;
            effects.went_down |= !member.broker.flags.down.swap(down, Ordering::Relaxed) && down;
        }
        self.publish_serving(state);
    }

    /// Publishes to the workers what is known about a broker.
    fn publish_flags(
        &self,
        member: &Member,
        health: &HealthState,
        config: &config::Pool,
        effects: &mut PoolEffects,
        now: Instant,
    ) {
        let flags = &member.broker.flags;
        flags.suspect.store(health.is_suspect(), Ordering::Relaxed);
        let leaving = health.state == BrokerState::Draining;
        effects.moved |= !flags.leaving.swap(leaving, Ordering::Relaxed) && leaving;
        let up = health.state == BrokerState::Ready && health.looks_up();
        let was_up = flags.up.swap(up, Ordering::Relaxed);
        if up && !was_up {
            let since = self.millis(now).max(1);
            let warming = config.slow_start.map_or(0, |_| since);
            flags.warming_since.store(warming, Ordering::Relaxed);
            effects.moved |= warming == 0;
        }
    }

    /// Decides whether so many brokers look down that a fault of the checks or the network is more
    /// likely.
    fn recompute_failing_open(
        &self,
        health: &config::Health,
        state: &PoolState,
        effects: &mut PoolEffects,
    ) -> bool {
        let count = state.ready().count();
        let bad = state.ready().filter(|health| !health.looks_up()).count();
        let is_shared = |percent: NonZeroU32| bad > 0 && is_shared(bad, count, percent.get());
        let failing_open = health.fail_open_percent.is_some_and(is_shared);
        self.metrics.failing_open.set(failing_open.into());
        if self.failing_open.swap(failing_open, Ordering::Relaxed) != failing_open {
            effects.events.push(if failing_open {
                PoolEvent::FailingOpen { bad, count }
            } else {
                PoolEvent::FailingClosed
            });
        }
        failing_open
    }
}

/// Whether a broker in this state of health is given sessions.
fn serving(health: &HealthState, failing_open: bool) -> Serving {
    match health.circuit() {
        _ if health.state != BrokerState::Ready => Serving::No,
        _ if failing_open => Serving::Yes,
        _ if health.is_checked_down() => Serving::No,
        CircuitState::Closed => Serving::Yes,
        CircuitState::HalfOpen => Serving::Trial,
        CircuitState::Ejected { .. } => Serving::No,
    }
}
