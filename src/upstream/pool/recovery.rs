//! Outages of a pool: how they begin, are probed, and end.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use super::{
    Pool,
    effects::{PoolEffects, PoolEvent},
    outage::{AllBrokersFailed, Outage},
    state::PoolState,
};
use crate::upstream::{
    broker::Broker,
    health::{BrokerState, HealthState},
};

#[cfg(test)]
mod tests;

/// The maximum number of brokers whose errors are logged in one line.
const MAX_LOGGED_BROKERS: usize = 20;

/// One round of probes over all brokers of a pool, to find one that serves.
#[derive(Clone, Debug)]
pub struct RecoveryRound {
    /// The [`Pool::epoch`] in which it began: its result does not apply to brokers that were added
    /// later.
    epoch: u64,
    /// Whether the probes send a CONNECT, because a connection alone does not prove enough.
    pub sends_connect: bool,
    pub brokers: Vec<(Arc<Broker>, RecoveryStep)>,
}

/// What a round does with one broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoveryStep {
    Probe,
    /// Nothing: it serves, and has reached its `max_connections`.
    Serves,
    /// Nothing: it is not given clients, for this reason.
    Closed(&'static str),
}

impl Pool {
    /// Records that a client was refused because no broker accepted it, without a reason of its
    /// own.
    pub fn record_refusal(&self, how: AllBrokersFailed, now: Instant) {
        // Outages of a removed pool are not reported.
        if self.members().list.iter().any(|member| member.broker.is_removed()) {
            return;
        }
        self.change(|state, _| {
            let outage = state.outage.get_or_insert_with(|| Outage::new(now));
            outage.record_refusal(how, now);
            self.awaits_success.store(true, Ordering::Relaxed);
            if outage.is_probing_due() {
                self.recovery_due.notify_one();
            }
        });
    }

    /// Why clients should not be sent to this pool; `None` if it serves.
    pub fn not_serving(&self) -> Option<String> {
        let state = self.state();
        let why = match state.outage.as_ref().and_then(Outage::error) {
            Some(error) => error,
            None if self.is_checked_out(&state) => "the checks of all its brokers fail",
            None => return None,
        };
        Some(format!("pool {} serves nobody: {why}", self.name))
    }

    /// The round of probes to run now; `None` if there is no outage.
    pub fn recovery_round(&self) -> Option<RecoveryRound> {
        let state = self.state();
        let outage = state.outage.as_ref().filter(|outage| outage.is_probing_due())?;
        let step = |broker: &Arc<Broker>| {
            let step = recovery_step(broker, state.health.get(&broker.name)?)?;
            Some((broker.clone(), step))
        };
        let members = self.members();
        let brokers = members.list.iter().filter_map(|member| step(&member.broker)).collect();
        let sends_connect = outage.needs_connect();
        Some(RecoveryRound { epoch: self.epoch(), sends_connect, brokers })
    }

    /// Records that a broker answered in `round`.
    pub fn recovery_succeeded(&self, round: &RecoveryRound, now: Instant) {
        self.change(|state, effects| {
            let is_answered = |outage: &mut Outage| {
                round.epoch == self.epoch() && (round.sends_connect || !outage.needs_connect())
            };
            let Some(outage) = state.outage.take_if(is_answered) else { return };
            self.end_outage(state, effects, &outage, "a broker answers", now);
            state.outage = outage.only_unanswered(now).filter(|_| !round.sends_connect);
            self.publish_serving(state);
        });
    }

    /// Records that no broker answered in `round`; `errors` has the error of each.
    pub fn recovery_failed(
        &self,
        round: &RecoveryRound,
        errors: &[(Arc<str>, String)],
        now: Instant,
    ) {
        self.change(|state, effects| {
            let has_brokers = !self.members().list.is_empty();
            let Some(outage) = state.outage.as_mut().filter(|_| round.epoch == self.epoch()) else {
                return;
            };
            let error = match errors {
                // The operator has set all of them to drain or down.
                [] if has_brokers => return self.clear_outage(state),
                [] => "no broker has been discovered yet".to_owned(),
                [(upstream, error), ..] => format!("{upstream}: {error}"),
            };
            if outage.declare(error.clone(), now) {
                let refused = outage.refused;
                let errors = if errors.is_empty() { error } else { joined(errors) };
                effects.events.push(PoolEvent::ServesNobody { refused, errors });
                self.recompute(state, effects, now);
            }
        });
    }

