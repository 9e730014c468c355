//! What a pool does as time passes, on the control thread: look-ups in DNS, checks, admission, the
//! end of ejections and slow starts.
//!
//! Each task is started once and follows the pool: it holds no pool while it waits, is woken when
//! the configuration or the members change, and ends when the pool is dropped.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};

use super::Pool;
use crate::upstream::{
    discovery::{Resolver, host_name, services},
    health,
};

/// How late the end of an ejection or of a slow start may be seen.
const TICK_INTERVAL: Duration = Duration::from_millis(100);

/// How often those who wait for admission are released: what a client does not notice, and at 500 a
/// second still only two or three at a time.
const RELEASE_INTERVAL: Duration = Duration::from_millis(5);

/// Dropped by each task once its first look-up is over.
pub type Pending = mpsc::Sender<()>;

/// A pool as its tasks see it.
#[derive(Clone)]
pub(in crate::upstream) struct Followed {
    pool: Weak<Pool>,
    changes: watch::Receiver<()>,
}

/// The pool has been dropped, and its tasks end.
pub(in crate::upstream) struct Gone;

impl Pool {
    /// Starts its tasks; called once. `resolver` is the one to ask, now and later.
    pub fn start(self: &Arc<Self>, resolver: &watch::Receiver<Arc<Resolver>>, pending: &Pending) {
        let pool = Followed { pool: Arc::downgrade(self), changes: self.changed.subscribe() };
        tokio::spawn(tick(pool.clone()));
        tokio::spawn(release(pool.clone(), self.queued.clone()));
        tokio::spawn(health::check(pool.clone()));
        tokio::spawn(health::await_recovery(pool.clone(), self.refusing.clone()));
        tokio::spawn(host_name::resolve(pool.clone(), resolver.clone(), pending.clone()));
        tokio::spawn(services::follow(pool, resolver.clone(), pending.clone()));
    }
}

impl Followed {
    /// The pool, to be dropped again before anything is waited for.
    pub(in crate::upstream) fn pool(&self) -> Result<Arc<Pool>, Gone> {
        self.pool.upgrade().ok_or(Gone)
    }

    /// Waits until the members or the configuration have changed since the last call.
    pub(in crate::upstream) async fn changed(&mut self) -> Result<(), Gone> {
        self.changes.changed().await.map_err(|_| Gone)
    }
}

async fn tick(pool: Followed) {
    while let Ok(pool) = pool.pool() {
        pool.tick(Instant::now());
        drop(pool);
        sleep(TICK_INTERVAL).await;
    }
}

/// Releases before it waits, so that no client that queues is ever forgotten.
async fn release(mut pool: Followed, queued: Arc<tokio::sync::Notify>) {
    loop {
        let Ok(more) = pool.pool().map(|pool| pool.release(Instant::now())) else { return };
        if more {
            sleep(RELEASE_INTERVAL).await;
            continue;
        }
        tokio::select! {
            () = queued.notified() => {}
            changed = pool.changed() => if changed.is_err() { return },
        }
    }
}
