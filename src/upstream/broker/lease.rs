//! A session's place on a broker.

use std::{
    cell::Cell,
    sync::{Arc, atomic::Ordering},
};

use super::Broker;
use crate::upstream::sources::Source;

/// One session's place on a broker, given back when it is dropped.
#[derive(Debug)]
pub struct Lease {
    broker: Arc<Broker>,
    /// The local address that the connection has a port of, once it is dialled.
    source: Option<Arc<Source>>,
    /// Whether this session shows whether the broker is well again.
    trial: Cell<bool>,
}

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
        let lease = Lease { broker: self, source: None, trial: Cell::new(trial) };
        if before < most { Ok(lease) } else { Err(lease.broker.clone()) }
    }
}

impl Lease {
    pub fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    /// The connection that is made now has a local port there, and an earlier one has none any more.
    pub(in crate::upstream) fn take_port(&mut self, at: &Arc<Source>) {
        at.take_port();
        if let Some(before) = self.source.replace(at.clone()) {
            before.free_port();
        }
    }

    /// This session is no trial any more: the pool is told now what came of it. Until it has
    /// decided, the next client may be one.
    pub fn settle(&self) {
        if self.trial.replace(false) {
            self.broker.flags.give_back_trial();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.settle();
        if let Some(source) = &self.source {
            source.free_port();
        }
        self.broker.flags.sessions.fetch_sub(1, Ordering::Relaxed);
        self.broker.metrics.sessions_active.dec();
    }
}
