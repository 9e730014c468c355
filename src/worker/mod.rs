//! A worker: one thread with its event loop, its listeners and its sessions.

mod accept;
mod command;
mod event_loop;
mod handle;
mod listener;
mod listeners;

pub(crate) use command::{Adoption, PendingUpdate};
pub use command::{WorkerSetup, WorkerUpdate};
pub use handle::Worker;
