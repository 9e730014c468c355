//! Whether a pool serves nobody: clients were refused because every broker failed them, and the
//! proxy itself gets no answer from any broker either.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{
    Pool, PoolState,
    effects::{Effects, Event},
};
use crate::upstream::{BrokerState, broker::Broker, health::HealthState};

#[cfg(test)]
mod tests;

/// So many clients have to be left without an answer by brokers that can be reached: one alone may
/// send what makes every broker hang up.
const SEVERAL: usize = 3;

/// How often it is said again how many clients have been refused.
const SAY_AGAIN: Duration = Duration::from_mins(1);

/// How long brokers that can be reached are held to answer nobody once clients stop coming: only
/// clients can show that they do again, if the proxy's own CONNECT is one that they do not answer.
const UNANSWERED_FOR: Duration = Duration::from_mins(1);

/// Brokers whose errors are in one line of the log.
const BROKERS_SAID: usize = 20;

/// How all brokers failed a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// None could be reached, which no client can bring about.
    Unreachable,
    /// One at least had the CONNECT and did not answer it. The number tells clients apart.
    Unanswered(u64),
}

/// One look at all brokers of a pool, to see whether one serves.
#[derive(Clone, Debug)]
pub struct Round {
    /// The [`Pool::epoch`] that it is of: it says nothing of brokers that came later.
    epoch: u64,
    /// Whether they are sent a CONNECT, as being reached is not enough.
    pub sends_connect: bool,
    pub brokers: Vec<(Arc<Broker>, Look)>,
}

/// What is to be done about a broker in such a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    Ask,
    /// It has all the sessions that it may have.
    Serves,
    /// It is given nobody, for this reason.
    Closed(&'static str),
}

/// Clients are refused.
#[derive(Debug)]
pub(super) struct Outage {
    /// Since the first of them.
    since: Instant,
    last: Instant,
    refused: u64,
    unreachable: bool,
    /// Clients that were left without an answer, up to several.
    unanswered: Vec<u64>,
    declared: Option<Declared>,
}

/// The pool serves nobody.
#[derive(Debug)]
struct Declared {
    /// What the first of its brokers said last.
    error: String,
    said: Instant,
    refused_then: u64,
}

impl Outage {
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            last: now,
            refused: 0,
            unreachable: false,
            unanswered: Vec::new(),
            declared: None,
        }
    }

    fn sends_connect(&self) -> bool {
        self.unanswered.len() >= SEVERAL
    }

    /// Whether it is time for the proxy itself to ask the brokers.
    fn is_to_be_asked(&self) -> bool {
        self.unreachable || self.sends_connect() || self.declared.is_some()
    }

    fn is_declared(&self) -> bool {
        self.declared.is_some()
    }
}

impl Pool {
    /// Notes that a client was refused because no broker took it, for no reason of its own.
    pub fn record_refused(&self, how: Refused, now: Instant) {
        // Of a pool that the configuration has no more, nobody wants to know.
        if self.members().list.iter().any(|member| member.broker.is_removed()) {
            return;
        }
        self.change(|state, _| {
            let outage = state.outage.get_or_insert_with(|| Outage::new(now));
            (outage.last, outage.refused) = (now, outage.refused.saturating_add(1));
            match how {
                Refused::Unreachable => outage.unreachable = true,
                Refused::Unanswered(client) => {
                    let is_new = !outage.unanswered.contains(&client);
                    if is_new && outage.unanswered.len() < SEVERAL {
                        outage.unanswered.push(client);
                    }
                }
            }
            self.awaits_success.store(true, Ordering::Relaxed);
            if outage.is_to_be_asked() {
                self.refusing.notify_one();
            }
        });
    }

    /// Why clients are not to be sent to this pool; `None` where it serves.
    pub fn not_serving(&self) -> Option<String> {
        let state = self.state();
        let why = match state.outage.as_ref().and_then(|outage| outage.declared.as_ref()) {
            Some(declared) => declared.error.clone(),
            None if self.is_checked_out(&state) => "the checks of all its brokers fail".to_owned(),
            None => return None,
        };
        Some(format!("pool {} serves nobody: {why}", self.name))
    }

    /// What is to be asked of which brokers; `None` while nothing is.
    pub fn round(&self) -> Option<Round> {
        let state = self.state();
        let outage = state.outage.as_ref().filter(|outage| outage.is_to_be_asked())?;
        let look = |broker: &Arc<Broker>| {
            let health = state.health.get(&broker.name)?;
            let look = match health.state {
                BrokerState::Draining | BrokerState::Down => return None,
                BrokerState::Ready if broker.is_full() => Look::Serves,
                BrokerState::Ready if broker.is_unresolved() => {
                    Look::Closed("its host name has not been resolved")
                }
                BrokerState::Ready if broker.load().is_some() => Look::Ask,
                BrokerState::Ready if health.is_checked_down() => Look::Closed("its checks fail"),
                BrokerState::Ready => Look::Closed("ejected"),
            };
            Some((broker.clone(), look))
        };
        let members = self.members();
        let brokers = members.list.iter();
        let brokers = brokers.filter_map(|member| look(&member.broker)).collect();
        Some(Round { epoch: self.epoch(), sends_connect: outage.sends_connect(), brokers })
    }

