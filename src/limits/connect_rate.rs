//! How fast one address may connect.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::address::CountedAddress;
use crate::config::Rate;

/// What a connection over the limit costs an address that may be answered: a tenth as many are.
const ANSWERS: u32 = 10;

/// The limit on new connections from one address, and a smaller one on answers beyond it.
#[derive(Clone)]
pub(crate) struct ConnectRate {
    rate: Rate,
    connects: Arc<DefaultKeyedRateLimiter<CountedAddress>>,
    answers: Arc<DefaultKeyedRateLimiter<CountedAddress>>,
}

/// Whether a connection came too fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speed {
    Within,
    /// To be told so.
    Beyond,
    /// To be closed.
    FarBeyond,
}

impl ConnectRate {
    pub(crate) fn new(rate: Rate) -> Self {
        let connects = Quota::per_second(rate.rate).allow_burst(rate.burst);
        let interval = Duration::from_secs(ANSWERS.into()) / rate.rate.get();
        let burst = NonZeroU32::new(rate.burst.get() / ANSWERS).unwrap_or(NonZeroU32::MIN);
        // An interval below a nanosecond cannot be expressed; a rate that high limits nobody.
        let answers = Quota::with_period(interval).unwrap_or(connects).allow_burst(burst);
        Self {
            rate,
            connects: Arc::new(RateLimiter::keyed(connects)),
            answers: Arc::new(RateLimiter::keyed(answers)),
        }
    }

    pub(crate) fn is_of(&self, rate: Rate) -> bool {
        self.rate == rate
    }

    /// Takes one more connection into account.
    pub(crate) fn count(&self, address: CountedAddress) -> Speed {
        if self.connects.check_key(&address).is_ok() {
            Speed::Within
        } else if self.answers.check_key(&address).is_ok() {
            Speed::Beyond
        } else {
            Speed::FarBeyond
        }
    }

    /// Forgets addresses whose buckets are full again.
    pub(crate) fn forget_idle(&self) {
        for limiter in [&self.connects, &self.answers] {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_of_those_beyond_are_answered() {
        let of = |number| NonZeroU32::new(number).unwrap();
        for (burst, within, beyond) in [(1, 1, 1), (9, 9, 1), (40, 40, 4), (49, 49, 4)] {
            // So slow that no token comes back during the test.
            let rate = ConnectRate::new(Rate { rate: of(1), burst: of(burst) });
            for address in [[10, 0, 0, 1], [10, 0, 0, 2]] {
                let address = CountedAddress::new(address.into(), 64);
                let speeds: Vec<_> = (0..100).map(|_| rate.count(address)).collect();
                let count = |wanted| speeds.iter().filter(|speed| **speed == wanted).count();
                assert_eq!((count(Speed::Within), count(Speed::Beyond)), (within, beyond));
                assert_eq!(speeds.last(), Some(&Speed::FarBeyond));
            }
        }
    }
}
