//! The first half of a reload: every step that can fail.

use std::sync::Arc;

use super::diff::restart_required;
use crate::{
    access_log::PreparedLogs,
    config::Config,
    control::{listeners::BoundListeners, proxy::Proxy},
};

/// A valid configuration, and the resources opened for it.
pub(super) struct ReloadPlan {
    pub(super) config: Arc<Config>,
    pub(super) logs: PreparedLogs,
    pub(super) bound: BoundListeners,
}

/// # Errors
/// The faults, one line each.
pub(super) fn plan(
    proxy: &Proxy,
    config: Arc<Config>,
    logs: Result<PreparedLogs, String>,
) -> Result<ReloadPlan, Vec<String>> {
    let snapshot = proxy.current.load();
    let mut faults = restart_required(&snapshot.config, &config);
    for pool in &config.pools {
        let known = snapshot.pool(&pool.name);
        if let Some(Err(error)) = known.map(|known| known.check_fit(pool)) {
            faults.push(format!("pool {}: {error}", pool.name));
        }
    }
    let bound = proxy.listeners.bind(&config, proxy.workers.len());
    match (logs, bound) {
        (Ok(logs), Ok(bound)) if faults.is_empty() => Ok(ReloadPlan { config, logs, bound }),
        (logs, bound) => {
            faults.extend(logs.err());
            faults.extend(bound.err().into_iter().flatten());
            Err(faults)
        }
    }
}
