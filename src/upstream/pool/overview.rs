//! How the brokers of a pool stand at one moment, for those who look after them.

use std::sync::atomic::Ordering;

use super::{Member, Pool, PoolState};
use crate::upstream::BrokerState;

/// What is thought of one broker.
#[derive(Clone, Debug)]
pub struct Overview {
    pub member: Member,
    /// What the operator wants of it.
    pub state: BrokerState,
    /// Whether the checks, its clients and the operator have nothing against it.
    pub up: bool,
    pub status: PoolStatus,
    /// Whether DNS, and not the configuration, names it.
    pub discovered: bool,
}

/// How a broker is, in a word: where there are several, what weighs the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolStatus {
    Up,
    /// Its checks fail.
    Down,
    /// It failed clients that others took.
    Ejected,
    /// The operator has it drained.
    Draining,
    /// The operator says that it is down.
    SetDown,
    /// It has its `max_connections`.
    Full,
    /// Its host name has no address yet.
    Unresolved,
    /// No broker of its pool answers.
    Failing,
}

impl PoolStatus {
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
    /// All brokers, in the order of the members.
    pub fn overviews(&self) -> Vec<Overview> {
        let state = self.state();
        let members = self.members();
        let configured = members.config.upstreams.len();
        let members = members.list.iter().enumerate();
        members.map(|(at, member)| overview_of(&state, member, at >= configured)).collect()
    }

    /// The broker of that name.
    pub fn overview(&self, name: &str) -> Option<Overview> {
        let state = self.state();
        let members = self.members();
        let at = members.list.iter().position(|member| *member.broker.name == *name)?;
        let discovered = at >= members.config.upstreams.len();
        Some(overview_of(&state, &members.list[at], discovered))
    }
}

fn overview_of(state: &PoolState, member: &Member, discovered: bool) -> Overview {
    let broker = &member.broker;
    let health = state.health.get(&broker.name);
    let wanted = health.map_or(BrokerState::Ready, |health| health.state);
    let status = match (wanted, health) {
        (BrokerState::Down, _) => PoolStatus::SetDown,
        (BrokerState::Draining, _) => PoolStatus::Draining,
        (_, Some(condition)) if condition.is_checked_down() => PoolStatus::Down,
        (_, Some(condition)) if condition.is_ejected() => PoolStatus::Ejected,
        _ if broker.is_unresolved() => PoolStatus::Unresolved,
        _ if state.serves_nobody() => PoolStatus::Failing,
        _ if broker.is_full() => PoolStatus::Full,
        _ => PoolStatus::Up,
    };
    Overview {
        state: wanted,
        up: broker.flags.up.load(Ordering::Relaxed) && !state.serves_nobody(),
        status,
        discovered,
        member: member.clone(),
    }
}
