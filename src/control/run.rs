//! Starts the proxy and its control thread.

use std::{
    num::NonZeroUsize,
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use tokio::{runtime, sync::mpsc};

use super::{
    admin::{self, AdminSetup},
    control_loop::{ControlLoop, SetLogLevel},
    file_watch::FileWatch,
    listeners::{BoundListeners, Listeners},
    proxy::Proxy,
    service_manager::{Refused, ServiceManager},
    signals::Signals,
    upgrade::{Previous, TakenSockets, Takeover, Upgrades, begin_serving, upgrade_channel},
    warnings::log_warnings,
};
use crate::{
    admin::{AdminListener, AdminMode},
    config::Config,
    metrics::Metrics,
    program_log::ProgramLog,
};

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
    let mut takeover = Takeover::receive().await?;
    let started = start(config, file, metrics, log, set_level, &mut takeover).await;
    if let (Err(error), Some(takeover)) = (&started, &mut takeover) {
        takeover.fail(&format!("{error:#}")).await;
    }
    let Some((control_loop, signals)) = started? else { return Ok(()) };
    control_loop.run(signals).await
}

/// Starts everything; `None` if a stop signal comes first. `takeover` is taken if there is a process
/// before an upgrade.
async fn start(
    config: &Arc<Config>,
    file: &Path,
    metrics: &Metrics,
    log: ProgramLog,
    set_level: SetLogLevel,
    takeover: &mut Option<Takeover>,
) -> anyhow::Result<Option<(ControlLoop, Signals)>> {
    let (upgrades, upgrade_requests) = upgrade_channel();
    let (ended, workers_ended) = mpsc::unbounded_channel();
    // The number that `auto` means now is kept until the end.
    let workers = config.runtime.workers.count();
    let sockets = takeover.as_mut().map(Takeover::take_sockets).transpose()?;
    let (listeners, admin) = bind(config, workers, sockets)?;
    // Installed before the first client, so that every connection is recorded whenever a signal
    // comes.
    let mut signals = Signals::new()?;
    let runs = takeover.as_ref().map(Takeover::run_ids).transpose()?;
    let proxy = tokio::select! {
        proxy = Proxy::start(config, file, workers, listeners, metrics, &ended, runs) => proxy?,
        // Names are still being looked up; no client has been served yet.
        () = signals.stop.received() => return Ok(None),
    };
    drop(ended);
    log_warnings(config);
    let draining = Arc::new(AtomicBool::new(false));
    let (reloads, reload_requests) = admin::reload_channel();
    let mode = if takeover.is_none() { AdminMode::Accepting } else { AdminMode::Stopped };
    let setup = AdminSetup { proxy: &proxy, draining: &draining, log, reloads, upgrades, mode };
    let admin = admin.map(|listener| admin::start(listener, setup)).transpose()?;
    if let Some(takeover) = takeover {
        upgrade_requests.status.set(Ok(takeover.process()));
        begin_serving(takeover, &proxy, admin.as_ref()).await?;
    }
    let previous = takeover.take().map_or_else(Previous::default, Previous::follow);
    let file_watch = FileWatch::start(&proxy.current);
    let control_loop = ControlLoop {
        proxy,
        manager: ServiceManager::from_env(),
        workers_ended,
        draining,
        set_level,
        reload_requests,
        file_watch,
        upgrades: Upgrades::new(upgrade_requests, previous),
        admin,
        refused: Refused::default(),
        needs_restart: false,
    };
    Ok(Some((control_loop, signals)))
}

/// Binds the listeners, or takes the sockets of the process before an upgrade.
fn bind(
    config: &Config,
    workers: NonZeroUsize,
    sockets: Option<TakenSockets>,
) -> anyhow::Result<((Listeners, BoundListeners), Option<AdminListener>)> {
    let Some(TakenSockets { listeners, inherited, mut admin }) = sockets else {
        let listeners = Listeners::first(config, workers)?;
        let admin = config.admin.as_ref().map(|admin| AdminListener::bind(&admin.bind));
        return Ok((listeners, admin.transpose()?));
    };
    let listeners = Listeners::take_over(config, workers, inherited, listeners)?;
    let admin = config.admin.as_ref().map(|config| {
        let same = admin.take_if(|(bind, _)| *bind == config.bind.to_string());
        let bind = &config.bind;
        same.map_or_else(
            || AdminListener::bind(bind),
            |(_, it)| Ok(AdminListener::handed(bind, it)),
        )
    });
    Ok((listeners, admin.transpose()?))
}