    /// Ends the outage because a client was answered.
    pub(super) fn end_outage_by_client(
        &self,
        state: &mut PoolState,
        effects: &mut PoolEffects,
        now: Instant,
    ) {
        if let Some(outage) = state.outage.take() {
            self.end_outage(state, effects, &outage, "a client has been answered", now);
        }
        self.publish_serving(state);
    }

    /// Drops the outage without logging it.
    pub(super) fn clear_outage(&self, state: &mut PoolState) {
        state.outage = None;
        self.publish_serving(state);
    }

    /// Handles what depends on time: reminders, and the end of an outage that only clients can
    /// show.
    pub(super) fn tick_outage(
        &self,
        state: &mut PoolState,
        effects: &mut PoolEffects,
        now: Instant,
    ) {
        if let Some(outage) = state.outage.take_if(|outage| outage.is_quiet(now)) {
            let by = "no client has come for a minute, so the next one is tried";
            return self.end_outage(state, effects, &outage, by, now);
        }
        effects.events.extend(state.outage.as_mut().and_then(|outage| outage.take_reminder(now)));
    }

    /// Publishes to the metrics and the workers whether the pool serves.
    pub(super) fn publish_serving(&self, state: &PoolState) {
        let is_checked_out = self.is_checked_out(state);
        self.metrics.serving.set((!is_checked_out && !state.serves_nobody()).into());
        let awaits = is_checked_out || state.outage.is_some();
        self.awaits_success.store(awaits, Ordering::Relaxed);
    }

    /// Completes the end of an outage that was taken from the state.
    fn end_outage(
        &self,
        state: &mut PoolState,
        effects: &mut PoolEffects,
        outage: &Outage,
        by: &'static str,
        now: Instant,
    ) {
        if outage.is_declared() {
            let span = now.saturating_duration_since(outage.since);
            let refused = outage.refused;
            effects.events.push(PoolEvent::ServesAgain { by, refused, span });
            self.recompute(state, effects, now);
        }
        self.publish_serving(state);
    }

    /// Whether the checks have found all brokers down, and no broker has ever answered a client.
    fn is_checked_out(&self, state: &PoolState) -> bool {
        let mut ready = state.ready();
        let all_down = ready.next().is_some_and(HealthState::is_checked_down)
            && ready.all(HealthState::is_checked_down);
        let answered = |broker: &Broker| broker.flags.answered.load(Ordering::Relaxed) > 0;
        all_down && !self.members().list.iter().any(|member| answered(&member.broker))
    }
}

/// What to do with a broker; `None` if the operator has taken it out of service.
fn recovery_step(broker: &Broker, health: &HealthState) -> Option<RecoveryStep> {
    Some(match health.state {
        BrokerState::Draining | BrokerState::Down => return None,
        BrokerState::Ready if broker.is_full() => RecoveryStep::Serves,
        BrokerState::Ready if broker.is_unresolved() => {
            RecoveryStep::Closed("its host name has not been resolved")
        }
        BrokerState::Ready if broker.load().is_some() => RecoveryStep::Probe,
        BrokerState::Ready if health.is_checked_down() => RecoveryStep::Closed("its checks fail"),
        BrokerState::Ready => RecoveryStep::Closed("ejected"),
    })
}

/// The errors of the first brokers, as "b1: cannot connect: …; b2: …".
fn joined(errors: &[(Arc<str>, String)]) -> String {
    let first = errors.iter().take(MAX_LOGGED_BROKERS);
    let first: Vec<_> = first.map(|(upstream, error)| format!("{upstream}: {error}")).collect();
    match errors.len().saturating_sub(MAX_LOGGED_BROKERS) {
        0 => first.join("; "),
        more => format!("{}; and {more} more", first.join("; ")),
    }
}
