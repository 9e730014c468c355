//! The running parts of the proxy, owned by the control thread.

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
    blocking_job::BlockingJobs,
    certificates,
    descriptors::{self, DescriptorLimit},
    listeners::{BoundListeners, Listeners},
    pools::PoolStarter,
};
use crate::{
    access_log::{AccessLogs, BlockedLogs},
    config::Config,
    limits::ConnectionLimiter,
    metrics::Metrics,
    session::{ClientDirectory, ProcessContext, SESSION_ID_BITS},
    snapshot::Snapshot,
    upstream::WorkerSignal,
    worker::{PendingUpdate, Worker, WorkerSetup, WorkerUpdate},
};

/// How often the access logs are checked for whether they block clients.
const LOG_CHECK_INTERVAL: Duration = Duration::from_millis(500);

pub(super) struct Proxy {
    /// The configuration file, which a reload reads again.
    pub(super) file: PathBuf,
    pub(super) metrics: Metrics,
    pub(super) current: Arc<ArcSwap<Snapshot>>,
    pub(super) workers: Vec<Worker>,
    pub(super) limiter: Arc<ConnectionLimiter>,
    pub(super) logs: AccessLogs,
    pub(super) listeners: Listeners,
    pub(super) pools: PoolStarter,
    pub(super) clients: Arc<ClientDirectory>,
    pub(super) descriptors: DescriptorLimit,
    pub(super) jobs: BlockingJobs,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Starts the proxy; from then on clients are served. `ended` gets an item when a worker ends.
    ///
    /// # Errors
    /// A log cannot be opened, or a thread cannot be started.
    pub(super) async fn start(
        config: &Arc<Config>,
        file: &Path,
        worker_count: NonZeroUsize,
        (mut listeners, bound): (Listeners, BoundListeners),
        metrics: &Metrics,
        ended: &mpsc::UnboundedSender<()>,
    ) -> anyhow::Result<Self> {
        let descriptors = DescriptorLimit::raise();
        let signal = Arc::new(WorkerSignal::default());
        let max_sessions = descriptors.max_sessions_for(config, worker_count.get());
        descriptors.log(max_sessions, config.limits.max_connections);
        let limiter = Arc::new(ConnectionLimiter::new(&config.limits, max_sessions, metrics));
        limiter.quotas.reconfigure(&config.quotas, metrics);
        let (mut logs, mut jobs) =
            (AccessLogs::empty(metrics.access_logs()), BlockingJobs::default());
        let prepared = jobs.open_logs(&logs, &config.access_log).await;
        logs.commit(prepared.map_err(anyhow::Error::msg)?);
        let starter = PoolStarter::new(&config.dns, metrics, &signal);
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
        // Random, so that session IDs most likely differ from those of earlier runs and other
        // proxies.
        let run_id = u64::from(fastrand::u16(..)) << 48;
        let mut workers = Vec::new();
        let (pending, _) = mpsc::channel(1);
        let worker_updates =
            worker_updates(&snapshot, worker_count.get(), sockets, &logs, &pending);
        for (index, update) in worker_updates.into_iter().enumerate() {
            let setup = WorkerSetup {
                index: index as u16,
                shared: shared.clone(),
                update,
                first_session_id: run_id | (index as u64) << SESSION_ID_BITS,
            };
            workers.push(Worker::start(setup, ended.clone()).context("cannot start a worker")?);
        }
        certificates::publish(config, metrics);
        let current = Arc::new(ArcSwap::new(snapshot));
        let mut tasks = JoinSet::new();
        tasks.spawn(descriptors::watch(limiter.clone(), metrics.clone()));
        tasks.spawn(watch_logs(logs.blocked_logs()));
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
            jobs,
            _tasks: tasks,
        })
    }
}

/// Checks whether a log blocks clients. This is a separate task, because a reload can take long.
async fn watch_logs(logs: BlockedLogs) {
    let mut tick = interval(LOG_CHECK_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        logs.update();
    }
}

/// The new configuration, for each worker.
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
        log: logs.worker_logs(),
        pending: pending.clone(),
    };
    (0..workers).map(update).collect()
}
