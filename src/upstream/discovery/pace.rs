//! When to look something up again.

use std::time::Duration;

/// However short an answer holds: what is asked more often than once a second is asked for nothing.
const SHORTEST: Duration = Duration::from_secs(1);

/// How much later than due at most, so that many proxies do not ask at the same time.
const JITTER: f64 = 0.1;

/// The pauses between look-ups of one name.
#[derive(Debug)]
pub(in crate::upstream) struct Pace {
    longest: Duration,
    /// In a row.
    failures: u32,
}

impl Pace {
    /// No pause is longer than this, nor are any shorter where this is.
    pub(in crate::upstream) fn new(longest: Duration) -> Self {
        Self { longest, failures: 0 }
    }

    /// After an answer that holds for `ttl`.
    pub(in crate::upstream) fn answered(&mut self, ttl: Duration) -> Duration {
        self.failures = 0;
        self.pause(ttl)
    }

    /// After none: soon, and less soon each time.
    pub(in crate::upstream) fn failed(&mut self) -> Duration {
        let pause = SHORTEST.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        self.pause(pause)
    }

    fn pause(&self, due: Duration) -> Duration {
        due.max(SHORTEST).min(self.longest).mul_f64(1.0 + JITTER * fastrand::f64())
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
        let mut pace = Pace::new(Duration::from_secs(10));
        for (ttl, seconds) in [(0, 1.0), (1, 1.0), (7, 7.0), (10, 10.0), (3600, 10.0)] {
            assert_about(pace.answered(Duration::from_secs(ttl)), seconds);
        }
        let mut often = Pace::new(Duration::from_millis(100));
        assert_about(often.answered(Duration::from_secs(5)), 0.1);
        assert_about(often.failed(), 0.1);
    }

    #[test]
    fn failures_back_off_until_an_answer() {
        let mut pace = Pace::new(Duration::from_secs(10));
        for seconds in [1.0, 2.0, 4.0, 8.0, 10.0, 10.0] {
            assert_about(pace.failed(), seconds);
        }
        pace.answered(Duration::ZERO);
        assert_about(pace.failed(), 1.0);
    }
}
