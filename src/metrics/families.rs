//! Creates and registers families of metrics of the whole proxy.

use std::cell::RefCell;

use prometheus::{
    IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, core::Collector,
};

use super::totals::{CounterFamilies, CounterFamily};

/// Bucket bounds in seconds for the handshake and the CONNACK: from half a millisecond on a LAN to
/// the 10 s that the deadlines allow by default.
pub(super) const HANDSHAKE_BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Creates families and registers them.
///
/// Names, labels and buckets are constants of this crate, and every test that creates `Metrics`
/// checks that they are valid and unique.
pub(super) struct Families {
    pub(super) registry: Registry,
    /// Those of counters.
    pub(super) counters: RefCell<CounterFamilies>,
}

impl Families {
    pub(super) fn counter(&self, name: &str, help: &str) -> IntCounter {
        let counter = self.add(made(IntCounter::with_opts(opts(name, help))));
        self.note(name, CounterFamily::One(counter.clone()));
        counter
    }

    pub(super) fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        let counters = self.add(made(IntCounterVec::new(opts(name, help), labels)));
        self.note(name, CounterFamily::Several(counters.clone()));
        counters
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.add(made(IntGauge::with_opts(opts(name, help))))
    }

    pub(super) fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.add(made(IntGaugeVec::new(opts(name, help), labels)))
    }

    fn note(&self, name: &str, family: CounterFamily) {
        self.counters.borrow_mut().insert(name.to_owned(), family);
    }

    fn add<T: Collector + Clone + 'static>(&self, family: T) -> T {
        made(self.registry.register(Box::new(family.clone())));
        family
    }
}

/// Every family of the proxy begins with `mqtt_lb_`.
pub(super) fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("mqtt_lb")
}

pub(super) fn made<T>(family: prometheus::Result<T>) -> T {
    family.expect("every metric has a valid name, labels and buckets")
}
