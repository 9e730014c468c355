//! What a proxy has when nobody is connected: descriptors, threads, and tasks by what they do.

use std::{fs, thread, time::Duration};

use crate::{
    Outcome,
    api::sum,
    device::{WITHIN, until_right},
    fixture::Fixture,
    operations::Operation,
    stub::Stub,
};

/// As in the file.
const CHECK_INTERVAL: f64 = 0.1;

pub(crate) struct Resources {
    descriptors: usize,
    threads: usize,
}

impl Resources {
    /// The least of some looks: checks and look-ups come and go.
    pub(crate) fn least(fixture: &Fixture) -> Self {
        let mut least = Self::of(fixture);
        for _ in 0..20 {
            thread::sleep(Duration::from_millis(5));
            least.descriptors = least.descriptors.min(Self::of(fixture).descriptors);
        }
        least
    }

    fn of(fixture: &Fixture) -> Self {
        // Empty pipes are kept for the next bulk stream.
        let descriptors = fixture.proxy.descriptors() - fixture.proxy.pipe_ends();
        let threads = fs::read_dir(fixture.proxy.proc("task")).map_or(0, Iterator::count);
        Self { descriptors, threads }
    }

    /// Nobody is connected any more; all is as it was in the beginning.
    pub(crate) fn check(&self, fixture: &Fixture) -> Outcome {
        until_right(WITHIN, || {
            let samples = fixture.api.samples()?;
            for family in
                ["connections_active", "upstream_sessions_active", "upstream_ports_active"]
            {
                let is = sum(&samples, family, None);
                if is != 0.0 {
                    return Err(format!("{family} is {is}, and nobody is connected"));
                }
            }
            let Self { descriptors, threads } = Self::of(fixture);
            if descriptors > self.descriptors {
                return Err(format!("{descriptors} descriptors, before {}", self.descriptors));
            }
            // The thread that has read the file stays for a while.
            if threads > self.threads + 1 {
                return Err(format!("{threads} threads, before {}", self.threads));
            }
            Ok(())
        })
    }
}

/// Every broker of the file is checked, once in an interval, and no other.
pub(crate) fn check_probes(fixture: &Fixture, operation: Operation) -> Outcome {
    let brokers = &fixture.brokers;
    let has_checks = fixture.file.pool.as_ref().is_some_and(|pool| pool.active.is_some());
    let moved = operation == Operation::AddressChanged;
    let expected = [
        ("b1", &brokers.b1, has_checks && operation.keeps_b1() && !moved),
        ("b2", &brokers.b2, has_checks),
        ("b1 where it has moved", &brokers.moved, has_checks && moved),
    ];
    let probes = |stub: &Stub| stub.probes();
    until_right(WITHIN, || {
        let (before, began) =
            (expected.map(|(_, stub, _)| probes(stub)), std::time::Instant::now());
        thread::sleep(Duration::from_millis(800));
        let after = expected.map(|(_, stub, _)| probes(stub));
        let due = began.elapsed().as_secs_f64() / CHECK_INTERVAL;
        for ((name, _, wanted), count) in expected.iter().zip(after.iter().zip(before)) {
            let count = count.0 - count.1;
            if !wanted && count > 0 {
                return Err(format!("{name} is checked {count} times, and is not to be"));
            }
            if *wanted && (count == 0 || count as f64 > due * 1.3 + 2.0) {
                return Err(format!("{name} is checked {count} times in the time of {due:.1}"));
            }
        }
        Ok(())
    })
}
