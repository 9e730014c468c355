//! Two devices with one client ID.

use std::{ops::RangeInclusive, path::Path, time::Instant};

use super::State;
use crate::{
    Outcome,
    device::{Device, WITHIN, until_right},
    file::{File, POOL},
    fixture::{Brokers, Fixture},
    operations::Operation::{self, OwnKey, PoolReAdded, PoolRemoved, Upgrade},
};

/// Each connects when the other's CONNECT has ended its session.
pub(super) struct DuplicateIds {
    /// Of this cell only: brokers of all cells know it.
    id: String,
    connected: Option<Device>,
    /// How many sessions have ended as duplicates when both have taken turns again.
    count_after: RangeInclusive<u64>,
}

impl Default for DuplicateIds {
    fn default() -> Self {
        Self { id: String::new(), connected: None, count_after: 4..=5 }
    }
}

impl State for DuplicateIds {
    fn name(&self) -> &'static str {
        "two devices with one ID"
    }

    fn is_apart_from(&self, operation: Operation) -> Option<&'static str> {
        (operation == OwnKey).then_some("no key governs it")
    }

    fn configure(&mut self, _: &mut File, _: &Brokers, _: Operation, _: &Path) {}

    fn change_own_key(&mut self, _: &mut File) {}

    fn enter(&mut self, fixture: &mut Fixture, _: Operation) -> Outcome {
        self.id = format!("twin{}", fixture.listener().port());
        self.take_turns(fixture)?;
        // The third session that was displaced is the first that counts.
        expect_count(fixture, POOL, 1..=1)
    }

    fn at_once(&mut self, _: &mut Fixture, operation: Operation) -> Outcome {
        // A pool that comes back while it has sessions is the same, and otherwise does not know what
        // was before. A session may have ended with its broker. A new process knows of none that were
        // displaced.
        self.count_after = match operation {
            PoolRemoved => 1..=1,
            PoolReAdded | Upgrade => 1..=5,
            _ => 4..=5,
        };
        Ok(())
    }

    fn settle(&mut self, fixture: &mut Fixture, _: &dyn Fn(&str) -> Outcome<String>) -> Outcome {
        self.take_turns(fixture)?;
        self.connected = None;
        expect_count(fixture, fixture.file.serving_pool(), self.count_after.clone())
    }
}

impl DuplicateIds {
    /// Four connections, of which each ends the one before.
    fn take_turns(&mut self, fixture: &mut Fixture) -> Outcome {
        for _ in 0..4 {
            let mut newer = fixture.open(&self.id)?;
            newer.expect_accepted(Instant::now() + WITHIN)?;
            if let Some(older) = self.connected.replace(newer) {
                until_right(WITHIN, || {
                    let has_ended = older.has_news();
                    has_ended.then_some(()).ok_or_else(|| "the older session lives".to_owned())
                })?;
            }
        }
        Ok(())
    }
}

fn expect_count(fixture: &Fixture, pool: &str, wanted: RangeInclusive<u64>) -> Outcome {
    until_right(WITHIN, || {
        let count = fixture.api.duplicates(pool)?;
        if wanted.contains(&count) {
            return Ok(());
        }
        Err(format!("{count} sessions of {pool} ended as duplicates, not {wanted:?}"))
    })
}
