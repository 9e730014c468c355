//! Brokers' host names, looked up at the start and every so often after it.

use std::{sync::Arc, time::Duration};

use tokio::{
    net::lookup_host,
    time::{sleep, timeout},
};

use crate::{
    config::Address,
    upstream::{Broker, Pool},
};

/// How long the start waits for one name: a DNS server that is away must not keep the proxy from
/// serving the brokers it knows.
const PATIENCE: Duration = Duration::from_secs(5);

/// Names are looked up again this often. The system's resolver does not tell how long an answer
/// holds; half a minute is what clusters commonly give their records.
const INTERVAL: Duration = Duration::from_secs(30);

/// Looks up every name once.
pub(super) async fn once(pools: &[Arc<Pool>]) {
    for pool in pools {
        for member in &pool.members().list {
            resolve(pool, &member.broker).await;
        }
    }
}

/// Keeps looking.
pub(super) async fn forever(pools: Vec<Arc<Pool>>) {
    loop {
        sleep(INTERVAL).await;
        once(&pools).await;
    }
}

async fn resolve(pool: &Pool, broker: &Broker) {
    let Address::Host(name, port) = &broker.address else { return };
    let failure = match timeout(PATIENCE, lookup_host((&**name, *port))).await {
        Ok(Ok(mut addresses)) => match addresses.next() {
            Some(address) => {
                if broker.set_resolved(address) {
                    tracing::info!(pool = %pool.config.name, upstream = %broker.name, host = %name, %address, "resolved");
                }
                return;
            }
            None => "the answer has no address".to_owned(),
        },
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {PATIENCE:?}"),
    };
    tracing::warn!(
        pool = %pool.config.name, upstream = %broker.name, host = %name, error = %failure,
        "cannot resolve; keeping the last address, if there was one"
    );
}
