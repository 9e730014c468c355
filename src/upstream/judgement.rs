//! What is thought of a pool's brokers: from the operator, from checks and from clients to who serves.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{
    broker::Broker,
    condition::{Circuit, Condition, News, State},
    members::Member,
    pool::{Judged, Pool},
    standing::Serving,
};
use crate::config;

/// The shortest time between two looks for displaced clients: each takes a look at every session.
const CALL_AGAIN: Duration = Duration::from_secs(2);

/// How long a broker waits for the client that is its trial, before another one is sent.
const TRIAL_AGAIN: Duration = Duration::from_secs(10);

/// There is no broker of that name in the pool.
#[derive(Debug, thiserror::Error)]
#[error("no broker {name} in pool {pool}")]
pub struct UnknownBroker {
    pub(super) name: String,
    pub(super) pool: Arc<str>,
}

impl Pool {
    /// Sets what the operator wants of a broker.
    ///
    /// # Errors
    /// Where the pool has no such broker.
    pub fn set_state(&self, name: &str, state: State, now: Instant) -> Result<(), UnknownBroker> {
        let mut judged = self.judged();
        let Some(condition) = judged.conditions.get_mut(name) else {
            return Err(UnknownBroker { name: name.to_owned(), pool: self.name.clone() });
        };
        if condition.state != state {
            condition.state = state;
            tracing::info!(pool = %self.name, upstream = name, ?state, "set by the operator");
            self.judge(&mut judged, now);
        }
        Ok(())
    }

    /// Counts a probe of a broker; `Err` says what was wrong.
    pub fn probed(&self, broker: &Broker, outcome: Result<(), &str>, now: Instant) {
        let config = self.config();
        let Some(check) = &config.health.active else { return };
        let mut judged = self.judged();
        let Some(condition) = judged.conditions.get_mut(&broker.name) else { return };
        let (pool, upstream) = (&self.name, &broker.name);
        match (condition.probed(outcome.is_ok(), check, now), outcome) {
            (News::None, _) => return,
            (News::Verdict, Ok(())) => {
                tracing::info!(%pool, %upstream, "up: its checks succeed again");
            }
            (News::Verdict, Err(error)) => {
                tracing::warn!(%pool, %upstream, error, "down: {} checks have failed", check.fall);
            }
            (News::Recovered, _) => {
                tracing::info!(%pool, %upstream, "back from ejection: its checks succeed");
            }
            (News::Displaced, _) => {
                judged.displaced = true;
                return;
            }
        }
        self.judge(&mut judged, now);
    }

    /// Counts a client that a broker failed, which was sent there at `began`.
    ///
    /// It is no failure if others were answered since: then the broker is there, and what failed is
    /// a packet or a place in a queue. A fleet that comes at once must not have it ejected.
    pub fn blame(&self, broker: &Broker, began: Instant, now: Instant) {
        let config = self.config();
        let Some(passive) = &config.health.passive else { return };
        let mut judged = self.judged();
        let ejected = judged.conditions.values().filter(|other| other.is_ejected()).count();
        let most = self.members.load().list.len() * passive.max_ejected_percent as usize / 100;
        let Some(condition) = judged.conditions.get_mut(&broker.name) else { return };
        broker.standing.suspect.store(true, Ordering::Relaxed);
        if broker.has_answered_since(self.millis(began)) {
            return condition.displaced();
        }
        if condition.failed(now, passive) && (condition.is_ejected() || ejected < most) {
            let span = condition.eject(now, passive);
            broker.metrics.ejections.inc();
            tracing::warn!(
                pool = %self.name, upstream = %broker.name,
                "ejected for {span:?}: it failed clients that others took"
            );
            self.judge(&mut judged, now);
        }
    }

    /// Notes that a broker answered a client.
    pub fn praise(&self, broker: &Broker, now: Instant) {
        broker.set_answered(self.millis(now));
        if !broker.standing.suspect.load(Ordering::Relaxed) {
            return;
        }
        let mut judged = self.judged();
        broker.standing.suspect.store(false, Ordering::Relaxed);
        let Some(condition) = judged.conditions.get_mut(&broker.name) else { return };
        match condition.answered(now) {
            News::Recovered => {
                tracing::info!(
                    pool = %self.name, upstream = %broker.name,
                    "back from ejection: it has taken a client again"
                );
                self.judge(&mut judged, now);
            }
            News::Displaced => judged.displaced = true,
            News::None | News::Verdict => {}
        }
    }