    /// A broker has answered in a round.
    pub fn round_answered(&self, round: &Round, now: Instant) {
        self.change(|state, effects| {
            let Some(outage) = state.outage.as_mut().filter(|_| round.epoch == self.epoch()) else {
                return;
            };
            if outage.sends_connect() && !round.sends_connect {
                return;
            }
            // Those who were left without an answer are not refuted by a connection.
            let unanswered = std::mem::take(&mut outage.unanswered);
            self.end_outage(state, effects, "a broker answers", now);
            if !round.sends_connect && !unanswered.is_empty() {
                let refused = unanswered.len() as u64;
                state.outage = Some(Outage { refused, unanswered, ..Outage::new(now) });
            }
            self.show_serving(state);
        });
    }

    /// No broker has answered in a round; `errors` says of each why.
    pub fn round_failed(&self, round: &Round, errors: &[(Arc<str>, String)], now: Instant) {
        self.change(|state, effects| {
            let has_brokers = !self.members().list.is_empty();
            let Some(outage) = state.outage.as_mut().filter(|_| round.epoch == self.epoch()) else {
                return;
            };
            let error = match errors {
                // The operator has taken all of them out.
                [] if has_brokers => return self.forget_outage(state),
                [] => "no broker has been discovered yet".to_owned(),
                [(upstream, error), ..] => format!("{upstream}: {error}"),
            };
            let refused = outage.refused;
            let (said, refused_then) = match &outage.declared {
                Some(before) => (before.said, before.refused_then),
                None => (now, refused),
            };
            let was_declared = outage.is_declared();
            outage.declared = Some(Declared { error: error.clone(), said, refused_then });
            if !was_declared {
                let errors = if errors.is_empty() { error } else { shown(errors) };
                effects.events.push(Event::ServesNobody { refused, errors });
                self.recompute(state, effects, now);
            }
        });
    }

    /// A client has been answered.
    pub(super) fn note_success(&self, state: &mut PoolState, effects: &mut Effects, now: Instant) {
        self.end_outage(state, effects, "a client has been answered", now);
        self.show_serving(state);
    }

    pub(super) fn forget_outage(&self, state: &mut PoolState) {
        state.outage = None;
        self.show_serving(state);
    }

    /// What comes with time.
    pub(super) fn tick_outage(&self, state: &mut PoolState, effects: &mut Effects, now: Instant) {
        let Some(outage) = &mut state.outage else { return };
        let is_quiet = now.saturating_duration_since(outage.last) >= UNANSWERED_FOR;
        if !outage.unreachable && is_quiet {
            let by = "no client has come for a minute, so the next one is tried";
            return self.end_outage(state, effects, by, now);
        }
        let (refused, since) = (outage.refused, outage.since);
        let Some(declared) = &mut outage.declared else { return };
        let is_due = now.saturating_duration_since(declared.said) >= SAY_AGAIN;
        if is_due && refused > declared.refused_then {
            (declared.said, declared.refused_then) = (now, refused);
            let span = now.saturating_duration_since(since);
            let error = declared.error.clone();
            effects.events.push(Event::StillServesNobody { refused, span, error });
        }
    }

    /// Tells the metrics and the workers what `state` says.
    pub(super) fn show_serving(&self, state: &PoolState) {
        let is_checked_out = self.is_checked_out(state);
        self.metrics.serving.set((!is_checked_out && !state.serves_nobody()).into());
        let awaits = is_checked_out || state.outage.is_some();
        self.awaits_success.store(awaits, Ordering::Relaxed);
    }

    fn end_outage(
        &self,
        state: &mut PoolState,
        effects: &mut Effects,
        by: &'static str,
        now: Instant,
    ) {
        let Some(outage) = state.outage.take() else { return };
        if outage.is_declared() {
            let span = now.saturating_duration_since(outage.since);
            effects.events.push(Event::ServesAgain { by, refused: outage.refused, span });
            self.recompute(state, effects, now);
        }
        self.show_serving(state);
    }

    /// Whether the checks have found all brokers down, and no client has ever shown otherwise.
    fn is_checked_out(&self, state: &PoolState) -> bool {
        let members = self.members();
        let mut ready = state.health.values().filter(|health| health.state == BrokerState::Ready);
        let answered = |broker: &Broker| broker.flags.answered.load(Ordering::Relaxed) > 0;
        let all_down = ready.next().is_some_and(HealthState::is_checked_down)
            && ready.all(HealthState::is_checked_down);
        all_down && !members.list.iter().any(|member| answered(&member.broker))
    }
}

impl PoolState {
    pub(super) fn serves_nobody(&self) -> bool {
        self.outage.as_ref().is_some_and(Outage::is_declared)
    }
}

/// The errors of the first brokers, as "b1: cannot connect: …; b2: …".
fn shown(errors: &[(Arc<str>, String)]) -> String {
    let first = errors.iter().take(BROKERS_SAID);
    let first: Vec<_> = first.map(|(upstream, error)| format!("{upstream}: {error}")).collect();
    match errors.len().saturating_sub(BROKERS_SAID) {
        0 => first.join("; "),
        more => format!("{}; and {more} more", first.join("; ")),
    }
}
