//! A task that belongs to an owner.

use std::future::Future;

use tokio::task::JoinHandle;

/// A task that is aborted when its owner drops this.
pub(crate) struct AbortOnDrop(JoinHandle<()>);

impl AbortOnDrop {
    pub(crate) fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(future))
    }

    /// Waits for the task to end.
    pub(crate) async fn ended(&mut self) {
        // An error is a panic, which has been logged by then.
        let _ = (&mut self.0).await;
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
