//! Sessions without traffic.

use std::time::Duration;

/// When a session without traffic is closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Idle {
    /// 1.5 times the keep alive of the session, plus a few seconds.
    #[default]
    KeepAlive,
    After(Duration),
    Never,
}
