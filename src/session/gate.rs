//! How many may come in, counted over all workers.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::{config::Limits, mqtt::Refuse};

/// The limits on connections and CONNECTs.
pub struct Gate {
    max_connections: u32,
    open: AtomicU32,
    per_ip: Option<PerIp>,
    connects_per_ip: Option<DefaultKeyedRateLimiter<IpAddr>>,
}

/// Connections by client address. The map holds addresses with open connections only.
struct PerIp {
    most: NonZeroU32,
    /// Held for one look-up at a time.
    open: Mutex<HashMap<IpAddr, u32>>,
}

impl Gate {
    /// `possible`: what the process' descriptors allow, for where the operator set no limit.
    pub fn new(limits: &Limits, possible: u32) -> Self {
        Self {
            max_connections: limits.max_connections.map_or(possible, NonZeroU32::get),
            open: AtomicU32::new(0),
            per_ip: limits
                .max_connections_per_ip
                .map(|most| PerIp { most, open: Mutex::default() }),
            connects_per_ip: limits.connects_per_ip.map(|limit| {
                RateLimiter::keyed(Quota::per_second(limit.rate).allow_burst(limit.burst))
            }),
        }
    }

    /// Counts a connection in. Where it is one too many, it is told so once its CONNECT shows in
    /// which version; but past a tenth more than the limit there is no answer: `None`.
    pub fn enter(self: &Arc<Self>) -> Option<Pass> {
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        let too_many = open > self.max_connections;
        let pass = Pass { gate: self.clone(), ip: None, too_many };
        let hard_limit = self.max_connections.saturating_add(self.max_connections / 10 + 1);
        (open <= hard_limit).then_some(pass)
    }

    /// Forgets client addresses whose buckets are full again, so that memory follows the clients
    /// of the last moments and not of all time.
    pub fn forget_idle_addresses(&self) {
        if let Some(limiter) = &self.connects_per_ip {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }

    /// How many connections may be open at once.
    pub fn limit(&self) -> u32 {
        self.max_connections
    }

    /// Connections open now, those still in their handshake included.
    pub fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }
}

impl PerIp {
    fn enter(&self, ip: IpAddr) -> u32 {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(ip).or_default();
        *count += 1;
        *count
    }

    fn leave(&self, ip: IpAddr) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut entry) = open.entry(ip) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

/// A connection counted in; dropped, it is counted out.
pub struct Pass {
    gate: Arc<Gate>,
    /// `None` before it is known, and for a unix peer, which no limit by address concerns.
    ip: Option<IpAddr>,
    too_many: bool,
}

impl Pass {
    /// Counts the client by its address, once that is known; `None` is a unix peer's.
    pub(super) fn identify(&mut self, ip: Option<IpAddr>) {
        if let (Some(per_ip), Some(ip)) = (&self.gate.per_ip, ip) {
            self.too_many |= per_ip.enter(ip) > per_ip.most.get();
        }
        self.ip = ip;
    }

    /// Whether this connection's CONNECT may go on; asked once.
    pub(super) fn check(&self) -> Result<(), Refuse> {
        if self.too_many {
            return Err(Refuse::QuotaExceeded);
        }
        match (&self.gate.connects_per_ip, &self.ip) {
            (Some(limiter), Some(ip)) if limiter.check_key(ip).is_err() => {
                Err(Refuse::ConnectionRateExceeded)
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.open.fetch_sub(1, Ordering::Relaxed);
        if let (Some(per_ip), Some(ip)) = (&self.gate.per_ip, self.ip) {
            per_ip.leave(ip);
        }
    }
}
