//! One broker: its address, its sessions, and whether it is given more.

use std::{
    cell::Cell,
    net::SocketAddr,
    num::NonZeroU32,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use tokio::sync::Notify;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::{
    admission::Admission,
    sources::{Place, Sources},
    standing::{Serving, Standing},
};
use crate::{
    config::{self, Address},
    observe::{Metrics, UpstreamMetrics},
};

/// One broker. All that is judged of it is judged in its pool; what is here is what workers read.
#[derive(Debug)]
pub struct Broker {
    pub name: Arc<str>,
    pub address: Address,
    pub(super) max_connections: Option<NonZeroU32>,
    pub(super) standing: Arc<Standing>,
    /// What `address` last resolved to, where it is a host name. Held for a copy at a time.
    resolved: Mutex<Option<SocketAddr>>,
    /// Whether there is no address to dial yet.
    unresolved: AtomicBool,
    pub(super) sources: Sources,
    id: u64,
    /// Makes where a key lies in the slow start another matter than where it lies in the pool.
    slow_start_seed: u64,
    pub admission: Option<Admission>,
    pub metrics: UpstreamMetrics,
}

impl Broker {
    /// `standing` is that of its name, which may have been another broker's before; `queued` is told
    /// when somebody has to wait at its door.
    pub(super) fn new(
        pool: &config::Pool,
        upstream: &config::Upstream,
        standing: Arc<Standing>,
        metrics: &Metrics,
        queued: &Arc<Notify>,
    ) -> Self {
        let resolved = match upstream.address {
            Address::Ip(address) => Some(address),
            Address::Host(..) | Address::Unix(_) => None,
        };
        let metrics = metrics.upstream(&pool.name, &upstream.name);
        Self {
            name: upstream.name.clone(),
            address: upstream.address.clone(),
            max_connections: upstream.max_connections,
            standing,
            resolved: Mutex::new(resolved),
            unresolved: AtomicBool::new(matches!(upstream.address, Address::Host(..))),
            sources: Sources::new(pool, &upstream.address, &metrics),
            id: xxh3_64(upstream.name.as_bytes()),
            slow_start_seed: xxh3_64_with_seed(upstream.name.as_bytes(), 2),
            admission: pool
                .admission
                .map(|admission| Admission::new(admission, queued.clone(), &metrics)),
            metrics,
        }
    }

    /// Whether it is what the configuration says.
    pub(super) fn is_as(&self, pool: &config::Pool, upstream: &config::Upstream) -> bool {
        self.address == upstream.address
            && self.max_connections == upstream.max_connections
            && self.admission.as_ref().map(|door| door.config) == pool.admission
            && *self.sources.configured == *pool.source_addresses
    }

    /// Where `before` was the same host, its address is known already.
    pub(super) fn inherit_address(&self, before: &Self) {
        if self.address == before.address
            && let (Address::Host(..), Some(Target::Ip(address))) = (&self.address, before.target())
        {
            self.set_resolved(address);
        }
    }

    /// The hash of its name, which is what makes a broker that comes back the same one.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Sessions at a time; `None` is no limit.
    pub fn max_connections(&self) -> Option<NonZeroU32> {
        self.max_connections
    }

    /// Whether its host name has no address yet.
    pub(super) fn is_unresolved(&self) -> bool {
        self.unresolved.load(Ordering::Relaxed)
    }

    /// The sessions it carries, or `None` when it takes no more.
    pub fn load(&self) -> Option<u32> {
        let sessions = self.sessions();
        match self.max_connections {
            Some(most) if sessions >= most.get() => None,
            _ if self.is_closed() => None,
            _ => Some(sessions),
        }
    }

    /// Sessions there and on their way there.
    pub fn sessions(&self) -> u32 {
        self.standing.sessions.load(Ordering::Relaxed)
    }

    /// Whether it would be given more sessions if it had room for them.
    pub fn is_full(&self) -> bool {
        !self.is_closed() && self.load().is_none()
    }

    /// Whether it is given sessions, be it full or not.
    pub fn is_serving(&self) -> bool {
        self.standing.serving.load(Ordering::Relaxed) == Serving::Yes as u8
    }

    /// Lets in those who wait at its door and whose turn it is; true if others still wait.
    pub(super) fn release(&self, now: Instant) -> bool {
        self.admission.as_ref().is_some_and(|door| {
            if !self.is_serving() {
                // There is nothing to wait for here: they are to look for another broker.
                door.release_all();
            }
            door.release(now)
        })
    }

    /// Whether a Server Reference (5.0 §4.13) means this broker: its name, or its host with or
    /// without the port.
    pub fn is_called(&self, reference: &str) -> bool {
        let is_host = |host: &str, port: u16| {
            let rest = reference.strip_prefix(host);
            rest.is_some_and(|rest| rest.is_empty() || *rest == format!(":{port}"))
        };
        *self.name == *reference
            || match &self.address {
                Address::Ip(SocketAddr::V4(v4)) => is_host(&v4.ip().to_string(), v4.port()),
                Address::Ip(SocketAddr::V6(v6)) => is_host(&format!("[{}]", v6.ip()), v6.port()),
                Address::Host(host, port) => is_host(host, *port),
                Address::Unix(_) => false,
            }
    }

    /// Found down, or said to be: what becomes of its sessions is the pool's `on_down`.
    pub fn is_dead(&self) -> bool {
        self.standing.dead.load(Ordering::Relaxed)
    }

    /// Taken out of the configuration: what becomes of its sessions is the pool's `on_down`.
    pub fn is_removed(&self) -> bool {
        self.standing.removed.load(Ordering::Relaxed)
    }

    /// Draining, or no longer in the pool: its sessions have another home.
    pub fn is_leaving(&self) -> bool {
        self.standing.leaving.load(Ordering::Relaxed)
    }

    fn is_closed(&self) -> bool {
        let serving = self.standing.serving.load(Ordering::Relaxed);
        serving == Serving::No as u8 || serving == Serving::TrialTaken as u8 || self.is_unresolved()
    }

    pub(super) fn set_serving(&self, serving: Serving) {
        let _ = self.standing.serving.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
            // A trial that is on its way is not offered twice.
            let taken = serving == Serving::Trial && now == Serving::TrialTaken as u8;
            (!taken).then_some(serving as u8)
        });
    }

    /// Notes that a client was answered, in milliseconds of the pool's life.
    pub(super) fn set_answered(&self, millis: u64) {
        self.standing.answered.store(millis, Ordering::Relaxed);
    }

    /// Whether a client was answered after `millis`.
    pub(super) fn has_answered_since(&self, millis: u64) -> bool {
        self.standing.answered.load(Ordering::Relaxed) > millis
    }

    /// Where in its slow start the broker begins to be `key`'s, from 0 to 1. The same in every
    /// proxy, so that they agree.
    pub fn slow_start_place(&self, key: &[u8]) -> f64 {
        (xxh3_64_with_seed(key, self.slow_start_seed) >> 32) as f64 / f64::from(u32::MAX)
    }

    /// Takes a place for one session.
    ///
    /// # Errors
    /// The broker itself, when its last place, or its readiness, has just gone.
    pub fn lease(self: Arc<Self>) -> Result<Lease, Arc<Self>> {
        let Some(trial) = self.take_trial() else { return Err(self) };
        let before = self.standing.sessions.fetch_add(1, Ordering::Relaxed);
        self.metrics.sessions_active.inc();
        let max_connections = self.max_connections;
        let lease = Lease { broker: self, trial: Cell::new(trial), port: None };
        match max_connections {
            Some(most) if before >= most.get() => Err(lease.broker.clone()),
            _ => Ok(lease),
        }
    }

    /// Whether the session that starts now is a trial; `None` where it may not start.
    fn take_trial(&self) -> Option<bool> {
        let swap = |from: Serving, to: Serving| {
            let order = Ordering::Relaxed;
            self.standing.serving.compare_exchange(from as u8, to as u8, order, order)
        };
        match swap(Serving::Trial, Serving::TrialTaken) {
            Ok(_) => Some(true),
            Err(now) => (now == Serving::Yes as u8).then_some(false),
        }
    }

    /// Where to dial; `None` while its host name is unknown.
    pub fn target(&self) -> Option<Target<'_>> {
        match &self.address {
            Address::Unix(path) => Some(Target::Unix(path)),
            Address::Ip(address) => Some(Target::Ip(*address)),
            Address::Host(..) => {
                let resolved = self.resolved.lock().unwrap_or_else(PoisonError::into_inner);
                resolved.map(Target::Ip)
            }
        }
    }

    /// Notes what its host name resolves to now; true if that is news.
    pub fn set_resolved(&self, address: SocketAddr) -> bool {
        let mut resolved = self.resolved.lock().unwrap_or_else(PoisonError::into_inner);
        self.unresolved.store(false, Ordering::Relaxed);
        resolved.replace(address) != Some(address)
    }
}

