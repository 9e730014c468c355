//! The composition root: a configuration becomes workers and a control thread, until a signal ends
//! them.

mod certificates;
mod changes;
mod control;
mod descriptors;
mod listeners;
mod pools;
mod proxy;
mod reload;
mod service_manager;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use listeners::Bound;
use proxy::Proxy;
use tokio::{runtime, sync::mpsc};

use crate::{
    admin::{self, AdminListener, AdminState, Readiness},
    config::{Config, LogLevel},
    observe::Metrics,
    snapshot::Snapshot,
};

/// How long the access logs' writers may take for what is left at the end.
const LOG_PATIENCE: Duration = Duration::from_secs(5);

/// Has the program's log be as detailed as that.
pub type SetLevel = Box<dyn Fn(LogLevel)>;

/// Runs the proxy until it is told to end. `file` is what the configuration was read from, and is
/// read again on a reload.
///
/// # Errors
/// What keeps it from starting, or a worker that failed.
pub fn run(config: Config, file: &Path, set_level: SetLevel) -> anyhow::Result<()> {
    // The main thread is the control thread: admin, signals and look-ups, apart from the workers,
    // so that they answer when those are saturated.
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run_here(&Arc::new(config), file, set_level))
}

async fn run_here(config: &Arc<Config>, file: &Path, set_level: SetLevel) -> anyhow::Result<()> {
    let metrics = Metrics::new();
    let (ended, workers_ended) = mpsc::unbounded_channel();
    let bound = Bound::first(config)?;
    let admin = config.admin.as_ref().map(|admin| AdminListener::bind(&admin.bind)).transpose()?;
    let proxy = Proxy::start(config, file, bound, &metrics, &ended).await?;
    drop(ended);
    certificates::look(config);
    let draining = Arc::new(AtomicBool::new(false));
    let admin_task = admin.map(|listener| {
        if let Some(address) = listener.local_addr() {
            tracing::info!(%address, "admin listening");
        }
        let readiness = readiness(draining.clone(), proxy.current.clone());
        let state = AdminState {
            metrics,
            token: config.admin.as_ref().and_then(|admin| admin.token.clone()),
            readiness,
        };
        tokio::spawn(admin::serve(listener, state, std::future::pending()))
    });
    let control = control::Control { proxy, workers_ended, draining, set_level };
    let (logs, outcome) = control.run().await;
    if let Some(admin) = admin_task {
        admin.abort();
    }
    logs.close(LOG_PATIENCE);
    outcome
}

fn readiness(
    draining: Arc<AtomicBool>,
    current: Arc<ArcSwap<Snapshot>>,
) -> Arc<dyn Fn() -> Readiness + Send + Sync> {
    Arc::new(move || {
        if draining.load(Ordering::Relaxed) {
            Readiness::NotReady("draining")
        } else if current.load().pools.iter().any(|pool| pool.can_serve()) {
            Readiness::Ready
        } else {
            Readiness::NotReady("no pool has a broker that takes sessions")
        }
    })
}
