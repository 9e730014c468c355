//! Nobody is connected, or nobody has been accepted yet.

use std::path::Path;

use super::State;
use crate::{
    Outcome,
    device::WITHIN,
    file::File,
    fixture::{Brokers, Fixture, ids},
    metrics,
    operations::Operation::{self, OwnKey},
};

/// There were clients, and all have left: what is removed is gone at once.
pub(super) struct Idle;

impl State for Idle {
    fn name(&self) -> &'static str {
        "nobody connected"
    }

    fn is_apart_from(&self, operation: Operation) -> Option<&'static str> {
        (operation == OwnKey).then_some("no key governs it")
    }

    fn configure(&mut self, _: &mut File, _: &Brokers, _: Operation, _: &Path) {}

    fn change_own_key(&mut self, _: &mut File) {}

    fn enter(&mut self, fixture: &mut Fixture, _: Operation) -> Outcome {
        fixture.held.clear();
        metrics::check(fixture)
    }
}

/// Clients that wait in the kernel's queue of the listener.
pub(super) struct NotAccepted;

impl State for NotAccepted {
    fn name(&self) -> &'static str {
        "clients not accepted yet"
    }

    fn is_apart_from(&self, operation: Operation) -> Option<&'static str> {
        (operation == OwnKey).then_some("no key governs it")
    }

    fn configure(&mut self, _: &mut File, _: &Brokers, _: Operation, _: &Path) {}

    fn change_own_key(&mut self, _: &mut File) {}

    fn enter(&mut self, fixture: &mut Fixture, _: Operation) -> Outcome {
        fixture.stop();
        fixture.pending = fixture.open_all(&ids("early", 60))?;
        Ok(())
    }

    fn at_once(&mut self, fixture: &mut Fixture, _: Operation) -> Outcome {
        fixture.expect_pending(WITHIN)
    }
}
