//! What is looked up in DNS: once before clients are served, and every so often after that.

use std::sync::Arc;

use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    config::Dns,
    upstream::{Discovery, HostName, PATIENCE, Pool, Refresh, Resolver},
};

/// Keeps host names and discovered brokers as DNS has them, until the tasks are dropped.
///
/// Waits for the first answers, but not for long: a DNS server that is away must not keep the proxy
/// from serving the brokers it knows.
pub(super) async fn start(pools: &[Arc<Pool>], dns: &Dns) -> JoinSet<()> {
    let resolver = Arc::new(Resolver::new(dns));
    let mut tasks = JoinSet::new();
    // Each task has a sender until its first look-up is over.
    let (pending, mut all_looked_up) = mpsc::channel(1);
    for pool in pools {
        for member in &pool.members().list {
            if let Some(host) = HostName::new(&pool.config.name, &member.broker, &resolver) {
                tasks.spawn(keep(host, pending.clone()));
            }
        }
        if let Some(discovery) = Discovery::new(pool, &resolver) {
            tasks.spawn(keep(discovery, pending.clone()));
        }
    }
    drop(pending);
    let _ = timeout(PATIENCE, all_looked_up.recv()).await;
    tasks
}

async fn keep(mut subject: impl Refresh, pending: mpsc::Sender<()>) {
    let mut pause = subject.refresh().await;
    drop(pending);
    loop {
        sleep(pause).await;
        pause = subject.refresh().await;
    }
}
