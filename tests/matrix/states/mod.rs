//! What a proxy is in the midst of: the columns of the matrix.

mod bulk;
mod discovery;
mod duplicate;
mod ejection;
mod handshake;
mod health;
mod idle;
mod layers;
mod limits;
mod logs;
mod operator;
mod outage;
mod queue;
mod returning;
mod slow;

use std::{path::Path, process::Command};

use crate::{
    Outcome,
    file::File,
    fixture::{Brokers, Fixture},
    harness::program,
    operations::Operation,
};

/// One of them, in one cell. What it holds is of that cell.
pub(crate) trait State {
    fn name(&self) -> &'static str;

    /// Why an operation does not apply.
    fn is_apart_from(&self, _operation: Operation) -> Option<&'static str> {
        None
    }

    /// Adds to the usual file, before the proxy starts. `folder` is the proxy's.
    fn configure(
        &mut self,
        file: &mut File,
        brokers: &Brokers,
        operation: Operation,
        folder: &Path,
    );

    /// The command that runs the program.
    fn command(&self, _program: &str, _folder: &Path) -> Command {
        program()
    }

    /// How many sessions are there before it.
    fn sessions(&self) -> usize {
        6
    }

    /// Brings it about, and waits until it is.
    fn enter(&mut self, fixture: &mut Fixture, operation: Operation) -> Outcome;

    /// Changes the key of the file that governs it.
    fn change_own_key(&mut self, file: &mut File);

    /// What must hold as soon as the operation has been done, which ends what can be ended.
    fn at_once(&mut self, _scene: &mut Fixture, _operation: Operation) -> Outcome {
        Ok(())
    }

    /// Whether new clients have to wait until all is well again.
    fn holds_newcomers(&self, _operation: Operation) -> bool {
        false
    }

    /// How `b1` is while all is not well, where a fresh proxy finds that out by itself.
    fn found_out_as(&self, _operation: Operation) -> Option<&'static str> {
        None
    }

    /// Makes all well again, and sees to the state's own clients.
    fn heal(&mut self, fixture: &mut Fixture, _operation: Operation) -> Outcome {
        fixture.brokers.heal();
        Ok(())
    }

    /// Of the clients it has had on the way, where they belong. `home` is a fresh proxy's word.
    fn settle(&mut self, _scene: &mut Fixture, _home: &dyn Fn(&str) -> Outcome<String>) -> Outcome {
        Ok(())
    }

    /// What is to be back, when all clients have left.
    fn leave(&mut self, _scene: &mut Fixture, _operation: Operation) -> Outcome {
        Ok(())
    }
}

/// A new one for each cell.
pub(crate) type Make = fn() -> Box<dyn State>;

pub(crate) const ALL: [Make; 23] = [
    || Box::new(idle::Idle),
    || Box::new(idle::NotAccepted),
    || Box::new(queue::Queued),
    || Box::new(ejection::Ejected),
    || Box::new(ejection::HalfOpen),
    || Box::new(ejection::EjectedAndDown),
    || Box::new(health::CheckedDown),
    || Box::new(health::FailingOpen),
    || Box::new(operator::Drained),
    || Box::new(outage::ServesNobody),
    || Box::new(returning::WarmingUp),
    || Box::<returning::Rebalancing>::default(),
    || Box::<discovery::Failing>::default(),
    || Box::<handshake::UnderWay>::default(),
    || Box::<limits::AddressAtLimit>::default(),
    || Box::<duplicate::DuplicateIds>::default(),
    || Box::<layers::Tls>::default(),
    || Box::<layers::PassedThrough>::default(),
    || Box::<layers::WebSocket>::default(),
    || Box::<bulk::Stream>::default(),
    || Box::<slow::SlowReaders>::default(),
    || Box::<logs::AccessLogBlocked>::default(),
    || Box::<logs::StderrBlocked>::default(),
];
