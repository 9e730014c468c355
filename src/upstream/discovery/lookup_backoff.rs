//! The pauses between lookups of one name.

use std::time::Duration;

/// The shortest pause, even if the TTL is shorter: more than one query a second gains nothing.
const MIN_PAUSE: Duration = Duration::from_secs(1);

/// The maximum random extension of a pause, as a fraction, so that many proxies do not query at
/// once.
const MAX_JITTER: f64 = 0.1;

/// Pauses for as long as an answer is valid, and backs off exponentially after failures.
#[derive(Debug)]
pub(crate) struct LookupBackoff {
    max_pause: Duration,
    /// The number of failures in a row.
    failures: u32,
}

impl LookupBackoff {
    /// No pause is longer than `max_pause`, even if that is less than the shortest pause.
    pub(crate) fn new(max_pause: Duration) -> Self {
        Self { max_pause, failures: 0 }
    }

    /// The pause after an answer that is valid for `ttl`.
    pub(crate) fn after_answer(&mut self, ttl: Duration) -> Duration {
        self.failures = 0;
        self.pause(ttl)
    }

    /// The pause after a failure: short at first, and doubled after each further failure.
    pub(crate) fn after_failure(&mut self) -> Duration {
        let pause = MIN_PAUSE.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        self.pause(pause)
    }

    fn pause(&self, due: Duration) -> Duration {
        due.max(MIN_PAUSE).min(self.max_pause).mul_f64(1.0 + MAX_JITTER * fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_about(pause: Duration, seconds: f64) {
        let pause = pause.as_secs_f64();
        assert!((seconds..=seconds * 1.1).contains(&pause), "{pause} s is not about {seconds} s");
    }

    #[test]
    fn as_long_as_the_answer_holds_within_bounds() {
        let mut backoff = LookupBackoff::new(Duration::from_secs(10));
        for (ttl, seconds) in [(0, 1.0), (1, 1.0), (7, 7.0), (10, 10.0), (3600, 10.0)] {
            assert_about(backoff.after_answer(Duration::from_secs(ttl)), seconds);
        }
        let mut often = LookupBackoff::new(Duration::from_millis(100));
        assert_about(often.after_answer(Duration::from_secs(5)), 0.1);
        assert_about(often.after_failure(), 0.1);
    }

    #[test]
    fn failures_back_off_until_an_answer() {
        let mut backoff = LookupBackoff::new(Duration::from_secs(10));
        for seconds in [1.0, 2.0, 4.0, 8.0, 10.0, 10.0] {
            assert_about(backoff.after_failure(), seconds);
        }
        backoff.after_answer(Duration::ZERO);
        assert_about(backoff.after_failure(), 1.0);
    }
}
