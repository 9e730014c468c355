//! A session's place on a broker.

use std::{
    cell::Cell,
    sync::{Arc, atomic::Ordering},
};

use super::Broker;
use crate::upstream::dial::Port;

/// One session's place on a broker, given back when it is dropped.
#[derive(Debug)]
pub struct Lease {
    broker: Arc<Broker>,
    /// The local port of the connection, once it is dialled.
    port: Option<Port>,
    /// Whether this session shows whether the broker is well again.
    trial: Cell<bool>,
}

/// While this is held, no other client is the broker's trial.
#[derive(Debug)]
pub struct Trial(Arc<Broker>);

impl Broker {
    /// Takes a place for one session.
    ///
    /// # Errors
    /// The broker itself, when its last place, or its readiness, has just gone.
    pub fn lease(self: Arc<Self>) -> Result<Lease, Arc<Self>> {
        let most = self.max_connections.load(Ordering::Relaxed);
        self.lease_up_to(if most > 0 { most } else { u32::MAX })
    }

    /// Takes a place for a session that replaces one which the broker has.
    ///
    /// # Errors
    /// The broker itself, when its readiness has just gone.
    pub fn lease_beyond_limit(self: Arc<Self>) -> Result<Lease, Arc<Self>> {
        self.lease_up_to(u32::MAX)
    }

    fn lease_up_to(self: Arc<Self>, most: u32) -> Result<Lease, Arc<Self>> {
        let Some(trial) = self.flags.take_trial() else { return Err(self) };
        let before = self.flags.sessions.fetch_add(1, Ordering::Relaxed);
        self.metrics.sessions_active.inc();
        let lease = Lease { broker: self, port: None, trial: Cell::new(trial) };
        if before < most { Ok(lease) } else { Err(lease.broker.clone()) }
    }
}

impl Lease {
    pub fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    /// The connection that is made now has this local port, and an earlier one has none any more.
    pub(in crate::upstream) fn take_port(&mut self, port: Port) {
        self.port = Some(port);
    }

    /// This session is no trial any more: the pool is told now what came of it. Until it has
    /// decided, the next client may be one.
    pub fn settle(&self) {
        drop(self.take_trial());
    }

    /// The trial that this session was, for as long as it is not known what came of it.
    pub fn take_trial(&self) -> Option<Trial> {
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