    /// What comes with time: ejections and slow starts that end. To be called every so often.
    pub fn tick(&self, now: Instant) {
        let mut judged = self.judged();
        let (mut over, mut trial) = (false, false);
        for condition in judged.conditions.values_mut() {
            let just_over = condition.tick(now);
            over |= just_over;
            trial |= just_over && condition.awaits_trial();
        }
        if over {
            self.judge(&mut judged, now);
        }
        self.call_home(&mut judged, trial, now);
        let members = self.members();
        for Member { broker, .. } in &members.list {
            if broker.standing.warming_since.load(Ordering::Relaxed) > 0
                && self.warmth(broker, now) >= 1.0
            {
                broker.standing.warming_since.store(0, Ordering::Relaxed);
                self.announce(&self.moves);
            }
        }
        // Gone for good: no session has it, no worker, and no look-up is under way.
        judged.retired.retain(|broker| Arc::strong_count(broker) > 1);
    }

    /// Has sessions looked at that may belong elsewhere for a reason that nothing else announces:
    /// clients that a broker failed for a moment, and brokers that wait for a trial while all their
    /// clients are connected elsewhere.
    fn call_home(&self, judged: &mut Judged, trial: bool, now: Instant) {
        let since = judged.called_home.map(|at| now.saturating_duration_since(at));
        let due = |pause: Duration| since.is_none_or(|since| since >= pause);
        let awaits_trial = || judged.conditions.values().any(Condition::awaits_trial);
        let call =
            trial || judged.displaced && due(CALL_AGAIN) || due(TRIAL_AGAIN) && awaits_trial();
        if call && self.members.load().config.rebalance.is_some() {
            judged.displaced = false;
            judged.called_home = Some(now);
            self.announce(&self.moves);
        }
    }
    /// Works out from all that is thought of them which brokers serve.
    pub(super) fn judge(&self, judged: &mut Judged, now: Instant) {
        let members = self.members();
        let all: Vec<_> = members
            .list
            .iter()
            .filter_map(|member| {
                Some((&member.broker, judged.conditions.get(&member.broker.name)?))
            })
            .collect();
        let failing_open = self.judge_all(&members.config.health, &all);
        let (mut died, mut moved) = (false, false);
        for (broker, condition) in all {
            let ready = condition.state == State::Ready;
            broker.set_serving(match condition.circuit() {
                _ if !ready => Serving::No,
                _ if failing_open => Serving::Yes,
                _ if condition.is_checked_down() => Serving::No,
                Circuit::Closed => Serving::Yes,
                Circuit::HalfOpen => Serving::Trial,
                Circuit::Ejected { .. } => Serving::No,
            });
            broker.standing.suspect.store(condition.is_suspect(), Ordering::Relaxed);
            let up = ready && condition.looks_up();
            broker.metrics.up.set(up.into());
            let was_up = broker.standing.up.swap(up, Ordering::Relaxed);
            let leaving = condition.state == State::Draining;
            moved |= leaving && !broker.standing.leaving.swap(leaving, Ordering::Relaxed);
            broker.standing.leaving.store(leaving, Ordering::Relaxed);
            let dead =
                condition.state == State::Down || condition.is_checked_down() && !failing_open;
            died |= dead && !broker.standing.dead.swap(dead, Ordering::Relaxed);
            broker.standing.dead.store(dead, Ordering::Relaxed);
            if up && !was_up {
                let warming = members.config.slow_start.is_some();
                let since = now.saturating_duration_since(self.started).as_millis() as u64;
                broker
                    .standing
                    .warming_since
                    .store(if warming { since.max(1) } else { 0 }, Ordering::Relaxed);
                moved |= !warming;
            }
        }
        if died {
            self.announce(&self.deaths);
        }
        if moved {
            self.announce(&self.moves);
        }
    }

    /// Whether so many look down that the verdicts, or the network they rest on, are to be doubted.
    fn judge_all(&self, health: &config::Health, all: &[(&Arc<Broker>, &Condition)]) -> bool {
        let ready = all.iter().filter(|(_, condition)| condition.state == State::Ready);
        let (mut count, mut bad) = (0, 0);
        for (_, condition) in ready {
            count += 1;
            bad += u32::from(!condition.looks_up());
        }
        let failing_open = health
            .fail_open_percent
            .is_some_and(|percent| bad > 0 && bad * 100 >= percent.get() * count);
        if self.failing_open.swap(failing_open, Ordering::Relaxed) != failing_open {
            self.metrics.failing_open.set(failing_open.into());
            let pool = &self.name;
            if failing_open {
                tracing::error!(
                    %pool,
                    "{bad} of {count} brokers look down, which is more likely a fault of the checks \
                     or the network: trying them all (health.fail_open_percent)"
                );
            } else {
                tracing::info!(%pool, "enough brokers are up again: the checks are trusted again");
            }
        }
        failing_open
    }

    /// The time of the pool's life.
    fn millis(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.started).as_millis() as u64
    }
}
