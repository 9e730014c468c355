//! What the control loop and an upgrade tell each other.

use super::{previous::FromPrevious, steps::Step};
use crate::admin::UpgradeRequest;

/// Something that concerns an upgrade.
pub(in crate::control) enum UpgradeEvent {
    Request(UpgradeRequest),
    Step(Step),
    Previous(FromPrevious),
    /// The new process has to be told about this one.
    Report,
}

/// What the control loop has to do after an event.
pub(in crate::control) enum AfterUpgrade {
    Nothing,
    /// The new process accepts: this one ends with its last session.
    HandedOver {
        pid: u32,
    },
    /// All sessions that can move have moved: this process closes its listening sockets.
    SessionsMoved,
    /// The new process has ended, and this one accepts again.
    TakenBack,
    /// The new process has ended, and this one can no longer accept.
    Orphaned,
    /// The new process is told to stop, and this one with it.
    Stop,
}
