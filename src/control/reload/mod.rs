//! Reload: another configuration, whole or not at all, while sessions go on.

mod diff;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::mpsc, time::timeout};

use self::diff::{beyond_reload, of_all_but_pools, of_pool};
use super::{
    certificates,
    listeners::Bound,
    pools::{Hosts, LookUps},
    proxy::{Proxy, possible, worker_updates},
};
use crate::{
    access_log::Prepared,
    config::{self, Config},
    snapshot::Snapshot,
    upstream::Pool,
    worker::PendingUpdate,
};

/// How long to wait for workers that are too busy to apply a new configuration at once.
const PATIENCE: Duration = Duration::from_secs(2);

/// A configuration that nothing speaks against, with what had to be opened for it.
struct Plan {
    config: Arc<Config>,
    logs: Prepared,
    bound: Bound,
}

impl Proxy {
    /// Reads the configuration again and applies it, with the certificates, keys, CAs and CRLs that
    /// it names. Returns what has changed, a line each.
    ///
    /// # Errors
    /// What is wrong, a line each; nothing has changed then. Dropped before its end, it has changed
    /// all or nothing.
    pub(super) async fn reload(&mut self) -> Result<Vec<String>, Vec<String>> {
        let config = Arc::new(self.load().await?);
        let logs = self.apart.open_logs(&self.logs, &config.access_log).await;
        let plan = self.plan(config, logs)?;
        let snapshot = self.current.load_full();
        if snapshot.config.dns != plan.config.dns {
            self.pools.set_dns(&plan.config.dns);
        }
        // The hosts of new brokers are known, and new pools are discovered, before clients are
        // sent there.
        let known: Vec<_> =
            plan.config.pools.iter().map(|config| snapshot.pool(&config.name)).collect();
        let mut look_ups = LookUps::default();
        for (config, pool) in plan.config.pools.iter().zip(&known) {
            if let Some(pool) = pool {
                self.pools.look_up(pool, config, &mut look_ups);
            }
        }
        let hosts = look_ups.hosts().await;
        let new = plan.config.pools.iter().zip(&known).filter(|(_, pool)| pool.is_none());
        let mut new = self.pools.start(new.map(|(config, _)| config)).await.into_iter();
        let pools = known.into_iter().filter_map(|known| known.or_else(|| new.next())).collect();
        let (pending, mut adopted) = mpsc::channel(1);
        let changes = self.commit(&snapshot, plan, &hosts, pools, &pending);
        drop(pending);
        // So that whoever asked finds it done. Busy workers take some milliseconds.
        let _ = timeout(PATIENCE, adopted.recv()).await;
        Ok(changes)
    }

    async fn load(&mut self) -> Result<Config, Vec<String>> {
        let file = self.file.clone();
        let what = format!("reading {} and the files that it names", file.display());
        match self.apart.run(&what, move || Config::load(&file)).await {
            Ok(loaded) => loaded.map_err(|faults| faults.iter().map(ToString::to_string).collect()),
            Err(fault) => Err(vec![fault]),
        }
    }

    /// Everything that can be refused.
    fn plan(
        &self,
        config: Arc<Config>,
        logs: Result<Prepared, String>,
    ) -> Result<Plan, Vec<String>> {
        let snapshot = self.current.load();
        let mut faults = beyond_reload(&snapshot.config, &config);
        for pool in &config.pools {
            let known = snapshot.pool(&pool.name);
            if let Some(Err(error)) = known.map(|known| known.check_fit(pool)) {
                faults.push(format!("pool {}: {error}", pool.name));
            }
        }
        let bound = self.listeners.bind(&config, self.workers.len());
        match (logs, bound) {
            (Ok(logs), Ok(bound)) if faults.is_empty() => Ok(Plan { config, logs, bound }),
            (logs, bound) => {
                faults.extend(logs.err());
                faults.extend(bound.err().into_iter().flatten());
                Err(faults)
            }
        }
    }

    fn commit(
        &mut self,
        before: &Snapshot,
        plan: Plan,
        hosts: &Hosts,
        pools: Vec<Arc<Pool>>,
        pending: &PendingUpdate,
    ) -> Vec<String> {
        let Plan { config, logs, bound } = plan;
        let mut changes = of_all_but_pools(&before.config, &config);
        self.logs.commit(logs);
        let [could, can] = [&before.config, &config]
            .map(|config| possible(config, self.workers.len(), self.descriptors));
        let most = [&before.config, &config].map(|config| config.limits.max_connections);
        if could != can || most[0] != most[1] {
            self.descriptors.say(can, most[1]);
        }
        self.limiter.reconfigure(&config.limits, can);
        for (pool, config) in pools.iter().zip(&config.pools) {
            if !before.pools.iter().any(|other| Arc::ptr_eq(other, pool)) {
                changes.push(format!("pool {}: added", config.name));
            }
            changes.extend(change_pool(pool, config, hosts));
        }
        for pool in &before.pools {
            if !pools.iter().any(|other| Arc::ptr_eq(other, pool)) {
                changes.push(format!("pool {}: removed", pool.name));
                pool.retire(Instant::now());
            }
        }
        let sockets = self.listeners.adopt(bound, &config, &pools, &self.metrics);
        let listeners = self.listeners.open().to_vec();
        let snapshot = Arc::new(before.next(&config, pools, listeners));
        self.current.store(snapshot.clone());
        let worker_updates =
            worker_updates(&snapshot, self.workers.len(), sockets, &self.logs, pending);
        self.workers.iter().zip(worker_updates).for_each(|(worker, update)| worker.update(update));
        if certificates::publish(&config, &self.metrics) > 0 {
            changes.push("certificates, keys, CAs and CRLs: read anew".to_owned());
        }
        super::warn(&config);
        certificates::look(&config);
        changes
    }
}

/// Applies a configuration to a pool; returns what has changed.
fn change_pool(pool: &Pool, config: &config::Pool, hosts: &Hosts) -> Vec<String> {
    let before = pool.config();
    let changes = pool.reconfigure(config, &|endpoint| hosts.tell(endpoint), Instant::now());
    of_pool(&pool.name, settings_differ(&before, config), &changes)
}

/// Whether more is different than brokers, and certificates, which are always taken for new.
fn settings_differ(before: &config::Pool, after: &config::Pool) -> bool {
    let settings =
        |pool: &config::Pool| config::Pool { upstreams: Vec::new(), tls: None, ..pool.clone() };
    settings(before) != settings(after) || before.tls.is_some() != after.tls.is_some()
}
