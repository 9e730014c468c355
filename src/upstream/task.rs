//! A task that belongs to somebody.

use std::future::Future;

use tokio::task::JoinHandle;

/// A task that ends when this is dropped.
pub(in crate::upstream) struct Task(JoinHandle<()>);

impl Task {
    pub(in crate::upstream) fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(future))
    }

    /// Waits for its end.
    pub(in crate::upstream) async fn ended(&mut self) {
        // It ends early only in a panic, which has been told by then.
        let _ = (&mut self.0).await;
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
