//! What pools need as time passes, on the control thread.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::{config, transport::check_source, upstream::Pool};

/// How late the end of an ejection or of a slow start may be seen.
const TICK: Duration = Duration::from_millis(100);

/// How often those who wait at brokers' doors are let in: what a client does not notice, and at
/// 500 a second still only two or three at a time.
const ADMIT: Duration = Duration::from_millis(5);

/// Warns of addresses to dial from that this host does not have. It may be given them later.
pub(super) fn check_sources(pool: &config::Pool) {
    for source in &pool.source_addresses {
        if let Err(error) = check_source(*source) {
            tracing::warn!(
                pool = %pool.name, %source, %error,
                "source_addresses has one that cannot be dialled from; the others are used"
            );
        }
    }
}

/// Ends what ends with time: ejections, slow starts, what is known of brokers that are gone.
pub(super) async fn tick(pools: Vec<Arc<Pool>>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for pool in &pools {
            pool.tick(Instant::now());
        }
    }
}

/// Lets in who waits at the doors of a pool's brokers.
pub(super) async fn admit(pool: Arc<Pool>) {
    loop {
        pool.queued().await;
        while pool.release(Instant::now()) {
            sleep(ADMIT).await;
        }
    }
}
