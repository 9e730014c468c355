//! The limits on connections, counted across all workers.

use std::{
    collections::{HashMap, hash_map::Entry},
    num::NonZeroU32,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use arc_swap::{ArcSwap, Guard};

use super::{
    address::CountedAddress, client_rates::ClientRates, connect_rate::AddressRateLimiter,
    quotas::Quotas,
};
use crate::{
    config::{Limits, Rate},
    metrics::{LimitMetrics, Metrics},
};

/// The number of reserved descriptors that may be used to answer connections over the limit.
const RESERVED_DESCRIPTORS: u32 = 32;

/// The limits on connections and CONNECTs.
pub struct ConnectionLimiter {
    open: AtomicU32,
    /// The number of connections per address, for addresses that have any; counted while there is a
    /// limit per address. Locked for one lookup at a time.
    by_address: Mutex<HashMap<CountedAddress, u32>>,
    limits: ArcSwap<EffectiveLimits>,
    pub(crate) rates: ClientRates,
    metrics: LimitMetrics,
    pub(crate) quotas: Quotas,
}

/// The configured limits, reduced to what the process's descriptors allow.
pub(crate) struct EffectiveLimits {
    max_connections: u32,
    /// The number of connections beyond the limit that are still answered.
    answered: u32,
    pub(crate) max_connections_per_ip: Option<NonZeroU32>,
    pub(crate) connects_per_ip: Option<AddressRateLimiter>,
    pub(crate) ipv6_prefix: u8,
}

/// The number of connections beyond `limit` that are answered before they are closed.
pub(crate) fn tenth(limit: u32) -> u32 {
    (limit / 10).max(1)
}

impl ConnectionLimiter {
    /// `possible` is the number of connections that the process's descriptors allow.
    pub fn new(limits: &Limits, possible: u32, metrics: &Metrics) -> Self {
        let metrics = metrics.limits();
        let effective = EffectiveLimits::new(limits, possible, None, &metrics);
        Self {
            open: AtomicU32::new(0),
            by_address: Mutex::default(),
            limits: ArcSwap::from_pointee(effective),
            rates: ClientRates::new(limits, metrics.clone()),
            metrics,
            quotas: Quotas::default(),
        }
    }

    /// Applies other limits. Open connections stay.
    pub fn reconfigure(&self, limits: &Limits, possible: u32) {
        let before = self.limits.load();
        let limits_now = EffectiveLimits::new(limits, possible, Some(&before), &self.metrics);
        self.limits.store(Arc::new(limits_now));
        self.rates.reconfigure(limits);
    }

    /// The maximum number of concurrent connections.
    pub fn limit(&self) -> u32 {
        self.limits.load().max_connections
    }

    /// The number of open connections, including those in their handshake.
    pub fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    /// Removes the bans that have ended.
    pub(crate) fn remove_ended_bans(&self) {
        self.rates.remove_ended_bans();
    }

    /// Forgets clients whose token buckets are full again, so that memory use depends on recent
    /// clients, not on all that have ever connected.
    pub(crate) fn forget_idle_clients(&self) {
        self.rates.forget_idle();
        if let Some(rate) = &self.limits.load().connects_per_ip {
            rate.forget_idle();
        }
        let mut by_address = self.by_address();
        if by_address.capacity() > 1024 && by_address.len() < by_address.capacity() / 8 {
            by_address.shrink_to_fit();
        }
    }

    pub(crate) fn limits(&self) -> Guard<Arc<EffectiveLimits>> {
        self.limits.load()
    }

    /// Counts a new connection. Returns whether it is over the limit; `None` if it is so far over
    /// that it is closed without an answer, and not counted.
    pub(crate) fn count_in(&self) -> Option<bool> {
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        let limits = self.limits.load();
        let most = limits.max_connections.saturating_add(limits.answered);
        if open > most {
            self.count_out();
        }
        (open <= most).then_some(open > limits.max_connections)
    }

    /// Counts a connection that has moved here from another process.
    pub(crate) fn count_in_moved(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_out(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a connection from `address`. Returns the number of its connections; `None` if it
    /// already had `most`, in which case this one is not counted.
    pub(crate) fn enter_from(&self, address: CountedAddress, most: u32) -> Option<u32> {
        let mut by_address = self.by_address();
        match by_address.entry(address) {
            Entry::Occupied(entry) if *entry.get() >= most => None,
            entry => {
                let count = entry.or_default();
                *count += 1;
                Some(*count)
            }
        }
    }

    pub(crate) fn leave_from(&self, address: CountedAddress) {
        if let Entry::Occupied(mut entry) = self.by_address().entry(address) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }

    /// The number of connections from an address.
    pub(crate) fn open_from(&self, address: CountedAddress) -> u32 {
        self.by_address().get(&address).copied().unwrap_or(0)
    }

    fn by_address(&self) -> MutexGuard<'_, HashMap<CountedAddress, u32>> {
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EffectiveLimits {
    /// Keeps the token buckets of `before` if their rate is unchanged.
    fn new(limits: &Limits, possible: u32, before: Option<&Self>, metrics: &LimitMetrics) -> Self {
        let prefix = limits.ipv6_prefix;
        let before = before.filter(|before| before.ipv6_prefix == prefix);
        let kept = before.and_then(|before| before.connects_per_ip.as_ref());
        let rate = |rate: Rate| match kept {
            Some(kept) if kept.has_rate(rate) => kept.clone(),
            _ => AddressRateLimiter::new(rate, metrics.evicted("connects_per_ip")),
        };
        let max_connections = limits.max_connections.map_or(possible, NonZeroU32::get);
        let max_connections = max_connections.min(possible);
        // A connection that is only answered takes one descriptor; a session takes two.
        let descriptors =
            (possible - max_connections).saturating_mul(2).saturating_add(RESERVED_DESCRIPTORS);
        Self {
            max_connections,
            answered: (max_connections / 10 + 1).min(descriptors),
            max_connections_per_ip: limits.max_connections_per_ip,
            connects_per_ip: limits.connects_per_ip.map(rate),
            ipv6_prefix: prefix,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(max_connections: u32) -> Limits {
        Limits { max_connections: NonZeroU32::new(max_connections), ..Limits::NONE }
    }

    #[test]
    fn no_more_connections_than_descriptors() {
        for (asked, possible, limit, answered) in [
            (0, 1, 1, 1),
            (0, 500, 500, 32),
            (2000, 500, 500, 32),
            (500, 500, 500, 32),
            (499, 500, 499, 34),
            (400, 500, 400, 41),
            (9, 500, 9, 1),
            (u32::MAX, u32::MAX, u32::MAX, 32),
        ] {
            let limits =
                EffectiveLimits::new(&limits(asked), possible, None, &Metrics::new().limits());
            assert_eq!((limits.max_connections, limits.answered), (limit, answered), "{asked}");
        }
    }

    #[test]
    fn refused_connections_are_not_counted() {
        let limiter = ConnectionLimiter::new(&limits(2), 100, &Metrics::new());
        assert_eq!(
            [(); 5].map(|()| limiter.count_in()),
            [Some(false), Some(false), Some(true), None, None]
        );
        assert_eq!(limiter.open(), 3);
        let address = CountedAddress::new([10, 0, 0, 1].into(), 64);
        assert_eq!([(); 3].map(|()| limiter.enter_from(address, 2)), [Some(1), Some(2), None]);
        limiter.leave_from(address);
        assert_eq!((limiter.enter_from(address, 2), limiter.open_from(address)), (Some(2), 2));
        limiter.leave_from(address);
        limiter.leave_from(address);
        limiter.leave_from(address);
        assert_eq!((limiter.open_from(address), limiter.by_address().len()), (0, 0));
    }
}
