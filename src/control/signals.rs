//! The signals that the proxy handles.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Handlers for all of these signals: once they exist, none of them ends the process by default.
pub(super) struct Signals {
    pub(super) stop: StopSignals,
    reopen: Signal,
    reload: Signal,
    upgrade: Signal,
}

/// The action that a signal requests.
pub(super) enum SignalAction {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGUSR1.
    ReopenLogs,
    /// SIGHUP.
    Reload,
    /// SIGUSR2.
    Upgrade,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self {
            stop: StopSignals { terminate, interrupt },
            reopen: signal(SignalKind::user_defined1())?,
            reload: signal(SignalKind::hangup())?,
            upgrade: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for the next signal. Cancel safe.
    pub(super) async fn next(&mut self) -> SignalAction {
        tokio::select! {
            () = self.stop.received() => SignalAction::Stop,
            _ = self.reopen.recv() => SignalAction::ReopenLogs,
            _ = self.reload.recv() => SignalAction::Reload,
            _ = self.upgrade.recv() => SignalAction::Upgrade,
        }
    }
}

/// SIGTERM and SIGINT, which mean the same.
pub(super) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Waits for one of them. Cancel safe.
    pub(super) async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
