//! A broker that has come back.

use std::{path::Path, time::Duration};

use super::State;
use crate::{
    Outcome,
    device::{Device, WITHIN, until_right},
    file::File,
    fixture::{Brokers, Fixture},
    operations::Operation::{self, OwnKey},
};

/// It takes a share of its clients that grows.
pub(super) struct WarmingUp;

impl State for WarmingUp {
    fn name(&self) -> &'static str {
        "warming up"
    }

    fn configure(&mut self, file: &mut File, _: &Brokers, operation: Operation, _: &Path) {
        set_key(file, "slow_start", if operation == OwnKey { "1h" } else { "1500ms" });
    }

    fn change_own_key(&mut self, file: &mut File) {
        set_key(file, "slow_start", "100ms");
    }

    fn enter(&mut self, fixture: &mut Fixture, _: Operation) -> Outcome {
        fixture.api.patch("b1", r#"{"state":"down"}"#)?;
        fixture.wait_status("b1", "set_down")?;
        fixture.api.patch("b1", r#"{"state":"ready"}"#)
    }
}

/// Its clients are sent home, a few a second.
#[derive(Default)]
pub(super) struct Rebalancing {
    operation: Option<Operation>,
}

/// More than are sent home within [`WITHIN`] at the lowest rate.
const DEVICES: usize = 24;

impl State for Rebalancing {
    fn name(&self) -> &'static str {
        "rebalancing"
    }

    fn configure(&mut self, file: &mut File, _: &Brokers, operation: Operation, _: &Path) {
        self.operation = Some(operation);
        set_key(file, "rebalance", if operation == OwnKey { "{ rate: 1 }" } else { "{ rate: 2 }" });
    }

    fn change_own_key(&mut self, file: &mut File) {
        set_key(file, "rebalance", "{ rate: 100 }");
    }

    fn enter(&mut self, fixture: &mut Fixture, _: Operation) -> Outcome {
        fixture.api.patch("b1", r#"{"state":"drain"}"#)?;
        // Existing sessions end; clients that connect meanwhile go to the other broker.
        until_right(WITHIN, || {
            come_back(fixture)?;
            let sessions = fixture.api.broker("b1")?.sessions;
            if sessions == 0 { Ok(()) } else { Err(format!("{sessions} are left on b1")) }
        })?;
        fixture.hold("device", DEVICES)?;
        fixture.api.patch("b1", r#"{"state":"ready"}"#)?;
        until_right(WITHIN, || {
            let begun = fixture.held.iter().any(Device::has_news);
            if begun { Ok(()) } else { Err("nobody is sent home".to_owned()) }
        })
    }

    /// Each is where a fresh proxy would have it, and by the rate in force.
    fn settle(&mut self, fixture: &mut Fixture, home: &dyn Fn(&str) -> Outcome<String>) -> Outcome {
        if self.operation == Some(Operation::PoolRemoved) {
            // They are of another pool than newcomers, and stay; but for one that was on its way.
            return come_back(fixture);
        }
        let by_rate = if self.operation == Some(OwnKey) { 0 } else { DEVICES as u64 / 2 };
        until_right(WITHIN + Duration::from_secs(by_rate), || {
            come_back(fixture)?;
            let sessions = fixture.api.sessions()?;
            let mut away = 0;
            for session in &sessions {
                away += usize::from(session.upstream != home(&session.client_id)?);
            }
            if away == 0 && sessions.len() == fixture.held.len() {
                Ok(())
            } else {
                let count = sessions.len();
                Err(format!(
                    "{away} of {count} sessions are away from home, and are not sent there"
                ))
            }
        })
    }
}

/// Clients whose connections were closed connect again, as devices do.
fn come_back(fixture: &mut Fixture) -> Outcome {
    let held = std::mem::take(&mut fixture.held);
    for device in held {
        let device = if device.has_news() { fixture.connect(&device.id)? } else { device };
        fixture.held.push(device);
    }
    Ok(())
}

fn set_key(file: &mut File, key: &'static str, value: &str) {
    let Some(pool) = &mut file.pool else { return };
    pool.keys.insert(key, value.to_owned());
}
