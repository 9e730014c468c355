//! What the operator has set at run time.

use std::path::Path;

use super::State;
use crate::{
    Outcome,
    file::File,
    fixture::{Brokers, Fixture},
    operations::Operation::{self, OwnKey, PoolReAdded, WeightChanged},
};

pub(super) struct Drained;

impl State for Drained {
    fn name(&self) -> &'static str {
        "drained by the operator"
    }

    fn is_apart_from(&self, operation: Operation) -> Option<&'static str> {
        (operation == OwnKey).then_some("no key of the file governs what the operator has set")
    }

    fn configure(&mut self, _: &mut File, _: &Brokers, _: Operation, _: &Path) {}

    fn change_own_key(&mut self, _: &mut File) {}

    fn enter(&mut self, fixture: &mut Fixture, _: Operation) -> Outcome {
        fixture.patch("b1", r#"{"state":"drain"}"#)?;
        fixture.patch("b2", r#"{"weight":5}"#)?;
        fixture.wait_status("b1", "draining")
    }

    fn at_once(&mut self, fixture: &mut Fixture, operation: Operation) -> Outcome {
        if operation == PoolReAdded {
            return keep_what_is_left(fixture);
        }
        if !operation.keeps_b1() {
            fixture.operator.retain(|(broker, _)| *broker != "b1" && fixture.file.pool.is_some());
        }
        if operation == WeightChanged {
            // The file has another weight for it now.
            fixture.operator.retain(|(broker, _)| *broker != "b2");
        }
        for (name, _) in &fixture.operator {
            let broker = fixture.api.broker(name)?;
            let stays = if *name == "b1" { broker.state == "drain" } else { broker.weight == 5 };
            if !stays {
                return Err(format!("what the operator set is forgotten: {}", broker.standing));
            }
        }
        Ok(())
    }
}

/// A broker that has left its pool may have lost what was set, or not: what is said of it has to be
/// how clients are served.
fn keep_what_is_left(fixture: &mut Fixture) -> Outcome {
    let (b1, b2) = (fixture.api.broker("b1")?, fixture.api.broker("b2")?);
    fixture.operator.retain(|(broker, _)| match *broker {
        "b1" => b1.state == "drain",
        _ => b2.weight == 5,
    });
    Ok(())
}
