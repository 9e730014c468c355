//! Token buckets (ITU-T I.371 calls the algorithm GCRA): a rate with a burst.
//!
//! A bucket stores a single instant instead of a count, so that refilling it needs no rounding; a
//! bucket is full again when its instant has passed.

use std::time::{Duration, Instant};

use crate::config::Rate;

/// The size and the refill rate of a token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BucketSize {
    /// The time in which one token is refilled.
    interval: Duration,
    /// The number of tokens in a full bucket.
    burst: u32,
}

/// The state of one bucket, of any size.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokenBucket {
    /// When the bucket is full again.
    full_at: Instant,
}

impl BucketSize {
    /// `interval` is the time in which one token is refilled, at least a nanosecond.
    pub(super) fn new(interval: Duration, burst: u32) -> Self {
        Self { interval: interval.max(Duration::from_nanos(1)), burst: burst.max(1) }
    }

    /// The time in which an empty bucket fills up.
    fn fill_time(self) -> Duration {
        self.interval * self.burst
    }
}

impl From<Rate> for BucketSize {
    fn from(rate: Rate) -> Self {
        Self::new(Duration::from_secs(1) / rate.rate.get(), rate.burst.get())
    }
}

impl TokenBucket {
    /// A full bucket.
    pub(super) fn full(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// Takes a token; false if the bucket is empty.
    pub(super) fn take(&mut self, size: BucketSize, now: Instant) -> bool {
        let full_at = self.full_at.max(now) + size.interval;
        let taken = full_at.saturating_duration_since(now) <= size.fill_time();
        if taken {
            self.full_at = full_at;
        }
        taken
    }

    /// Returns a token that was not used.
    pub(super) fn give_back(&mut self, size: BucketSize) {
        self.full_at = self.full_at.checked_sub(size.interval).unwrap_or(self.full_at);
    }

    /// Keeps the number of tokens when the size changes, as far as they fit.
    pub(super) fn resize(&mut self, before: BucketSize, after: BucketSize, now: Instant) {
        let missing = self.full_at.saturating_duration_since(now).as_secs_f64();
        let tokens = f64::from(before.burst) - missing / before.interval.as_secs_f64();
        let missing = f64::from(after.burst) - tokens.min(f64::from(after.burst));
        self.full_at = now + after.interval.mul_f64(missing);
    }

    /// Whether [`Self::take`] would find no token.
    pub(super) fn is_empty(&self, size: BucketSize, now: Instant) -> bool {
        let mut bucket = *self;
        !bucket.take(size, now)
    }

    pub(super) fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn size(rate: u32, burst: u32) -> BucketSize {
        let of = |number| NonZeroU32::new(number).unwrap();
        Rate { rate: of(rate), burst: of(burst) }.into()
    }

    fn taken(bucket: &mut TokenBucket, size: BucketSize, now: Instant) -> usize {
        (0..1000).filter(|_| bucket.take(size, now)).count()
    }

    /// A jump forward gives a full bucket and no more; an instant from before gives nothing.
    #[test]
    fn instants_that_jump() {
        let (size, start) = (size(10, 3), Instant::now() + Duration::from_hours(2));
        let mut bucket = TokenBucket::full(start);
        assert_eq!(taken(&mut bucket, size, start), 3);
        assert_eq!(
            taken(&mut bucket, size, start.checked_sub(Duration::from_hours(1)).unwrap()),
            0
        );
        assert_eq!(taken(&mut bucket, size, start), 0);
        assert_eq!(taken(&mut bucket, size, start + Duration::from_hours(1000)), 3);
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let (size, start) = (size(10, 3), Instant::now());
        let after = |millis| start + Duration::from_millis(millis);
        let mut bucket = TokenBucket::full(start);
        for (at, tokens) in [(0, 3), (99, 0), (100, 1), (350, 2), (400, 1), (10_000, 3)] {
            assert_eq!(taken(&mut bucket, size, after(at)), tokens, "{at} ms");
        }
        assert!(!bucket.is_full(after(10_299)) && bucket.is_full(after(10_300)));
    }

    #[test]
    fn time_that_runs_backwards_gives_nothing() {
        let (size, earlier) = (size(1, 1), Instant::now());
        let start = earlier + Duration::from_secs(5);
        let mut bucket = TokenBucket::full(start);
        assert_eq!(taken(&mut bucket, size, start), 1);
        assert_eq!(taken(&mut bucket, size, earlier), 0);
        assert_eq!(taken(&mut bucket, size, start + Duration::from_secs(1)), 1);
    }

    #[test]
    fn a_token_that_was_not_used_is_back() {
        let (size, now) = (size(1, 2), Instant::now());
        let mut bucket = TokenBucket::full(now);
        assert_eq!(taken(&mut bucket, size, now), 2);
        bucket.give_back(size);
        assert_eq!(taken(&mut bucket, size, now), 1);
    }

    #[test]
    fn another_size_keeps_the_tokens_that_fit() {
        let now = Instant::now();
        for (before, used, after, left) in [
            (size(10, 5), 2, size(100, 8), 3),
            (size(10, 5), 2, size(1, 2), 2),
            (size(10, 5), 5, size(1, 9), 0),
            (size(10, 5), 0, size(10, 9), 5),
        ] {
            let mut bucket = TokenBucket::full(now);
            assert!((0..used).all(|_| bucket.take(before, now)));
            bucket.resize(before, after, now);
            assert_eq!(taken(&mut bucket, after, now), left, "{before:?} {after:?}");
        }
    }

    /// The extremes that a configuration can specify.
    #[test]
    fn rates_beyond_a_clocks_resolution() {
        let now = Instant::now();
        let mut bucket = TokenBucket::full(now);
        assert_eq!(taken(&mut bucket, size(u32::MAX, u32::MAX), now), 1000);
        let mut bucket = TokenBucket::full(now);
        assert_eq!(taken(&mut bucket, size(1, u32::MAX), now), 1000);
    }
}
