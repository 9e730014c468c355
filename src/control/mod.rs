//! The composition root: a configuration becomes workers and a control thread, until a signal ends
//! them.

mod admin;
mod apart;
mod certificates;
mod descriptors;
mod listeners;
mod pools;
mod proxy;
mod reload;
mod service_manager;
mod signals;

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use crate::{
    admin::AdminListener,
    config::{Config, LogLevel},
    metrics::Metrics,
    program_log::ProgramLog,
};
use listeners::Listeners;
use proxy::Proxy;
pub use proxy::warnings;
use service_manager::ServiceManager;
use signals::Signals;
use tokio::{runtime, sync::mpsc};

/// How long the access logs' writers may take for what is left at the end.
const LOG_PATIENCE: Duration = Duration::from_secs(5);

/// Has the program's log be as detailed as that.
pub type SetLevel = Box<dyn Fn(LogLevel)>;

/// Runs the proxy until it is told to end. `file` is what the configuration was read from, and is
/// read again on a reload.
///
/// # Errors
/// What keeps it from starting, or a worker that failed.
pub fn run(
    config: Config,
    file: &Path,
    metrics: &Metrics,
    log: ProgramLog,
    set_level: SetLevel,
) -> anyhow::Result<()> {
    // The main thread is the control thread: signals, checks and look-ups, apart from the workers,
    // so that they are seen to when those are saturated.
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(run_here(&Arc::new(config), file, metrics, log, set_level));
    // Dropped, it would wait for a configuration file that is still being read, however long.
    runtime.shutdown_background();
    outcome
}

/// Tells the operator what is likely a mistake.
fn warn(config: &Config) {
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
}

async fn run_here(
    config: &Arc<Config>,
    file: &Path,
    metrics: &Metrics,
    log: ProgramLog,
    set_level: SetLevel,
) -> anyhow::Result<()> {
    let (ended, workers_ended) = mpsc::unbounded_channel();
    // What `auto` comes to now holds until the end.
    let workers = config.runtime.workers.count();
    let listeners = Listeners::first(config, workers)?;
    let admin = config.admin.as_ref().map(|admin| AdminListener::bind(&admin.bind)).transpose()?;
    // Before the first client, so that each has its record whenever a signal comes.
    let mut signals = Signals::new()?;
    let proxy = tokio::select! {
        proxy = Proxy::start(config, file, workers, listeners, metrics, &ended) => proxy?,
        // Names are still looked up; nobody is served yet.
        () = signals.stop.asked() => return Ok(()),
    };
    drop(ended);
    warn(config);
    certificates::look(config);
    let draining = Arc::new(AtomicBool::new(false));
    let (reloads, reload_requests) = admin::reload_channel();
    let shown = admin::Shown { proxy: &proxy, draining: &draining, log, reloads };
    let admin = admin.map(|listener| admin::start(listener, shown)).transpose()?;
    let manager = ServiceManager::from_env();
    let control =
        signals::Control { proxy, manager, workers_ended, draining, set_level, reload_requests };
    let (logs, outcome) = control.run(signals).await;
    drop(admin);
    logs.close(LOG_PATIENCE);
    outcome
}