/// What is dialled.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    Ip(SocketAddr),
    Unix(&'a Path),
}

/// One session's place on a broker, given back when it ends.
#[derive(Debug)]
pub struct Lease {
    broker: Arc<Broker>,
    /// Whether this session is the one that shows whether the broker is well again.
    trial: Cell<bool>,
    /// Where its connection has a local port, once it is dialled.
    port: Option<Place>,
}

impl Lease {
    pub fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    /// The connection that is made now has a local port there, and an earlier one none any more.
    pub(super) fn take_port(&mut self, at: Place) {
        self.broker.sources.take_port(at);
        self.port.replace(at).inspect(|at| self.broker.sources.free_port(*at));
    }

    /// The broker has been judged by this session; it is no trial any more.
    pub fn settle(&self) {
        self.trial.set(false);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.trial.get() {
            let (from, to) = (Serving::TrialTaken as u8, Serving::Trial as u8);
            let order = Ordering::Relaxed;
            // Unless it was judged by others meanwhile, the next client is the trial.
            let _ = self.broker.standing.serving.compare_exchange(from, to, order, order);
        }
        self.port.inspect(|at| self.broker.sources.free_port(*at));
        self.broker.standing.sessions.fetch_sub(1, Ordering::Relaxed);
        self.broker.metrics.sessions_active.dec();
    }
}
