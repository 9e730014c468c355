//! A session's lease of a broker.

use std::{
    cell::Cell,
    sync::{Arc, atomic::Ordering},
};

use super::Broker;
use crate::upstream::local_addresses::LocalPort;

/// A place for one session on a broker. Dropping it ends the lease.
#[derive(Debug)]
pub struct Lease {
    broker: Arc<Broker>,
    /// The local port of the connection, once it has been dialled.
    port: Option<LocalPort>,
    /// Whether this session is the trial of an ejected broker.
    trial: Cell<bool>,
}

/// While this is held, no other client becomes the broker's trial.
#[derive(Debug)]
pub(crate) struct Trial(Arc<Broker>);

impl Broker {
    /// Leases the broker for one session.
    ///
    /// # Errors
    /// Returns the broker if it has just become full or stopped serving.
    pub fn lease(self: Arc<Self>) -> Result<Lease, Arc<Self>> {
        let max = self.max_connections.load(Ordering::Relaxed);
        self.lease_up_to(if max > 0 { max } else { u32::MAX })
    }

    /// Leases the broker for a session that replaces one of its sessions.
    ///
    /// # Errors
    /// Returns the broker if it has just stopped serving.
    pub(crate) fn lease_beyond_limit(self: Arc<Self>) -> Result<Lease, Arc<Self>> {
        self.lease_up_to(u32::MAX)
    }

    /// Leases the broker for a session that it already has, and that has moved here from another
    /// process: whatever its state and its limit. `port`: of the session's connection.
    pub(crate) fn lease_moved(self: Arc<Self>, port: Option<LocalPort>) -> Lease {
        self.flags.sessions.fetch_add(1, Ordering::Relaxed);
        self.metrics.sessions_active.inc();
        Lease { broker: self, port, trial: Cell::new(false) }
    }

    fn lease_up_to(self: Arc<Self>, max: u32) -> Result<Lease, Arc<Self>> {
        let Some(trial) = self.flags.take_trial() else { return Err(self) };
        let before = self.flags.sessions.fetch_add(1, Ordering::Relaxed);
        self.metrics.sessions_active.inc();
        let lease = Lease { broker: self, port: None, trial: Cell::new(trial) };
        if before < max { Ok(lease) } else { Err(lease.broker.clone()) }
    }
}

impl Lease {
    pub fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    /// Sets the local port of the connection, and frees the port of an earlier one.
    pub(crate) fn take_port(&mut self, port: LocalPort) {
        self.port = Some(port);
    }

    /// If this session is a trial, ends it. The pool is then notified of the result; until it has
    /// decided, the next client may be a trial as well.
    pub fn settle(&self) {
        drop(self.take_trial());
    }

    /// If this session is a trial, takes the trial, to be held until its result is known.
    pub(crate) fn take_trial(&self) -> Option<Trial> {
        self.trial.replace(false).then(|| Trial(self.broker.clone()))
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        self.0.flags.give_back_trial();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.settle();
        self.broker.flags.sessions.fetch_sub(1, Ordering::Relaxed);
        self.broker.metrics.sessions_active.dec();
    }
}
