//! Starts the proxy and its control thread.

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use tokio::{runtime, sync::mpsc};

use super::{
    admin::{self, AdminSetup},
    control_loop::{ControlLoop, SetLogLevel},
    file_watch::FileWatch,
    listeners::Listeners,
    proxy::Proxy,
    service_manager::{Refused, ServiceManager},
    signals::Signals,
    warnings::log_warnings,
};
use crate::{admin::AdminListener, config::Config, metrics::Metrics, program_log::ProgramLog};

/// How long the access logs' writers may take at exit to write the remaining lines.
const LOG_CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs the proxy until it is told to end. `file` is the file that the configuration was read from;
/// a reload reads it again.
///
/// # Errors
/// The proxy cannot start, or a worker failed.
pub fn run(
    config: Config,
    file: &Path,
    metrics: &Metrics,
    log: ProgramLog,
    set_level: SetLogLevel,
) -> anyhow::Result<()> {
    // The main thread is the control thread: signals, health checks and look-ups run here, apart
    // from the workers, so that they work while those are saturated.
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(run_to_end(&Arc::new(config), file, metrics, log, set_level));
    // Dropping the runtime would wait for a configuration file that is still being read, however
    // long.
    runtime.shutdown_background();
    outcome
}

async fn run_to_end(
    config: &Arc<Config>,
    file: &Path,
    metrics: &Metrics,
    log: ProgramLog,
    set_level: SetLogLevel,
) -> anyhow::Result<()> {
    let (ended, workers_ended) = mpsc::unbounded_channel();
    // The number that `auto` means now is kept until the end.
    let workers = config.runtime.workers.count();
    let listeners = Listeners::first(config, workers)?;
    let admin = config.admin.as_ref().map(|admin| AdminListener::bind(&admin.bind)).transpose()?;
    // Installed before the first client, so that every connection is recorded whenever a signal
    // comes.
    let mut signals = Signals::new()?;
    let proxy = tokio::select! {
        proxy = Proxy::start(config, file, workers, listeners, metrics, &ended) => proxy?,
        // Names are still being looked up; no client has been served yet.
        () = signals.stop.received() => return Ok(()),
    };
    drop(ended);
    log_warnings(config);
    let draining = Arc::new(AtomicBool::new(false));
    let (reloads, reload_requests) = admin::reload_channel();
    let setup = AdminSetup { proxy: &proxy, draining: &draining, log, reloads };
    let admin = admin.map(|listener| admin::start(listener, setup)).transpose()?;
    let manager = ServiceManager::from_env();
    let file_watch = FileWatch::start(&proxy.current);
    let control_loop = ControlLoop {
        proxy,
        manager,
        workers_ended,
        draining,
        set_level,
        reload_requests,
        file_watch,
        refused: Refused::default(),
    };
    let (logs, outcome) = control_loop.run(signals).await;
    drop(admin);
    logs.close(LOG_CLOSE_TIMEOUT);
    outcome
}
