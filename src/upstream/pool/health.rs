//! What is known of a pool's brokers, from the operator, the checks and the clients, and which of
//! them serve because of it.

use std::{
    num::NonZeroU32,
    sync::{Arc, Weak, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{
    Members, Pool, PoolState,
    effects::{Effects, Event},
};
use crate::{
    config::{self, ActiveCheck, OnDown},
    upstream::{
        broker::{Broker, Endpoint, Serving},
        health::{BrokerState, Circuit, HealthState, News},
    },
};

/// The shortest time between two looks for displaced clients: each takes a look at every session.
const CALL_INTERVAL: Duration = Duration::from_secs(2);

/// How long a broker waits for the client that is its trial, before another one is sent.
const TRIAL_INTERVAL: Duration = Duration::from_secs(10);

/// There is no broker of that name in the pool.
#[derive(Debug, thiserror::Error)]
#[error("no broker {name} in pool {pool}")]
pub struct UnknownBroker {
    pub(super) name: String,
    pub(super) pool: Arc<str>,
}

/// One probe of a broker.
pub struct Probed<'a> {
    pub broker: &'a Broker,
    /// Where it was asked, and how: the answer counts only while both are the pool's.
    pub endpoint: &'a Arc<Endpoint>,
    pub check: &'a ActiveCheck,
    pub began: Instant,
    /// `Err` says what was wrong.
    pub outcome: Result<(), &'a str>,
}

impl Pool {
    /// Sets what the operator wants of a broker.
    ///
    /// # Errors
    /// Where the pool has no such broker.
    pub fn set_state(
        &self,
        name: &str,
        wanted: BrokerState,
        now: Instant,
    ) -> Result<(), UnknownBroker> {
        self.change(|state, effects| {
            let Some((upstream, health)) = state.health.get_key_value(name) else {
                return Err(UnknownBroker { name: name.to_owned(), pool: self.name.clone() });
            };
            if health.state != wanted {
                let upstream = upstream.clone();
                if let Some(health) = state.health.get_mut(name) {
                    health.state = wanted;
                }
                effects.events.push(Event::StateSet { upstream, state: wanted });
                self.recompute(state, effects, now);
            }
            Ok(())
        })
    }

    /// Counts a probe.
    pub fn probed(&self, probed: &Probed<'_>, now: Instant) {
        let Probed { broker, endpoint, check, began, outcome } = probed;
        self.change(|state, effects| {
            let config = self.config();
            let is_asked = config.health.active.as_ref().is_some_and(|it| it.probe == check.probe);
            if !is_asked || !Arc::ptr_eq(&broker.endpoint(), endpoint) {
                return;
            }
            let Some(health) = state.health.get_mut(&broker.name) else { return };
            let upstream = broker.name.clone();
            match (health.probed(outcome.is_ok(), check, *began, now), outcome) {
                (News::None, _) => return,
                (News::Verdict, Ok(())) => effects.events.push(Event::CheckedUp { upstream }),
                (News::Verdict, Err(error)) => {
                    let (error, fall) = ((*error).to_owned(), check.fall);
                    effects.events.push(Event::CheckedDown { upstream, error, fall });
                }
                (News::Recovered, _) => {
                    let by = "its checks succeed";
                    effects.events.push(Event::Recovered { upstream, by });
                }
                (News::Displaced, _) => {
                    state.displaced = true;
                    return;
                }
            }
            self.recompute(state, effects, now);
        });
    }

    /// What comes with time: ejections and slow starts that end. To be called every so often.
    pub fn tick(&self, now: Instant) {
        self.change(|state, effects| {
            let members = self.members();
            let passive = members.config.health.passive.as_ref();
            let (mut over, mut trial) = (false, false);
            for health in state.health.values_mut() {
                let just_over = health.tick(now, passive);
                over |= just_over;
                trial |= just_over && health.awaits_trial();
            }
            // The others' probes decide whether a verdict is a broker's own fault.
            if over || state.held > 0 && !self.is_failing_open() {
                self.recompute(state, effects, now);
            }
            if members.config.rebalance.is_some() {
                effects.moved |= state.calls_home(trial, now);
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

    /// Works out from all that is known of them which brokers serve.
    pub(super) fn recompute(&self, state: &mut PoolState, effects: &mut Effects, now: Instant) {
        let members = self.members();
        let config = &members.config;
        let failing_open = self.decide_failing_open(&config.health, state, effects);
        state.hold_or_confirm(&members, failing_open, effects, now);
        let closes = config.on_down == OnDown::Close;
        self.metrics.down_held.set(if closes { state.held.into() } else { 0 });
        for member in &members.list {
            let broker = &member.broker;
            let Some(health) = state.health.get(&broker.name) else { continue };
            let ready = health.state == BrokerState::Ready;
            let serving = match health.circuit() {
                _ if !ready => Serving::No,
                _ if failing_open => Serving::Yes,
                _ if health.is_checked_down() => Serving::No,
                Circuit::Closed => Serving::Yes,
                Circuit::HalfOpen => Serving::Trial,
                Circuit::Ejected { .. } => Serving::No,
            };
            broker.set_serving(serving, config.admission, now);
            let flags = &broker.flags;
            flags.suspect.store(health.is_suspect(), Ordering::Relaxed);
            let up = ready && health.looks_up();
            broker.metrics.up.set((up && !state.serves_nobody()).into());
            let was_up = flags.up.swap(up, Ordering::Relaxed);
            let leaving = health.state == BrokerState::Draining;
            effects.moved |= !flags.leaving.swap(leaving, Ordering::Relaxed) && leaving;
            let dead =
                health.state == BrokerState::Down || health.is_confirmed_down() && !failing_open;
            effects.died |= !flags.dead.swap(dead, Ordering::Relaxed) && dead;
            if up && !was_up {
                let since = self.millis(now).max(1);
                let warming = config.slow_start.map_or(0, |_| since);
                flags.warming_since.store(warming, Ordering::Relaxed);
                effects.moved |= warming == 0;
            }
        }
        self.show_serving(state);
    }

    /// Whether so many look down that the verdicts, or the network they rest on, are to be doubted.
    fn decide_failing_open(
        &self,
        health: &config::Health,
        state: &PoolState,
        effects: &mut Effects,
    ) -> bool {
        let count = state.ready().count();
        let bad = state.ready().filter(|health| !health.looks_up()).count();
        let is_shared = |percent: NonZeroU32| bad > 0 && is_shared(bad, count, percent.get());
        let failing_open = health.fail_open_percent.is_some_and(is_shared);
        self.metrics.failing_open.set(failing_open.into());
        if self.failing_open.swap(failing_open, Ordering::Relaxed) != failing_open {
            effects.events.push(if failing_open {
                Event::FailingOpen { bad, count }
            } else {
                Event::FailingClosed
            });
        }
        failing_open
    }
}

impl PoolState {
    /// Decides of each broker that the checks have found down whether the fault may be the pool's:
    /// it may, for as long as it would be if all brokers were down that have not passed a check
    /// since. The sessions of those in doubt stay: a fault that all brokers share, in the network or
    /// in the checks, is found out broker by broker, and must end none.
    fn hold_or_confirm(
        &mut self,
        members: &Members,
        failing_open: bool,
        effects: &mut Effects,
        now: Instant,
    ) {
        let percent = members.config.health.fail_open_percent.map_or(100, NonZeroU32::get);
        let count = self.ready().count();
        let mut passed: Vec<_> = self.ready().filter_map(HealthState::well_since).collect();
        passed.sort_unstable();
        self.held = 0;
        for member in &members.list {
            let upstream = member.broker.name.clone();
            let Some(health) = self.health.get_mut(&upstream) else { continue };
            let Some(since) = health.unconfirmed_since() else { continue };
            let well = passed.len() - passed.partition_point(|began| *began < since);
            let closes =
                members.config.on_down == OnDown::Close && health.state == BrokerState::Ready;
            if failing_open || is_shared(count - well, count, percent) {
                self.held += 1;
                if health.hold_down() && closes {
                    effects.events.push(Event::SessionsHeld { upstream });
                }
            } else if !health.confirm_down(now) {
                self.held += 1;
            } else if closes {
                effects.events.push(Event::DownConfirmed { upstream });
            }
        }
    }

    /// Whether sessions are to be looked at that may belong elsewhere for a reason that nothing else
    /// announces: clients that a broker failed for a moment, and brokers that wait for a trial while
    /// all their clients are connected elsewhere.
    fn calls_home(&mut self, trial: bool, now: Instant) -> bool {
        let since = self.called_home.map(|at| now.saturating_duration_since(at));
        let due = |pause: Duration| since.is_none_or(|since| since >= pause);
        let awaits_trial = || self.health.values().any(HealthState::awaits_trial);
        let calls =
            trial || self.displaced && due(CALL_INTERVAL) || due(TRIAL_INTERVAL) && awaits_trial();
        if calls {
            self.displaced = false;
            self.called_home = Some(now);
        }
        calls
    }

    /// Of the brokers that the operator lets serve.
    fn ready(&self) -> impl Iterator<Item = &HealthState> {
        self.health.values().filter(|health| health.state == BrokerState::Ready)
    }
}

/// Whether so many of the brokers are bad that the fault is rather a common one.
fn is_shared(bad: usize, count: usize, percent: u32) -> bool {
    bad * 100 >= percent as usize * count
}
