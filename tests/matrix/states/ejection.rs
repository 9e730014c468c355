//! A broker that has failed clients.

use std::path::Path;

use super::State;
use crate::{
    Outcome,
    device::{WITHIN, until_right},
    file::File,
    fixture::{Brokers, Fixture},
    operations::Operation::{self, AddressChanged, ChecksRemoved, EjectionRemoved, OwnKey},
    stub::Behavior,
};

pub(super) struct Ejected;

impl State for Ejected {
    fn name(&self) -> &'static str {
        "ejected"
    }

    fn configure(&mut self, file: &mut File, _: &Brokers, operation: Operation, _: &Path) {
        set_passive(file, if must_end(operation) { "1h" } else { "1500ms" });
    }

    fn change_own_key(&mut self, file: &mut File) {
        set_passive(file, "100ms");
    }

    fn enter(&mut self, fixture: &mut Fixture, _: Operation) -> Outcome {
        eject(fixture)
    }

    fn at_once(&mut self, fixture: &mut Fixture, operation: Operation) -> Outcome {
        if !must_end(operation) {
            return Ok(());
        }
        fixture.brokers.heal();
        // A shorter time is over, and then a client shows that the broker is well.
        if operation == OwnKey { Ok(()) } else { fixture.wait_status("b1", "up") }
    }
}

/// Whether the operation ends an ejection, however long it was to last.
fn must_end(operation: Operation) -> bool {
    operation.makes_b1_new() || matches!(operation, EjectionRemoved | OwnKey)
}

fn set_passive(file: &mut File, eject_for: &str) {
    let Some(pool) = &mut file.pool else { return };
    pool.passive = format!("{{ failures: 1, eject_for: {eject_for} }}");
}

/// Has `b1` fail clients until it is ejected.
fn eject(fixture: &mut Fixture) -> Outcome {
    fixture.brokers.b1.behave(Behavior::Reset);
    let mut n = 0;
    until_right(WITHIN, || {
        n += 1;
        drop(fixture.connect(&format!("failed{n}"))?);
        let status = fixture.api.broker("b1")?.status;
        if status == "ejected" { Ok(()) } else { Err(format!("b1 is {status}")) }
    })
}

/// Found down by its checks as well: when they find it up again, the ejection is over.
pub(super) struct EjectedAndDown;

impl State for EjectedAndDown {
    fn name(&self) -> &'static str {
        "ejected and checked down"
    }

    fn is_apart_from(&self, operation: Operation) -> Option<&'static str> {
        (operation == ChecksRemoved).then_some("nothing but an hour ends the ejection then")
    }

    fn configure(&mut self, file: &mut File, _: &Brokers, _: Operation, _: &Path) {
        set_passive(file, "1h");
        super::health::set_check(file, "[0]");
    }

    fn change_own_key(&mut self, file: &mut File) {
        set_passive(file, "100ms");
    }

    fn enter(&mut self, fixture: &mut Fixture, _: Operation) -> Outcome {
        eject(fixture)?;
        fixture.brokers.b1.answer_probes(super::health::BAD);
        fixture.wait_status("b1", "down")
    }

    fn found_out_as(&self, operation: Operation) -> Option<&'static str> {
        Some(if operation == AddressChanged { "up" } else { "down" })
    }
}

/// The trial is on its way.
pub(super) struct HalfOpen;

impl State for HalfOpen {
    fn name(&self) -> &'static str {
        "half-open trial"
    }

    fn configure(&mut self, file: &mut File, _: &Brokers, _: Operation, _: &Path) {
        set_passive(file, "10ms");
        let Some(pool) = &mut file.pool else { return };
        pool.keys.insert("connack_timeout", "2s".to_owned());
    }

    fn change_own_key(&mut self, file: &mut File) {
        set_passive(file, "20ms");
    }

    fn enter(&mut self, fixture: &mut Fixture, _: Operation) -> Outcome {
        eject(fixture)?;
        fixture.brokers.b1.behave(Behavior::Hold);
        let mut n = 0;
        until_right(WITHIN, || {
            n += 1;
            let device = fixture.open(&format!("trial{n}"))?;
            // It is either taken by another broker, or is the trial.
            until_right(WITHIN, || {
                let known = device.has_news() || fixture.brokers.b1.holding() > 0;
                if known { Ok(()) } else { Err("a client hears nothing".to_owned()) }
            })?;
            fixture.pending.push(device);
            let on_trial = fixture.brokers.b1.holding() > 0;
            if on_trial { Ok(()) } else { Err("no client is the trial".to_owned()) }
        })
    }

    fn at_once(&mut self, fixture: &mut Fixture, operation: Operation) -> Outcome {
        let must_end = operation.makes_b1_new() || operation == EjectionRemoved;
        if must_end { fixture.wait_status("b1", "up") } else { Ok(()) }
    }

    /// The trial fails by `connack_timeout`, and the broker is well from then on.
    fn heal(&mut self, fixture: &mut Fixture, _: Operation) -> Outcome {
        fixture.brokers.heal();
        fixture.expect_pending(WITHIN)
    }
}
