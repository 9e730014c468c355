//! What a scenario found out.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// The longest latency told apart, in nanoseconds: a minute.
const LONGEST: u64 = 60_000_000_000;

pub struct Outcome {
    pub operations: u64,
    pub bytes: u64,
    pub elapsed: Duration,
    /// Connections a second of a flood in the background.
    pub flood_rate: Option<f64>,
    errors: u64,
    first_error: Option<String>,
    latencies: Histogram<u64>,
}

impl Outcome {
    pub fn new() -> Self {
        Self {
            operations: 0,
            bytes: 0,
            elapsed: Duration::ZERO,
            flood_rate: None,
            errors: 0,
            first_error: None,
            // Three digits are more than the machine repeats.
            latencies: Histogram::new_with_max(LONGEST, 3).expect("valid bounds"),
        }
    }

    /// Counts an operation that took `latency`.
    pub fn done(&mut self, latency: Duration) {
        self.operations += 1;
        self.latencies.saturating_record(latency.as_nanos() as u64);
    }

    pub fn failed(&mut self, what: impl ToString) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| what.to_string());
    }

    pub fn to_json(&self) -> Value {
        let micros = |nanos: u64| nanos as f64 / 1e3;
        let latency = (!self.latencies.is_empty()).then(|| {
            let at = |quantile| micros(self.latencies.value_at_quantile(quantile));
            json!({
                "p50": at(0.5),
                "p99": at(0.99),
                "p99.9": at(0.999),
                "max": micros(self.latencies.max()),
            })
        });
        json!({
            "operations": self.operations,
            "bytes": self.bytes,
            "seconds": self.elapsed.as_secs_f64(),
            "flood_rate": self.flood_rate,
            "errors": self.errors,
            "first_error": self.first_error,
            "latency_us": latency,
        })
    }
}
