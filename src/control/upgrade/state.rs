//! What a process hands over besides sessions.

use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use crate::{limits::HandedBan, listener::HandedShare, upstream::HandedPool};

/// The listening sockets. Their descriptors are in the order of these fields.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::control) struct Listening {
    pub(in crate::control) listeners: Vec<ListenerSockets>,
    /// The names of the sockets that the service manager has passed; a descriptor each.
    pub(in crate::control) inherited: Vec<String>,
    /// The address of the admin listener; one descriptor.
    pub(in crate::control) admin: Option<String>,
}

/// The sockets of one listener.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::control) struct ListenerSockets {
    pub(in crate::control) name: String,
    /// The address in the configuration.
    pub(in crate::control) bind: String,
    pub(in crate::control) descriptors: usize,
}

/// The process' state besides sockets and sessions.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::control) struct ProcessState {
    /// The first 16 bits of the session IDs of this process and of those before it.
    pub(in crate::control) run_ids: Vec<u16>,
    pub(in crate::control) bans: Vec<HandedBan>,
    pub(in crate::control) pools: Vec<HandedPool>,
    pub(in crate::control) shares: Vec<HandedShare>,
}

/// [`Listening`] with its descriptors.
#[derive(Debug, Default)]
pub(in crate::control) struct Sockets {
    pub(in crate::control) listening: Listening,
    pub(in crate::control) descriptors: Vec<OwnedFd>,
}
