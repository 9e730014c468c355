//! Everything that runs, as the control thread holds it.

use std::{
    num::NonZeroUsize,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use arc_swap::ArcSwap;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use super::{
    apart::Apart,
    certificates,
    descriptors::{self, DescriptorLimit},
    listeners::{Bound, Listeners},
    pools::Pools,
};
use crate::{
    access_log::{AccessLogs, LogWatch},
    config::Config,
    limits::ConnectionLimiter,
    metrics::Metrics,
    session::{ClientDirectory, ProcessContext, SESSION_ID_BITS},
    snapshot::Snapshot,
    upstream::WorkerSignal,
    worker::{PendingUpdate, Worker, WorkerSetup, WorkerUpdate},
};

/// How often it is looked whether an access log holds clients back.
const LOOK_AT_LOGS: Duration = Duration::from_millis(500);

pub(super) struct Proxy {
    /// The configuration, to be read again.
    pub(super) file: PathBuf,
    pub(super) metrics: Metrics,
    pub(super) current: Arc<ArcSwap<Snapshot>>,
    pub(super) workers: Vec<Worker>,
    pub(super) limiter: Arc<ConnectionLimiter>,
    pub(super) logs: AccessLogs,
    pub(super) listeners: Listeners,
    pub(super) pools: Pools,
    pub(super) clients: Arc<ClientDirectory>,
    pub(super) descriptors: DescriptorLimit,
    pub(super) apart: Apart,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Starts it; from then on clients are served. `ended` is told when a worker ends.
    ///
    /// # Errors
    /// What keeps it from starting.
    pub(super) async fn start(
        config: &Arc<Config>,
        file: &Path,
        worker_count: NonZeroUsize,
        (mut listeners, bound): (Listeners, Bound),
        metrics: &Metrics,
        ended: &mpsc::UnboundedSender<()>,
    ) -> anyhow::Result<Self> {
        let descriptors = DescriptorLimit::raise();
        let signal = Arc::new(WorkerSignal::default());
        let possible = possible(config, worker_count.get(), descriptors);
        descriptors.say(possible, config.limits.max_connections);
        let limiter = Arc::new(ConnectionLimiter::new(&config.limits, possible));
        let (mut logs, mut apart) = (AccessLogs::none(metrics.access_logs()), Apart::default());
        let prepared = apart.open_logs(&logs, &config.access_log).await;
        logs.commit(prepared.map_err(anyhow::Error::msg)?);
        let starter = Pools::new(&config.dns, metrics, &signal);
        let pools = starter.start(config.pools.iter()).await;

        let sockets = listeners.adopt(bound, config, &pools, metrics);
        let snapshot = Arc::new(Snapshot::first(config, pools, listeners.open().to_vec()));
        let clients = Arc::new(ClientDirectory::new(worker_count.get(), signal.clone()));
        let shared = ProcessContext {
            limiter: limiter.clone(),
            metrics: metrics.clone(),
            clients: clients.clone(),
            signal,
        };
        // Apart from those of an earlier run and of other proxies, most likely.
        let run = u64::from(fastrand::u16(..)) << 48;
        let mut workers = Vec::new();
        let (pending, _) = mpsc::channel(1);
        let worker_updates =
            worker_updates(&snapshot, worker_count.get(), sockets, &logs, &pending);
        for (index, update) in worker_updates.into_iter().enumerate() {
            let setup = WorkerSetup {
                index: index as u16,
                shared: shared.clone(),
                update,
                first_session_id: run | (index as u64) << SESSION_ID_BITS,
            };
            workers.push(Worker::start(setup, ended.clone()).context("cannot start a worker")?);
        }
        certificates::publish(config, metrics);
        let current = Arc::new(ArcSwap::new(snapshot));
        let mut tasks = JoinSet::new();
        tasks.spawn(descriptors::watch(limiter.clone(), metrics.clone()));
        tasks.spawn(watch_logs(logs.watch()));
        Ok(Self {
            file: file.to_owned(),
            metrics: metrics.clone(),
            current,
            workers,
            limiter,
            logs,
            listeners,
            pools: starter,
            clients,
            descriptors,
            apart,
            _tasks: tasks,
        })
    }
}

/// Looks whether a log holds clients back. A task of its own, as a reload can take long.
async fn watch_logs(logs: LogWatch) {
    let mut tick = interval(LOOK_AT_LOGS);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        logs.look();
    }
}

/// The connections that the process' descriptors allow.
pub(super) fn possible(config: &Config, workers: usize, descriptors: DescriptorLimit) -> u32 {
    // Those that are discovered are not known yet; the reserve has room for a few.
    let checked = config.pools.iter().filter(|pool| pool.health.active.is_some());
    let probes = checked.map(|pool| pool.upstreams.len()).sum();
    descriptors.connections(workers, probes)
}

/// What a configuration asks for and this process' limits do not allow, a line each.
pub fn warnings(config: &Config) -> Vec<String> {
    let descriptors = DescriptorLimit::raise();
    let possible = possible(config, config.runtime.workers.count().get(), descriptors);
    descriptors.warning(possible, config.limits.max_connections).into_iter().collect()
}

/// The new configuration for each worker.
pub(super) fn worker_updates(
    snapshot: &Arc<Snapshot>,
    workers: usize,
    mut sockets: Vec<(u64, Vec<OwnedFd>)>,
    logs: &AccessLogs,
    pending: &PendingUpdate,
) -> Vec<WorkerUpdate> {
    let update = |_| WorkerUpdate {
        snapshot: snapshot.clone(),
        sockets: sockets.iter_mut().filter_map(|(id, own)| Some((*id, own.pop()?))).collect(),
        log: logs.writer(),
        pending: pending.clone(),
    };
    (0..workers).map(update).collect()
}
