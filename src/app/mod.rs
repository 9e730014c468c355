//! The composition root: a configuration becomes workers and a control thread, until a signal ends
//! them.

mod admin;
mod certificates;
mod control;
mod descriptors;
mod pools;
mod resolve;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use anyhow::Context;
use arc_swap::ArcSwap;
use certificates::Certificates;
use tokio::{runtime, sync::mpsc};

use crate::{
    admin::AdminListener,
    config::Config,
    listener::{self, Listening},
    observe::{AccessLogs, Metrics, ProgramLog},
    session::{Gate, Inspector, Origin, Owners, SESSION_ID_BITS, Shared},
    snapshot::Snapshot,
    transport::TcpOptions,
    upstream::{self, Bell, Pool},
    worker::{Setup, Worker},
};

/// How long the access logs' writers may take for what is left at the end.
const LOG_PATIENCE: Duration = Duration::from_secs(5);

/// Runs the proxy until it is told to end. `file` is what the configuration was read from, and is
/// read again for new certificates.
///
/// # Errors
/// What keeps it from starting, or a worker that failed.
pub fn run(config: Config, file: &Path, log: &ProgramLog) -> anyhow::Result<()> {
    // The main thread is the control thread: signals, checks and look-ups, apart from the workers,
    // so that they are seen to when those are saturated.
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run_here(&Arc::new(config), file, log))
}

async fn run_here(config: &Arc<Config>, file: &Path, log: &ProgramLog) -> anyhow::Result<()> {
    let descriptors = descriptors::raise_limit();
    let metrics = Metrics::new();
    let bell = Arc::new(Bell::default());
    let pool = |pool| Arc::new(Pool::new(pool, &metrics, bell.clone()));
    let pools: Vec<_> = config.pools.iter().map(pool).collect();
    for pool in &config.pools {
        pools::check_sources(pool);
    }
    let connections_possible = descriptors::connections(
        descriptors,
        config.runtime.workers.get(),
        checked_brokers(config),
    );
    let shared = Shared {
        gate: Arc::new(Gate::new(&config.limits, connections_possible)),
        pools: pools.clone(),
        limits: config.limits,
        timeouts: config.timeouts,
        metrics: metrics.clone(),
        owners: Arc::new(Owners::new(config.runtime.workers.get(), bell.clone())),
        bell,
    };
    let listening = bind_all(config)?;
    let socket_files: Vec<_> = listening.iter().filter_map(Listening::socket_file).collect();
    let draining = Arc::new(AtomicBool::new(false));
    let admin = config.admin.as_ref().map(|admin| AdminListener::bind(&admin.bind)).transpose()?;
    let logs = AccessLogs::open(&config.access_log, metrics.access_log_dropped())?;
    let mut tasks = resolve::start(&pools, &config.dns).await;

    // From here on clients are served.
    let (ended, workers_ended) = mpsc::unbounded_channel();
    let binds = listening.iter().map(|listening| listening.bind.clone());
    let snapshot = Snapshot::first(config, pools.clone(), binds, &metrics);
    let arrivals: Vec<_> =
        snapshot.entrances.iter().map(|entrance| entrance.arrival.clone()).collect();
    let certificates = Certificates::new(config, file, &arrivals, &pools, &metrics);
    let workers = start_workers(&snapshot, &shared, listening, &logs, &ended)?;
    drop(ended);
    let snapshot = Arc::new(ArcSwap::from_pointee(snapshot));
    let (reloads, reloads_asked) = admin::reloads();
    let about = admin::About {
        file,
        snapshot: &snapshot,
        metrics: &metrics,
        gate: &shared.gate,
        draining: &draining,
        log,
        sessions: Inspector::new(
            workers.iter().map(Worker::asker).collect(),
            shared.owners.clone(),
        ),
        reloads,
        descriptors,
        connections_possible,
    };
    let admin = admin.map(|listener| admin::start(listener, config, about)).transpose()?;
    for pool in pools.iter().filter(|pool| pool.config.admission.is_some()) {
        tasks.spawn(pools::admit(pool.clone()));
    }
    for pool in pools.iter().filter(|pool| pool.config.health.active.is_some()) {
        tasks.spawn(upstream::watch(pool.clone()));
    }
    tasks.spawn(pools::tick(pools));
    let control = control::Control {
        workers,
        workers_ended,
        gate: shared.gate,
        drain: config.drain.timeout,
        draining,
        certificates,
        reloads_asked,
    };
    let outcome = control.run(&logs).await;
    drop(tasks);
    drop(admin);
    logs.close(LOG_PATIENCE);
    remove(socket_files);
    outcome
}

/// Those that are discovered are not known yet; the reserve has room for a few.
fn checked_brokers(config: &Config) -> usize {
    let checked = config.pools.iter().filter(|pool| pool.health.active.is_some());
    checked.map(|pool| pool.upstreams.len()).sum()
}

fn bind_all(config: &Config) -> anyhow::Result<Vec<Listening>> {
    let options = TcpOptions {
        keepalive: config.timeouts.tcp_keepalive,
        user_timeout: config.timeouts.tcp_user_timeout,
    };
    let workers = config.runtime.workers.get();
    let bind = |listener| Ok(listener::bind(listener, workers, options)?);
    config.listeners.iter().map(bind).collect()
}

fn start_workers(
    snapshot: &Snapshot,
    shared: &Shared,
    mut listening: Vec<Listening>,
    logs: &AccessLogs,
    ended: &mpsc::UnboundedSender<()>,
) -> anyhow::Result<Vec<Worker>> {
    // Apart from those of an earlier run and of other proxies, most likely.
    let run = u64::from(fastrand::u16(..)) << 48;
    let mut workers = Vec::new();
    for index in 0..snapshot.config.runtime.workers.get() {
        let entrances = listening.iter_mut().zip(&snapshot.entrances);
        let listeners = entrances.filter_map(|(listening, entrance)| {
            let origin = Origin {
                name: entrance.name.clone(),
                transport: entrance.transport,
                pool: entrance.pool,
                several_brokers: shared.pools[entrance.pool].can_have_several(),
                metrics: entrance.metrics.clone(),
                arrival: entrance.arrival.clone(),
            };
            Some((listening.sockets.pop()?, origin))
        });
        let setup = Setup {
            index: index as u16,
            listeners: listeners.collect(),
            shared: shared.clone(),
            log: logs.writer(),
            first_session_id: run | (index as u64) << SESSION_ID_BITS,
        };
        workers.push(Worker::start(setup, ended.clone()).context("cannot start a worker")?);
    }
    for Listening { name, bind, .. } in &listening {
        tracing::info!(listener = %name, address = %bind, "listening");
    }
    Ok(workers)
}

fn remove(socket_files: Vec<PathBuf>) {
    for file in socket_files {
        // What cannot be removed now, the next start finds stale and removes.
        let _ = std::fs::remove_file(file);
    }
}
