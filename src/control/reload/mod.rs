//! A reload applies another configuration, completely or not at all, and keeps the sessions.

mod commit;
mod diff;
mod plan;

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::timeout};

use super::{
    pools::LookUps,
    proxy::Proxy,
    warnings::{log_new_warnings, log_warnings},
};
use crate::config::{Config, Faults, ReadFile};

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
    let changes = apply(proxy, &config).await?;
    log_warnings(&config);
    Ok(changes)
}

/// Reads the files that the configuration in force names again, and applies them; the configuration
/// file is not read. Returns the files that have changed, and the changes, one line each.
///
/// # Errors
/// As those of [`reload`].
pub(super) async fn reload_files(
    proxy: &mut Proxy,
) -> Result<(Vec<PathBuf>, Vec<String>), Vec<String>> {
    let before = proxy.current.load().config.clone();
    let running = before.clone();
    let read = move || running.with_files_read_again();
    let what = "reading the files that the configuration names";
    let config = Arc::new(read_config(proxy, what, read).await?);
    let changes = apply(proxy, &config).await?;
    log_new_warnings(&before, &config);
    let is_changed = |file: &&ReadFile| !before.files.contains(file);
    let files = config.files.iter().filter(is_changed).map(|file| file.path.clone());
    Ok((files.collect(), changes))
}

async fn apply(proxy: &mut Proxy, config: &Arc<Config>) -> Result<Vec<String>, Vec<String>> {
    let logs = proxy.jobs.open_logs(&proxy.logs, &config.access_log).await;
    let plan = plan::plan(proxy, config.clone(), logs)?;
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
    read_config(proxy, &what, move || Config::load(&file)).await
}

async fn read_config(
    proxy: &mut Proxy,
    what: &str,
    read: impl FnOnce() -> Result<Config, Faults> + Send + 'static,
) -> Result<Config, Vec<String>> {
    match proxy.jobs.run(what, read).await {
        Ok(loaded) => loaded.map_err(|faults| faults.iter().map(ToString::to_string).collect()),
        Err(fault) => Err(vec![fault]),
    }
}
