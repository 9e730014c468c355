//! How many may come in, counted over all workers.

use std::{
    cell::Cell,
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use arc_swap::ArcSwap;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::{
    config::{Limits, Rate},
    mqtt::Refuse,
};

/// The limits on connections and CONNECTs.
pub struct Gate {
    open: AtomicU32,
    /// By client address: those with open connections only, and only while there is a limit.
    /// Held for one look-up at a time.
    per_ip: Mutex<HashMap<IpAddr, u32>>,
    terms: ArcSwap<Terms>,
}

/// The limits as they are now.
struct Terms {
    max_connections: u32,
    max_connections_per_ip: Option<NonZeroU32>,
    connects_per_ip: Option<(Rate, Arc<DefaultKeyedRateLimiter<IpAddr>>)>,
}

impl Gate {
    /// `possible`: what the process' descriptors allow, for where the operator set no limit.
    pub fn new(limits: &Limits, possible: u32) -> Self {
        Self {
            open: AtomicU32::new(0),
            per_ip: Mutex::default(),
            terms: ArcSwap::from_pointee(Terms::new(limits, possible, None)),
        }
    }

    /// Goes by other limits from now on. Whoever is in stays.
    pub fn reconfigure(&self, limits: &Limits, possible: u32) {
        let before = self.terms.load();
        self.terms.store(Arc::new(Terms::new(limits, possible, Some(&before))));
    }

    /// Connections that may be open at a time.
    pub fn limit(&self) -> u32 {
        self.terms.load().max_connections
    }

    /// Counts a connection in. Where it is one too many, it is told so once its CONNECT shows in
    /// which version; but past a tenth more than the limit there is no answer: `None`.
    pub fn enter(self: &Arc<Self>) -> Option<Pass> {
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        let most = self.limit();
        let pass =
            Pass { gate: self.clone(), ip: None, counted: Cell::new(false), too_many: open > most };
        let hard_limit = most.saturating_add(most / 10 + 1);
        (open <= hard_limit).then_some(pass)
    }

    /// Forgets client addresses whose buckets are full again, so that memory follows the clients
    /// of the last moments and not of all time.
    pub fn forget_idle_addresses(&self) {
        if let Some((_, limiter)) = &self.terms.load().connects_per_ip {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }

    /// Connections open now, those still in their handshake included.
    pub fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    fn enter_from(&self, ip: IpAddr) -> u32 {
        let mut per_ip = self.per_ip.lock().unwrap_or_else(PoisonError::into_inner);
        let count = per_ip.entry(ip).or_default();
        *count += 1;
        *count
    }

    fn leave_from(&self, ip: IpAddr) {
        let mut per_ip = self.per_ip.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut entry) = per_ip.entry(ip) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

impl Terms {
    /// The buckets of `before` are kept where they are of the same size.
    fn new(limits: &Limits, possible: u32, before: Option<&Self>) -> Self {
        let limiter = |limit: Rate| {
            let same = before.and_then(|before| before.connects_per_ip.as_ref());
            let same = same.filter(|(rate, _)| *rate == limit).map(|(_, limiter)| limiter.clone());
            let quota = || Quota::per_second(limit.rate).allow_burst(limit.burst);
            (limit, same.unwrap_or_else(|| Arc::new(RateLimiter::keyed(quota()))))
        };
        Self {
            max_connections: limits.max_connections.map_or(possible, NonZeroU32::get),
            max_connections_per_ip: limits.max_connections_per_ip,
            connects_per_ip: limits.connects_per_ip.map(limiter),
        }
    }
}

/// A connection counted in; dropped, it is counted out.
pub struct Pass {
    gate: Arc<Gate>,
    /// `None` before it is known, and for a unix peer, which no limit by address concerns.
    ip: Option<IpAddr>,
    /// Whether it is counted by its address.
    counted: Cell<bool>,
    too_many: bool,
}

impl Pass {
    /// Counts the client by its address, once that is known; `None` is a unix peer's.
    pub(super) fn identify(&mut self, ip: Option<IpAddr>) {
        self.ip = ip;
        let most = self.gate.terms.load().max_connections_per_ip;
        self.too_many |= most.is_some_and(|most| self.count() > most.get());
    }

    /// Counts the client by its address, if that has become of interest since it came.
    pub(super) fn recount(&self) {
        if !self.counted.get() && self.gate.terms.load().max_connections_per_ip.is_some() {
            self.count();
        }
    }

    /// How many connections its address has then.
    fn count(&self) -> u32 {
        self.counted.set(self.ip.is_some());
        self.ip.map_or(0, |ip| self.gate.enter_from(ip))
    }

    /// Whether this connection's CONNECT may go on; asked once.
    pub(super) fn check(&self) -> Result<(), Refuse> {
        if self.too_many {
            return Err(Refuse::QuotaExceeded);
        }
        match (&self.gate.terms.load().connects_per_ip, &self.ip) {
            (Some((_, limiter)), Some(ip)) if limiter.check_key(ip).is_err() => {
                Err(Refuse::ConnectionRateExceeded)
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.open.fetch_sub(1, Ordering::Relaxed);
        if let (true, Some(ip)) = (self.counted.get(), self.ip) {
            self.gate.leave_from(ip);
        }
    }
}
