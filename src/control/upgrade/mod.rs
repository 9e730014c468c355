//! An upgrade: another process takes over the listening sockets, what the operator has set, the
//! counters and the sessions, and this one ends with its last session.
//!
//! The process before the upgrade checks and starts the new one ([`giver`]); the new one starts up
//! without accepting until it is told to ([`taker`]). Until then, every failure leaves the old one
//! as if nothing had been asked.

mod binary;
mod check;
mod events;
mod giver;
mod handed;
mod in_progress;
mod new_process;
mod previous;
mod process_before;
mod requests;
mod sending;
mod state;
mod steps;
mod taker;
mod upgrades;

pub(super) use events::{AfterUpgrade, UpgradeEvent};
pub(super) use handed::begin_serving;
pub(super) use previous::Previous;
pub(super) use requests::upgrade_channel;
pub(super) use state::TakenSockets;
pub(super) use taker::Takeover;
pub(super) use upgrades::Upgrades;
