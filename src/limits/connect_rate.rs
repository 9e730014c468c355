//! The limit on the rate of new connections per address.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use prometheus::IntCounter;

use super::{
    address::CountedAddress,
    rate_table::RateTable,
    token_bucket::{BucketSize, TokenBucket},
};
use crate::config::Rate;

/// One in this many connections over the limit is answered; an answer costs a TLS handshake, or the
/// wait for a CONNECT.
const CONNECTIONS_PER_ANSWER: u32 = 10;

/// The limit on new connections per address, and a lower one on answers beyond it. All workers
/// share it; clones share the counts.
#[derive(Clone)]
pub(crate) struct AddressRateLimiter {
    rate: Rate,
    connects: BucketSize,
    answers: BucketSize,
    /// The buckets of each address that has connected recently.
    addresses: Arc<RateTable<AddressBuckets>>,
}

struct AddressBuckets {
    connects: TokenBucket,
    answers: TokenBucket,
}

/// How a new connection compares with the rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RateCheck {
    Within,
    /// Over the limit; the client is told so.
    Beyond,
    /// So far over the limit that the connection is closed without an answer.
    FarBeyond,
}

impl AddressRateLimiter {
    /// `evicted` counts addresses that were forgotten to make room.
    pub(crate) fn new(rate: Rate, evicted: IntCounter) -> Self {
        let interval = Duration::from_secs(CONNECTIONS_PER_ANSWER.into()) / rate.rate.get();
        Self {
            rate,
            connects: rate.into(),
            answers: BucketSize::new(interval, rate.burst.get() / CONNECTIONS_PER_ANSWER),
            addresses: Arc::new(RateTable::new(evicted)),
        }
    }

    /// Whether this limit has the given rate and burst.
    pub(crate) fn has_rate(&self, rate: Rate) -> bool {
        self.rate == rate
    }

    /// Counts one more connection.
    pub(crate) fn count(&self, address: CountedAddress) -> RateCheck {
        self.count_at(address, Instant::now())
    }

    fn count_at(&self, address: CountedAddress, now: Instant) -> RateCheck {
        let full =
            || AddressBuckets { connects: TokenBucket::full(now), answers: TokenBucket::full(now) };
        self.addresses.with(&address, full, |buckets| {
            if buckets.connects.take(self.connects, now) {
                RateCheck::Within
            } else if buckets.answers.take(self.answers, now) {
                RateCheck::Beyond
            } else {
                RateCheck::FarBeyond
            }
        })
    }

    /// Forgets addresses whose buckets are full again.
    pub(crate) fn forget_idle(&self) {
        self.forget_idle_at(Instant::now());
    }

    fn forget_idle_at(&self, now: Instant) {
        self.addresses.retain(|buckets| !buckets.is_full(now));
    }
}

impl AddressBuckets {
    fn is_full(&self, now: Instant) -> bool {
        self.connects.is_full(now) && self.answers.is_full(now)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn limit(rate: u32, burst: u32) -> AddressRateLimiter {
        let of = |number| NonZeroU32::new(number).unwrap();
        let evicted = IntCounter::new("evicted", "evicted").unwrap();
        AddressRateLimiter::new(Rate { rate: of(rate), burst: of(burst) }, evicted)
    }

    fn address(number: u32) -> CountedAddress {
        CountedAddress::new(std::net::Ipv4Addr::from_bits(number).into(), 64)
    }

    #[test]
    fn a_tenth_of_the_connections_beyond_the_limit_are_answered() {
        for (burst, within, beyond) in [(1, 1, 1), (9, 9, 1), (40, 40, 4), (49, 49, 4)] {
            let (rate, now) = (limit(1, burst), Instant::now());
            for number in 1..=2 {
                let checks: Vec<_> =
                    (0..100).map(|_| rate.count_at(address(number), now)).collect();
                let count = |wanted| checks.iter().filter(|check| **check == wanted).count();
                assert_eq!((count(RateCheck::Within), count(RateCheck::Beyond)), (within, beyond));
                assert_eq!(checks.last(), Some(&RateCheck::FarBeyond));
            }
        }
    }

    #[test]
    fn answers_come_back_at_a_tenth_of_the_rate() {
        use RateCheck::{Beyond, FarBeyond, Within};
        let (rate, start) = (limit(10, 20), Instant::now());
        let after = |millis| start + Duration::from_millis(millis);
        let checks = |at| -> Vec<_> { (0..9).map(|_| rate.count_at(address(1), at)).collect() };
        while rate.count_at(address(1), start) != FarBeyond {}

        assert_eq!(checks(after(200))[..3], [Within, Within, FarBeyond]);
        assert_eq!(checks(after(1000))[7..], [Within, Beyond]);
    }

    #[test]
    fn only_idle_addresses_are_forgotten() {
        let (rate, start) = (limit(10, 20), Instant::now());
        for number in 0..5000 {
            rate.count_at(address(number), start);
        }
        for _ in 0..20 {
            rate.count_at(address(7), start);
        }
        rate.forget_idle_at(start);
        assert_eq!(rate.addresses.len(), 5000);
        rate.forget_idle_at(start + Duration::from_millis(100));
        assert_eq!(rate.addresses.len(), 1);
        assert_ne!(rate.count_at(address(7), start), RateCheck::Within);
        rate.forget_idle_at(start + Duration::from_secs(3));
        assert_eq!(rate.addresses.len(), 0);
        assert_eq!(rate.addresses.allocated(), 0);
    }

    /// All workers count in the same buckets.
    #[test]
    fn threads_share_the_limit() {
        let (rate, now) = (limit(1, 500), Instant::now());
        let count =
            || (0..1000).filter(|_| rate.count_at(address(1), now) == RateCheck::Within).count();
        let within: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(within, 500);
    }
}
