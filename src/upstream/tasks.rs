//! The tasks of a pool, on the control thread: DNS lookups, checks, admission, and the ends of
//! ejections and slow starts.
//!
//! Each task is started once and follows the pool: it does not hold the pool while it waits, wakes
//! when the configuration or the members change, and ends when the pool is dropped.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, mpsc, watch},
    time::sleep,
};

use super::{
    discovery::{Resolver, host_name, services},
    health,
    pool::{Pool, PoolFollower},
};

/// The maximum delay in noticing the end of an ejection or a slow start.
const TICK_INTERVAL: Duration = Duration::from_millis(100);

/// The interval at which clients that wait for admission are released: too short for a client to
/// notice, and at 500 clients a second still only two or three at a time.
const RELEASE_INTERVAL: Duration = Duration::from_millis(5);

/// Starts the tasks of a pool; to be called once. `resolver` is the current resolver. Each lookup
/// task drops its clone of `startup` after its first lookup.
pub(crate) fn start_pool_tasks(
    pool: &Arc<Pool>,
    resolver: &watch::Receiver<Arc<Resolver>>,
    startup: &mpsc::Sender<()>,
) {
    let follower = PoolFollower::new(pool);
    tokio::spawn(tick(follower.clone()));
    tokio::spawn(release(follower.clone(), pool.queued()));
    tokio::spawn(health::check(follower.clone()));
    tokio::spawn(health::probe_outages(follower.clone(), pool.recovery_due()));
    tokio::spawn(host_name::resolve(follower.clone(), resolver.clone(), startup.clone()));
    tokio::spawn(services::follow(follower, resolver.clone(), startup.clone()));
}

async fn tick(follower: PoolFollower) {
    while let Ok(pool) = follower.pool() {
        pool.tick(Instant::now());
        drop(pool);
        sleep(TICK_INTERVAL).await;
    }
}

/// Releases before waiting, so that a client that has queued is never missed.
async fn release(mut follower: PoolFollower, queued: Arc<Notify>) {
    loop {
        let Ok(more) = follower.pool().map(|pool| pool.release(Instant::now())) else { return };
        if more {
            sleep(RELEASE_INTERVAL).await;
            continue;
        }
        tokio::select! {
            () = queued.notified() => {}
            changed = follower.changed() => if changed.is_err() { return },
        }
    }
}
