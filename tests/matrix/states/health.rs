//! A broker that its checks have found down, though it serves clients.

use std::path::Path;

use super::State;
use crate::{
    Outcome,
    file::{File, POOL},
    fixture::{Brokers, Fixture},
    operations::Operation::{self, AddressChanged, ChecksRemoved, OwnKey, PoolReAdded},
};

/// What the broker answers probes: unavailable.
pub(super) const BAD: u8 = 3;

pub(super) struct CheckedDown;

impl State for CheckedDown {
    fn name(&self) -> &'static str {
        "checked down"
    }

    fn configure(&mut self, file: &mut File, _: &Brokers, _: Operation, _: &Path) {
        set_check(file, "[0]");
    }

    /// What was a bad answer is a good one now.
    fn change_own_key(&mut self, file: &mut File) {
        set_check(file, "[0, 3]");
    }

    fn enter(&mut self, fixture: &mut Fixture, _: Operation) -> Outcome {
        fixture.brokers.b1.answer_probes(BAD);
        fixture.wait_status("b1", "down")
    }

    fn at_once(&mut self, fixture: &mut Fixture, operation: Operation) -> Outcome {
        match operation {
            ChecksRemoved | AddressChanged | OwnKey => fixture.wait_status("b1", "up"),
            // Not known yet.
            PoolReAdded => Ok(()),
            _ if operation.keeps_b1() => {
                let status = fixture.api.broker("b1")?.status;
                let still = status == "down";
                if still { Ok(()) } else { Err(format!("b1 is {status}, and its checks fail")) }
            }
            _ => Ok(()),
        }
    }

    fn found_out_as(&self, operation: Operation) -> Option<&'static str> {
        let is_well = matches!(operation, ChecksRemoved | AddressChanged | OwnKey);
        Some(if is_well { "up" } else { "down" })
    }
}

/// All brokers look down, which is taken for a fault of the checks.
pub(super) struct FailingOpen;

impl State for FailingOpen {
    fn name(&self) -> &'static str {
        "failing open"
    }

    /// Where its own key changes, the verdicts are believed at first.
    fn configure(&mut self, file: &mut File, _: &Brokers, operation: Operation, _: &Path) {
        set_check(file, "[0]");
        let Some(pool) = &mut file.pool else { return };
        pool.fail_open_percent = if operation == OwnKey { 0 } else { 90 };
    }

    fn change_own_key(&mut self, file: &mut File) {
        let Some(pool) = &mut file.pool else { return };
        pool.fail_open_percent = 90;
    }

    fn enter(&mut self, fixture: &mut Fixture, operation: Operation) -> Outcome {
        let Brokers { b1, b2, .. } = &fixture.brokers;
        for broker in [b1, b2] {
            broker.answer_probes(BAD);
        }
        fixture.wait_status("b1", "down")?;
        fixture.wait_status("b2", "down")?;
        let failing_open = fixture.api.failing_open()?.get(POOL) == Some(&(operation != OwnKey));
        if failing_open { Ok(()) } else { Err("the pool does not fail open".to_owned()) }
    }

    fn found_out_as(&self, operation: Operation) -> Option<&'static str> {
        let is_well = matches!(operation, ChecksRemoved | AddressChanged);
        Some(if is_well { "up" } else { "down" })
    }
}

pub(super) fn set_check(file: &mut File, expect: &str) {
    let Some(pool) = &mut file.pool else { return };
    let times = "interval: 100ms, timeout: 10s, fall: 2, rise: 2";
    pool.active = Some(format!("{{ type: mqtt, {times}, expect: {expect} }}"));
}
