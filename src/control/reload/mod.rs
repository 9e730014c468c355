//! A reload applies another configuration, completely or not at all, and keeps the sessions.

mod commit;
mod diff;
mod plan;

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::timeout};

use super::{pools::LookUps, proxy::Proxy};
use crate::config::Config;

/// How long to wait for workers that are too busy to apply a new configuration at once.
const WORKER_TIMEOUT: Duration = Duration::from_secs(2);

/// Reads the configuration again and applies it, with the certificates, keys, CAs and CRLs that it
/// names. Returns the changes, one line each.
///
/// # Errors
/// The faults, one line each; in this case nothing has changed. If the future is dropped early,
/// either everything or nothing has changed.
pub(super) async fn reload(proxy: &mut Proxy) -> Result<Vec<String>, Vec<String>> {
    let config = Arc::new(load(proxy).await?);
    let logs = proxy.jobs.open_logs(&proxy.logs, &config.access_log).await;
    let plan = plan::plan(proxy, config, logs)?;
    let snapshot = proxy.current.load_full();
    if snapshot.config.dns != plan.config.dns {
        proxy.pools.set_dns(&plan.config.dns);
    }
    // The hosts of new brokers are looked up, and the brokers of new pools discovered, before any
    // client is routed to them.
    let known: Vec<_> =
        plan.config.pools.iter().map(|config| snapshot.pool(&config.name)).collect();
    let mut look_ups = LookUps::default();
    for (config, pool) in plan.config.pools.iter().zip(&known) {
        if let Some(pool) = pool {
            proxy.pools.look_up(pool, config, &mut look_ups);
        }
    }
    let hosts = look_ups.hosts().await;
    let new = plan.config.pools.iter().zip(&known).filter(|(_, pool)| pool.is_none());
    let mut new = proxy.pools.start(new.map(|(config, _)| config)).await.into_iter();
    let pools = known.into_iter().filter_map(|known| known.or_else(|| new.next())).collect();
    let (pending, mut adopted) = mpsc::channel(1);
    let changes = commit::commit(proxy, &snapshot, plan, &hosts, pools, &pending);
    drop(pending);
    // Waits so that the new configuration is in effect when the reload is reported. Busy workers
    // take a few milliseconds.
    let _ = timeout(WORKER_TIMEOUT, adopted.recv()).await;
    Ok(changes)
}

async fn load(proxy: &mut Proxy) -> Result<Config, Vec<String>> {
    let file = proxy.file.clone();
    let what = format!("reading {} and the files that it names", file.display());
    match proxy.jobs.run(&what, move || Config::load(&file)).await {
        Ok(loaded) => loaded.map_err(|faults| faults.iter().map(ToString::to_string).collect()),
        Err(fault) => Err(vec![fault]),
    }
}
