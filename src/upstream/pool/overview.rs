//! An overview of the brokers of a pool, for operators.

use std::sync::atomic::Ordering;

use super::{Member, Pool, state::PoolState};
use crate::upstream::BrokerState;

/// One broker at one moment.
#[derive(Clone, Debug)]
pub struct BrokerOverview {
    pub member: Member,
    /// The state set by the operator.
    pub state: BrokerState,
    /// Whether the operator, the checks and the clients all allow it to serve.
    pub up: bool,
    pub status: BrokerStatus,
    /// Whether it was found in DNS and is not configured.
    pub discovered: bool,
}

/// A broker's state in one word; if several apply, the most important one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerStatus {
    Up,
    /// Its checks fail.
    Down,
    /// It failed clients that others accepted.
    Ejected,
    /// The operator has set it to drain.
    Draining,
    /// The operator has set it down.
    SetDown,
    /// It has reached its `max_connections`.
    Full,
    /// Its host name has no address yet.
    Unresolved,
    /// No broker of its pool answers.
    Failing,
}

impl BrokerStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Ejected => "ejected",
            Self::Draining => "draining",
            Self::SetDown => "set_down",
            Self::Full => "full",
            Self::Unresolved => "unresolved",
            Self::Failing => "failing",
        }
    }
}

impl Pool {
    /// All brokers, in the order of [`Members::list`](super::Members::list).
    pub fn overviews(&self) -> Vec<BrokerOverview> {
        let state = self.state();
        let members = self.members();
        let configured = members.config.upstreams.len();
        let members = members.list.iter().enumerate();
        members.map(|(at, member)| overview_of(&state, member, at >= configured)).collect()
    }

    /// The broker with that name.
    pub fn overview(&self, name: &str) -> Option<BrokerOverview> {
        let state = self.state();
        let members = self.members();
        let at = members.list.iter().position(|member| *member.broker.name == *name)?;
        let discovered = at >= members.config.upstreams.len();
        Some(overview_of(&state, &members.list[at], discovered))
    }
}

fn overview_of(state: &PoolState, member: &Member, discovered: bool) -> BrokerOverview {
    let broker = &member.broker;
    let health = state.health.get(&broker.name);
    let wanted = health.map_or(BrokerState::Ready, |health| health.state);
    let status = match (wanted, health) {
        (BrokerState::Down, _) => BrokerStatus::SetDown,
        (BrokerState::Draining, _) => BrokerStatus::Draining,
        (_, Some(health)) if health.is_checked_down() => BrokerStatus::Down,
        (_, Some(health)) if health.is_ejected() => BrokerStatus::Ejected,
        _ if broker.is_unresolved() => BrokerStatus::Unresolved,
        _ if state.serves_nobody() => BrokerStatus::Failing,
        _ if broker.is_full() => BrokerStatus::Full,
        _ => BrokerStatus::Up,
    };
    BrokerOverview {
        state: wanted,
        up: broker.flags.up.load(Ordering::Relaxed) && !state.serves_nobody(),
        status,
        discovered,
        member: member.clone(),
    }
}
