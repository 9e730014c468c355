//! The running parts of the proxy, owned by the control thread.

use std::{
    iter,
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

/// The position of the run ID in a session ID, above the worker's index and the session's number.
const RUN_ID_SHIFT: u32 = 48;

/// The most processes before upgrades whose session IDs are not used again.
const MAX_RUN_IDS: usize = 10_000;

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
    /// The first 16 bits of the session IDs of this process, after those of the processes before
    /// upgrades, whose sessions may have moved here.
    pub(super) run_ids: Vec<u16>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Starts the proxy; from then on clients are served, unless there is a process before an
    /// upgrade: `previous_runs` are its [`Self::run_ids`]. `ended` gets an item when a worker ends.
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
        previous_runs: Option<Vec<u16>>,
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
        let accepts = previous_runs.is_none();
        let run_ids = with_new_run_id(previous_runs.unwrap_or_default());
        let run_id = run_ids.last().map_or(0, |id| u64::from(*id) << RUN_ID_SHIFT);
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
                accepts,
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
            run_ids,
            _tasks: tasks,
        })
    }
}

/// Adds a run ID: random, so that session IDs most likely differ from those of earlier runs and
/// other proxies, and never from those of the processes before upgrades.
fn with_new_run_id(mut run_ids: Vec<u16>) -> Vec<u16> {
    // Sessions of processes before that are most likely gone.
    let surplus = run_ids.len().saturating_sub(MAX_RUN_IDS);
    run_ids.drain(..surplus);
    let new = iter::repeat_with(|| fastrand::u16(..)).find(|id| !run_ids.contains(id));
    run_ids.extend(new);
    run_ids
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
    let update = |index| WorkerUpdate {
        snapshot: snapshot.clone(),
        // A process before an upgrade may have had more workers, whose sockets are spread.
        sockets: sockets
            .iter_mut()
            .flat_map(|(id, left)| {
                let share = left.len().div_ceil(workers - index);
                let own = left.split_off(left.len() - share);
                own.into_iter().map(|socket| (*id, socket))
            })
            .collect(),
        log: logs.worker_logs(),
        pending: pending.clone(),
    };
    (0..workers).map(update).collect()
}
