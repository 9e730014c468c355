//! The state of a pool that its lock protects.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use super::{
    effects::{PoolEffects, PoolEvent},
    members::Members,
    outage::Outage,
    weights::WeightOverrides,
};
use crate::{
    config::OnDown,
    upstream::{
        broker::Broker,
        health::{BrokerState, HealthState},
    },
};

/// The shortest time between two searches for displaced clients: each search walks over every
/// session.
const DISPLACED_INTERVAL: Duration = Duration::from_secs(2);

/// How long a broker waits for its trial client before another client is sent to it.
const TRIAL_INTERVAL: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct PoolState {
    /// The health of each member, by name.
    pub(super) health: HashMap<Arc<str>, HealthState>,
    pub(super) weights: WeightOverrides,
    /// Brokers that are no longer members but are still in use, by name: a broker that returns is
    /// the same object, so that a name never has two.
    pub(super) departed: HashMap<Arc<str>, Weak<Broker>>,
    /// Whether clients are on other brokers although their own broker recovered at once.
    pub(super) displaced: bool,
    /// When workers were last asked to move such clients.
    moves_requested: Option<Instant>,
    /// The number of brokers that the checks have found down, possibly because of a shared fault.
    pub(super) held: u32,
    /// `None` unless clients are refused because all brokers fail.
    pub(super) outage: Option<Outage>,
}

impl PoolState {
    /// Drops everything known about a broker that leaves the pool.
    pub(super) fn forget(&mut self, broker: &Arc<Broker>) {
        self.health.remove(&broker.name);
        self.weights.remove(&broker.name);
        self.departed.insert(broker.name.clone(), Arc::downgrade(broker));
    }

    /// The brokers that the operator allows to serve.
    pub(super) fn ready(&self) -> impl Iterator<Item = &HealthState> {
        self.health.values().filter(|health| health.state == BrokerState::Ready)
    }

    /// Whether an outage has been declared.
    pub(super) fn serves_nobody(&self) -> bool {
        self.outage.as_ref().is_some_and(Outage::is_declared)
    }

    /// Decides for each broker that the checks have found down whether the fault may be shared. It
    /// counts as possibly shared for as long as it would be if every broker that has not passed a
    /// check since were down too. Sessions of such brokers stay: a fault that all brokers share, in
    /// the network or in the checks, shows on one broker after the other, and must not end any
    /// session.
    pub(super) fn hold_or_confirm(
        &mut self,
        members: &Members,
        failing_open: bool,
        effects: &mut PoolEffects,
        now: Instant,
    ) {
        let percent = members.config.health.fail_open_percent.map_or(100, NonZeroU32::get);
        let count = self.ready().count();
        let mut passed: Vec<_> = self.ready().filter_map(HealthState::healthy_since).collect();
        passed.sort_unstable();
        self.held = 0;
        for member in &members.list {
            let upstream = member.broker.name.clone();
            let Some(health) = self.health.get_mut(&upstream) else { continue };
            let Some(since) = health.unconfirmed_since() else { continue };
            let healthy = passed.len() - passed.partition_point(|began| *began < since);
            let closes =
                members.config.on_down == OnDown::Close && health.state == BrokerState::Ready;
            if failing_open || is_shared(count - healthy, count, percent) {
                self.held += 1;
                if health.hold_down() && closes {
                    effects.events.push(PoolEvent::SessionsHeld { upstream });
                }
            } else if !health.confirm_down(now) {
                self.held += 1;
            } else if closes {
                effects.events.push(PoolEvent::DownConfirmed { upstream });
            }
        }
    }

    /// Whether workers have to search for sessions on the wrong broker for a reason without a
    /// signal of its own: clients that a broker failed briefly, and brokers that wait for a trial
    /// while all their clients are connected elsewhere. `half_opened` is whether an ejection has
    /// just ended.
    pub(super) fn take_move_request(&mut self, half_opened: bool, now: Instant) -> bool {
        let since = self.moves_requested.map(|at| now.saturating_duration_since(at));
        let due = |pause: Duration| since.is_none_or(|since| since >= pause);
        let awaits_trial = || self.health.values().any(HealthState::awaits_trial);
        let requests = half_opened
            || self.displaced && due(DISPLACED_INTERVAL)
            || due(TRIAL_INTERVAL) && awaits_trial();
        if requests {
            self.displaced = false;
            self.moves_requested = Some(now);
        }
        requests
    }
}

/// Whether the share of bad brokers makes a shared fault more likely than separate faults.
pub(super) fn is_shared(bad: usize, count: usize, percent: u32) -> bool {
    bad * 100 >= percent as usize * count
}
