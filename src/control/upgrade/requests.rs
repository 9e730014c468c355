//! The control thread's end of the upgrade channel.

use std::path::PathBuf;

use tokio::sync::mpsc;

use super::binary::own_path;
use crate::admin::{UpgradeChannel, UpgradeRequest, UpgradeStatus};

/// The control thread's end of the upgrade channel.
pub(in crate::control) struct UpgradeRequests {
    requests: mpsc::Receiver<UpgradeRequest>,
    pub(in crate::control) status: UpgradeStatus,
    /// The path that this process was started by.
    own_path: Option<PathBuf>,
}

/// Creates the upgrade channel between the API and the control thread. Call it at the start: see
/// [`own_path`].
pub(in crate::control) fn upgrade_channel() -> (UpgradeChannel, UpgradeRequests) {
    let status = UpgradeStatus::default();
    let (sender, requests) = mpsc::channel(1);
    let channel = UpgradeChannel::new(sender, status.clone());
    (channel, UpgradeRequests { requests, status, own_path: own_path() })
}

impl UpgradeRequests {
    /// Waits for a request by the API; `None` once the API is gone.
    pub(in crate::control) async fn recv(&mut self) -> Option<UpgradeRequest> {
        self.requests.recv().await
    }

    /// The program that a request asks for.
    ///
    /// # Errors
    /// If the path of this process is not known.
    pub(in crate::control) fn binary(&self, asked: Option<PathBuf>) -> Result<PathBuf, String> {
        let unknown = "the path of the program is unknown: name it with --binary";
        asked.or_else(|| self.own_path.clone()).ok_or_else(|| unknown.to_owned())
    }
}
