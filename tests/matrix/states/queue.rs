//! Clients that wait for admission.

use std::{path::Path, time::Duration};

use super::State;
use crate::{
    Outcome,
    api::sum,
    device::{WITHIN, until_right},
    file::{File, POOL},
    fixture::{Brokers, Fixture, ids},
    operations::Operation::{self, AddressChanged, AdmissionRemoved, BrokerRemoved, OwnKey},
};

const CLIENTS: usize = 24;

pub(super) struct Queued;

impl State for Queued {
    fn name(&self) -> &'static str {
        "clients queued"
    }

    fn sessions(&self) -> usize {
        2
    }

    /// So slow that those who queue are not in by themselves, where the operation is to let them in.
    fn configure(&mut self, file: &mut File, _: &Brokers, operation: Operation, _: &Path) {
        let rate = if matches!(operation, OwnKey | AdmissionRemoved) { 1 } else { 10 };
        set_rate(file, rate);
    }

    fn change_own_key(&mut self, file: &mut File) {
        set_rate(file, 1000);
    }

    fn enter(&mut self, fixture: &mut Fixture, _: Operation) -> Outcome {
        // All before one broker, so that nothing else tells of those who wait there.
        for id in ids("queued", 4 * CLIENTS) {
            if fixture.pending.len() < CLIENTS && fixture.api.home(POOL, &id)? == "b1" {
                let device = fixture.open(&id)?;
                fixture.pending.push(device);
            }
        }
        until_right(WITHIN, || {
            let waiting = sum(&fixture.samples()?, "admission_waiting", None);
            if waiting > 5.0 { Ok(()) } else { Err(format!("{waiting} clients wait")) }
        })
    }

    fn at_once(&mut self, fixture: &mut Fixture, operation: Operation) -> Outcome {
        let before = fixture.brokers.b1.connects();
        // At ten a second.
        let slowest = Duration::from_millis(CLIENTS as u64 * 100);
        let queue = match operation {
            OwnKey | AdmissionRemoved => Duration::ZERO,
            _ => slowest,
        };
        fixture.expect_pending(queue + WITHIN)?;
        // One may have been on the way there.
        let late = fixture.brokers.b1.connects().saturating_sub(before);
        if matches!(operation, AddressChanged | BrokerRemoved) && late > 1 {
            return Err(format!("{late} clients that queued were sent to where b1 was"));
        }
        Ok(())
    }
}

fn set_rate(file: &mut File, rate: u32) {
    let Some(pool) = &mut file.pool else { return };
    pool.keys.insert("admission", format!("{{ rate: {rate}, burst: 1, max_wait: 60s }}"));
}
