//! The limit on the rate of new connections per address.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    address::CountedAddress,
    token_bucket::{BucketSize, TokenBucket},
};
use crate::config::Rate;

/// One in this many connections over the limit is answered; an answer costs a TLS handshake, or the
/// wait for a CONNECT.
const CONNECTIONS_PER_ANSWER: u32 = 10;

/// The number of maps that the addresses are distributed over, each with its own lock, so that
/// workers hardly ever contend.
const SHARDS: usize = 256;

/// The maximum number of addresses per shard: a million over all shards, in some 100 MB. Further
/// addresses are not limited until others are forgotten: a client with that many addresses can
/// exceed any limit per address.
const MAX_SHARD_ADDRESSES: usize = 4096;

/// The limit on new connections per address, and a lower one on answers beyond it. All workers
/// share it; clones share the counts.
#[derive(Clone)]
pub(crate) struct AddressRateLimiter {
    rate: Rate,
    connects: BucketSize,
    answers: BucketSize,
    addresses: Arc<AddressTable>,
}

/// The buckets of each address that has connected recently.
struct AddressTable {
    /// Keyed at random, so that nobody can choose addresses that share a shard.
    hasher: RandomState,
    /// Each is locked for one lookup, or for one removal of idle addresses.
    shards: Box<[Mutex<AddressMap>]>,
}

type AddressMap = HashMap<CountedAddress, AddressBuckets>;

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
    pub(crate) fn new(rate: Rate) -> Self {
        let interval = Duration::from_secs(CONNECTIONS_PER_ANSWER.into()) / rate.rate.get();
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self {
            rate,
            connects: rate.into(),
            answers: BucketSize::new(interval, rate.burst.get() / CONNECTIONS_PER_ANSWER),
            addresses: Arc::new(AddressTable { hasher: RandomState::new(), shards }),
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
        let mut shard = self.addresses.shard(address);
        if shard.len() >= MAX_SHARD_ADDRESSES && !shard.contains_key(&address) {
            return RateCheck::Within;
        }
        let full =
            || AddressBuckets { connects: TokenBucket::full(now), answers: TokenBucket::full(now) };
        let buckets = shard.entry(address).or_insert_with(full);
        if buckets.connects.take(self.connects, now) {
            RateCheck::Within
        } else if buckets.answers.take(self.answers, now) {
            RateCheck::Beyond
        } else {
            RateCheck::FarBeyond
        }
    }

    /// Forgets addresses whose buckets are full again.
    pub(crate) fn forget_idle(&self) {
        self.forget_idle_at(Instant::now());
    }

    fn forget_idle_at(&self, now: Instant) {
        for shard in &self.addresses.shards {
            let mut shard = lock(shard);
            shard.retain(|_, buckets| !buckets.is_full(now));
            if shard.len() <= shard.capacity() / 8 {
                shard.shrink_to_fit();
            }
        }
    }
}

impl AddressTable {
    fn shard(&self, address: CountedAddress) -> MutexGuard<'_, AddressMap> {
        lock(&self.shards[self.hasher.hash_one(address) as usize % SHARDS])
    }
}

impl AddressBuckets {
    fn is_full(&self, now: Instant) -> bool {
        self.connects.is_full(now) && self.answers.is_full(now)
    }
}

fn lock(shard: &Mutex<AddressMap>) -> MutexGuard<'_, AddressMap> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn limit(rate: u32, burst: u32) -> AddressRateLimiter {
        let of = |number| NonZeroU32::new(number).unwrap();
        AddressRateLimiter::new(Rate { rate: of(rate), burst: of(burst) })
    }

    fn address(number: u32) -> CountedAddress {
        CountedAddress::new(std::net::Ipv4Addr::from_bits(number).into(), 64)
    }

    fn known(rate: &AddressRateLimiter) -> usize {
        rate.addresses.shards.iter().map(|shard| lock(shard).len()).sum()
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
        assert_eq!(known(&rate), 5000);
        rate.forget_idle_at(start + Duration::from_millis(100));
        assert_eq!(known(&rate), 1);
        assert_ne!(rate.count_at(address(7), start), RateCheck::Within);
        rate.forget_idle_at(start + Duration::from_secs(3));
        assert_eq!(known(&rate), 0);
        assert!(rate.addresses.shards.iter().all(|shard| lock(shard).capacity() == 0));
    }

    #[test]
    fn memory_is_bounded() {
        let (rate, now) = (limit(1, 1), Instant::now());
        let all = u32::try_from(SHARDS * MAX_SHARD_ADDRESSES).unwrap() + 50_000;
        for number in 0..all {
            rate.count_at(address(number), now);
        }
        assert!(known(&rate) <= SHARDS * MAX_SHARD_ADDRESSES);
        // Known addresses are still limited.
        assert_ne!(rate.count_at(address(0), now), RateCheck::Within);
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
