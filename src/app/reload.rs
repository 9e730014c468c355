//! Reload: another configuration, whole or not at all, while sessions go on.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::mpsc, time::timeout};

use super::{
    certificates,
    changes::{beyond_reload, of_all_but_pools, of_pool},
    listeners::Bound,
    pools::{self, Hosts, LookUps},
    proxy::{Proxy, adoptions, possible},
};
use crate::{
    config::{self, Config},
    observe::Prepared,
    snapshot::Snapshot,
    upstream::Pool,
    worker::Adopting,
};

/// How long is waited for workers that are too busy to go by a new configuration at once.
const PATIENCE: Duration = Duration::from_secs(2);

/// A configuration that nothing speaks against, with what had to be opened for it.
struct Plan {
    config: Arc<Config>,
    logs: Prepared,
    bound: Bound,
}

impl Proxy {
    /// Reads the configuration again and goes by it, with the certificates, keys, CAs and CRLs that
    /// it names. Returns what has changed, a line each.
    ///
    /// # Errors
    /// What is wrong, a line each; nothing has changed then. Dropped before its end, it has changed
    /// all or nothing.
    pub(super) async fn reload(&mut self) -> Result<Vec<String>, Vec<String>> {
        let file = self.file.clone();
        // Apart, as a large file takes its time, and brokers are to be checked meanwhile.
        let loading = tokio::task::spawn_blocking(move || Config::load(&file));
        let config = match loading.await {
            Ok(Ok(config)) => Arc::new(config),
            Ok(Err(faults)) => return Err(faults.iter().map(ToString::to_string).collect()),
            Err(error) => return Err(vec![format!("it could not be read: {error}")]),
        };
        let plan = self.plan(config)?;
        // The hosts of new brokers are known, and new pools are discovered, before clients are
        // sent there.
        let snapshot = self.current.load_full();
        let mut look_ups = LookUps::default();
        let mut added = Vec::new();
        for config in &plan.config.pools {
            match snapshot.pool(&config.name) {
                Some(pool) => self.care.look_up(pool, config, &mut look_ups),
                None => added.push(Arc::new(Pool::new(config, &self.metrics, self.bell.clone()))),
            }
        }
        if snapshot.config.dns != plan.config.dns {
            self.care.set_dns(&plan.config.dns);
        }
        let hosts = look_ups.hosts().await;
        self.care.begin(&added).await;
        let (adopting, mut adopted) = mpsc::channel(1);
        let changes = self.commit(&snapshot, plan, &hosts, added, &adopting);
        drop(adopting);
        // So that whoever asked finds it done. Busy workers take some milliseconds.
        let _ = timeout(PATIENCE, adopted.recv()).await;
        Ok(changes)
    }

    /// Everything that can be refused.
    fn plan(&self, config: Arc<Config>) -> Result<Plan, Vec<String>> {
        let snapshot = self.current.load();
        let mut faults = beyond_reload(&snapshot.config, &config);
        for pool in &config.pools {
            let known = snapshot.pool(&pool.name);
            if let Some(Err(error)) = known.map(|known| known.upstreams_with(pool)) {
                faults.push(format!("pool {}: {error}", pool.name));
            }
        }
        let logs = self.logs.prepare(&config.access_log).map_err(|error| error.to_string());
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
        added: Vec<Arc<Pool>>,
        adopting: &Adopting,
    ) -> Vec<String> {
        let Plan { config, logs, bound } = plan;
        // What has been deserted since the last reload is known to the next snapshot no more.
        self.tidy();
        let mut changes = of_all_but_pools(&before.config, &config);
        self.logs.commit(logs);
        let [could, can] = [&before.config, &config]
            .map(|config| possible(config, self.workers.len(), self.descriptors));
        let most = [&before.config, &config].map(|config| config.limits.max_connections);
        if could != can || most[0] != most[1] {
            self.descriptors.say(can, most[1]);
        }
        self.gate.reconfigure(&config.limits, can);
        let dns_changed = before.config.dns != config.dns;
        let mut added = added.into_iter();
        let mut pools = Vec::new();
        for config in &config.pools {
            let was_there = before.pools.iter().any(|pool| pool.name == config.name);
            if !was_there {
                changes.push(format!("pool {}: added", config.name));
                pools::check_sources(config);
            }
            pools.extend(match before.pool(&config.name) {
                Some(pool) => {
                    let anew = dns_changed || !was_there;
                    changes.extend(self.change_pool(pool, config, hosts, anew));
                    Some(pool.clone())
                }
                None => added.next(),
            });
        }
        for pool in &before.pools {
            if !pools.iter().any(|other| other.name == pool.name) {
                changes.push(format!("pool {}: removed", pool.name));
                self.care.end(&pool.name);
                pool.remove();
            }
        }
        let sockets = self.listeners.adopt(bound, &config, &pools, &self.metrics);
        let listeners = self.listeners.open().to_vec();
        let snapshot = Arc::new(before.next(&config, pools, listeners));
        self.current.store(snapshot.clone());
        let adoptions = adoptions(&snapshot, self.workers.len(), sockets, &self.logs, adopting);
        self.workers.iter().zip(adoptions).for_each(|(worker, adoption)| worker.adopt(adoption));
        if certificates::publish(&config, &self.metrics) > 0 {
            changes.push("certificates, keys, CAs and CRLs: read anew".to_owned());
        }
        certificates::look(&config);
        changes
    }

    /// `anew`: even if its configuration is the same.
    fn change_pool(
        &mut self,
        pool: &Arc<Pool>,
        config: &config::Pool,
        hosts: &Hosts,
        anew: bool,
    ) -> Vec<String> {
        let before = pool.config();
        if *before == *config && !anew {
            return Vec::new();
        }
        // What is planned fits, and nobody else changes members meanwhile but DNS, whose task ends.
        self.care.end(&pool.name);
        let changed = pool.reconfigure(config, &|broker| hosts.tell(broker), Instant::now());
        self.care.begin_anew(pool);
        match changed {
            Ok(changed) => of_pool(&pool.name, settings_differ(&before, config), &changed),
            Err(error) => {
                tracing::error!(pool = %pool.name, %error, "the pool stays as it was");
                Vec::new()
            }
        }
    }
}

/// Whether more is different than brokers, and certificates, which are always taken for new.
fn settings_differ(before: &config::Pool, after: &config::Pool) -> bool {
    let settings =
        |pool: &config::Pool| config::Pool { upstreams: Vec::new(), tls: None, ..pool.clone() };
    settings(before) != settings(after) || before.tls.is_some() != after.tls.is_some()
}
