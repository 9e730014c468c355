//! Clients that are on their way in.

use std::{path::Path, time::Instant};

use super::State;
use crate::{
    Outcome,
    client::connect,
    device::{Device, WITHIN, until_right},
    file::File,
    fixture::{Brokers, Fixture, ids},
    operations::Operation::{self, PoolReAdded},
    stub::Behavior,
};

const CLIENTS: usize = 8;

/// Some wait for a broker's CONNACK, one has sent half of its CONNECT, one nothing.
#[derive(Default)]
pub(super) struct UnderWay {
    half: Option<Device>,
    silent: Option<Device>,
}

impl State for UnderWay {
    fn name(&self) -> &'static str {
        "handshake under way"
    }

    fn configure(&mut self, _: &mut File, _: &Brokers, _: Operation, _: &Path) {}

    fn change_own_key(&mut self, file: &mut File) {
        file.top.insert("timeouts", "{ connect_packet: 50s }".to_owned());
        let Some(pool) = &mut file.pool else { return };
        pool.keys.insert("connack_timeout", "50s".to_owned());
    }

    fn enter(&mut self, fixture: &mut Fixture, _: Operation) -> Outcome {
        let Brokers { b1, b2, .. } = &fixture.brokers;
        for broker in [b1, b2] {
            broker.behave(Behavior::Hold);
        }
        fixture.pending = fixture.open_all(&ids("waiting", CLIENTS))?;
        let mut half = fixture.silent("half")?;
        half.send(&connect(4, "half")[..10])?;
        self.half = Some(half);
        self.silent = Some(fixture.silent("silent")?);
        until_right(WITHIN, || {
            let holding = fixture.brokers.b1.holding() + fixture.brokers.b2.holding();
            let active = crate::api::sum(&fixture.samples()?, "connections_active", None);
            let all = holding == CLIENTS && active as usize == fixture.held.len() + CLIENTS + 2;
            if all { Ok(()) } else { Err(format!("{holding} of {active} wait for a CONNACK")) }
        })
    }

    fn at_once(&mut self, fixture: &mut Fixture, operation: Operation) -> Outcome {
        let Brokers { b1, b2, .. } = &fixture.brokers;
        for broker in [b1, b2] {
            broker.heal();
            broker.release(Behavior::Good);
        }
        fixture.expect_pending(WITHIN)?;
        let Some(mut half) = self.half.take() else { return Ok(()) };
        half.send(&connect(4, "half")[10..])?;
        half.expect_accepted(Instant::now() + WITHIN)
            .map_err(|fault| format!("half of a CONNECT, {}: {fault}", operation.name()))?;
        fixture.held.push(half);
        Ok(())
    }

    fn heal(&mut self, _: &mut Fixture, operation: Operation) -> Outcome {
        // A client of a listener that is gone has no other way in.
        if operation != PoolReAdded {
            let Some(mut silent) = self.silent.take() else { return Ok(()) };
            silent.send(&connect(4, "silent"))?;
            return silent.expect_accepted(Instant::now() + WITHIN);
        }
        self.silent = None;
        Ok(())
    }
}
