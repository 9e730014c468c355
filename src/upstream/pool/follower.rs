//! A task's handle of its pool.

use std::sync::{Arc, Weak};

use tokio::sync::watch;

use super::Pool;

/// Follows a pool without keeping it alive.
#[derive(Clone)]
pub(crate) struct PoolFollower {
    pool: Weak<Pool>,
    changes: watch::Receiver<()>,
}

/// The pool has been dropped, so its tasks end.
pub(crate) struct PoolDropped;

impl PoolFollower {
    pub(crate) fn new(pool: &Arc<Pool>) -> Self {
        Self { pool: Arc::downgrade(pool), changes: pool.changed.subscribe() }
    }

    /// The pool. Callers have to drop it before they wait for anything.
    pub(crate) fn pool(&self) -> Result<Arc<Pool>, PoolDropped> {
        self.pool.upgrade().ok_or(PoolDropped)
    }

    /// Waits until the members or the configuration have changed since the last call.
    pub(crate) async fn changed(&mut self) -> Result<(), PoolDropped> {
        self.changes.changed().await.map_err(|_| PoolDropped)
    }
}
