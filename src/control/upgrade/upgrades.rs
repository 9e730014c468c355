//! Upgrades as the control loop sees them: the one in progress, and the process before the last.

use std::{
    future::pending,
    os::fd::OwnedFd,
    path::PathBuf,
    process,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Interval, MissedTickBehavior, interval, timeout},
};

use super::{
    giver::{HandOver, Step},
    previous::{FromPrevious, Previous},
    requests::UpgradeRequests,
    state::{ListenerSockets, Listening, ProcessState, Sockets},
    taker::Takeover,
};
use crate::{
    admin::{AdminThread, UpgradeOutcome, UpgradeRequest},
    control::proxy::Proxy,
    listener::HandedListener,
    metrics::Totals,
    worker::Worker,
};

/// How long to wait for workers that are too busy to answer at once.
const WORKER_TIMEOUT: Duration = Duration::from_secs(2);

/// How often the new process is told about the old one.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

const CONTAINER: &str = "this is process 1 of a container, which ends with it: start a new container \
                         and drain this one";
const IN_PROGRESS: &str = "an upgrade is in progress";
const DRAINING: &str = "the proxy is shutting down; upgrades are no longer possible";
const HANDED_OVER: &str = "another process has taken over already";

/// The upgrade in progress, and the process before the last one.
pub(in crate::control) struct Upgrades {
    requests: UpgradeRequests,
    current: Option<Current>,
    previous: Previous,
    report: Interval,
    /// The connections that the process before this one has told last.
    left: Option<u64>,
}

struct Current {
    hand_over: HandOver,
    /// Answers a request by the API.
    reply: Option<oneshot::Sender<UpgradeOutcome>>,
    /// Whether this process has stopped accepting.
    is_stopped: bool,
    /// Whether the new process accepts.
    is_done: bool,
    /// What the new process knows.
    told: Totals,
}

/// Something that concerns an upgrade.
pub(in crate::control) enum UpgradeEvent {
    Request(UpgradeRequest),
    Step(Step),
    Previous(FromPrevious),
    /// The new process has to be told about this one.
    Report,
}

/// What the control loop has to do after an event.
pub(in crate::control) enum AfterUpgrade {
    Nothing,
    /// The new process accepts: this one ends with its last session.
    HandedOver {
        pid: u32,
    },
    /// The new process is told to stop, and this one with it.
    Stop,
}

impl Upgrades {
    pub(in crate::control) fn new(requests: UpgradeRequests, previous: Previous) -> Self {
        let mut report = interval(REPORT_INTERVAL);
        report.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { requests, current: None, previous, report, left: None }
    }

    /// Waits for the next event. Cancel safe.
    pub(in crate::control) async fn next(&mut self) -> UpgradeEvent {
        let is_done = self.current.as_ref().is_some_and(|current| current.is_done);
        let step = async {
            match &mut self.current {
                Some(current) => current.hand_over.next().await,
                None => pending().await,
            }
        };
        tokio::select! {
            Some(request) = self.requests.recv() => UpgradeEvent::Request(request),
            step = step => UpgradeEvent::Step(step),
            message = self.previous.next() => UpgradeEvent::Previous(message),
            _ = self.report.tick(), if is_done => UpgradeEvent::Report,
        }
    }

    /// Whether an upgrade is in progress, and may still fail.
    pub(in crate::control) fn is_in_progress(&self) -> bool {
        self.current.as_ref().is_some_and(|current| !current.is_done)
    }

    /// Makes the process before this one reopen its access logs.
    pub(in crate::control) fn reopen_logs(&self) {
        self.previous.reopen_logs();
    }

    /// Begins an upgrade that a signal or the API asks for. `is_draining`: the proxy is shutting down.
    pub(in crate::control) fn begin(
        &mut self,
        proxy: &Proxy,
        asked_by: &str,
        binary: Option<PathBuf>,
        reply: Option<oneshot::Sender<UpgradeOutcome>>,
        is_draining: bool,
    ) {
        let busy = match &self.current {
            Some(current) if current.is_done => Some(HANDED_OVER),
            Some(_) => Some(IN_PROGRESS),
            None if is_draining => Some(DRAINING),
            None => None,
        };
        if let Some(why) = busy {
            tracing::warn!("{asked_by}: not upgraded: {why}");
            answer(reply, UpgradeOutcome::Busy(why));
            return;
        }
        let binary = match self.requests.binary(binary) {
            Ok(_) if process::id() == 1 => Err(CONTAINER.to_owned()),
            other => other,
        };
        match binary {
            Ok(binary) => {
                tracing::info!("{asked_by}: upgrading to {}", binary.display());
                let hand_over = HandOver::start(binary, proxy.file.clone());
                let told = Totals::default();
                let (is_stopped, is_done) = (false, false);
                self.current = Some(Current { hand_over, reply, is_stopped, is_done, told });
            }
            Err(why) => self.report_failure(proxy, reply, why),
        }
    }

    /// Ends an upgrade that may still fail, because the proxy is shutting down.
    pub(in crate::control) fn cancel(&mut self, proxy: &Proxy, admin: Option<&AdminThread>) {
        if self.is_in_progress() {
            self.fail(proxy, admin, "the proxy is shutting down".to_owned());
        }
        self.previous.drain();
    }

    pub(in crate::control) async fn on_step(
        &mut self,
        step: Step,
        proxy: &Proxy,
        admin: Option<&AdminThread>,
    ) -> AfterUpgrade {
        match step {
            Step::Collect(reply) => {
                let _ = reply.send(collect(proxy, admin).await);
            }
            Step::StopAccepting(reply) => {
                set_accepting(proxy, admin, false).await;
                let totals = proxy.metrics.totals();
                if let Some(current) = &mut self.current {
                    current.is_stopped = true;
                    current.told = totals.clone();
                }
                let _ = reply.send(totals);
            }
            Step::Accepted { pid, version } => return self.accepted(proxy, pid, version),
            Step::Failed(why) => self.fail(proxy, admin, why),
            Step::ReopenLogs => {
                tracing::info!("SIGUSR1 at the new process: reopening the access logs");
                proxy.logs.reopen();
            }
            Step::Drain => {
                tracing::info!("the new process is stopping");
                return AfterUpgrade::Stop;
            }
            Step::Lost => {
                tracing::error!("the new process has ended; this one does not accept");
                self.current = None;
            }
        }
        AfterUpgrade::Nothing
    }

    fn accepted(&mut self, proxy: &Proxy, pid: u32, version: String) -> AfterUpgrade {
        proxy.metrics.count_upgrade(true);
        let sessions = proxy.limiter.open();
        tracing::info!(pid, version, "upgraded: the new process accepts; {sessions} sessions left");
        if let Some(current) = &mut self.current {
            current.is_done = true;
            answer(current.reply.take(), UpgradeOutcome::Accepting { pid, version });
        }
        AfterUpgrade::HandedOver { pid }
    }

    fn fail(&mut self, proxy: &Proxy, admin: Option<&AdminThread>, why: String) {
        let Some(Current { hand_over, reply, is_stopped, .. }) = self.current.take() else {
            return;
        };
        // Kills the new process.
        drop(hand_over);
        if is_stopped {
            let (pending, _) = mpsc::channel(1);
            proxy.workers.iter().for_each(|worker| worker.accept(true, pending.clone()));
            if let Some(admin) = admin {
                admin.accept(true);
            }
        }
        self.report_failure(proxy, reply, why);
    }

    fn report_failure(
        &self,
        proxy: &Proxy,
        reply: Option<oneshot::Sender<UpgradeOutcome>>,
        why: String,
    ) {
        for line in why.lines() {
            tracing::error!("upgrade: {line}");
        }
        tracing::error!("not upgraded: this process carries on as before");
        proxy.metrics.count_upgrade(false);
        let faults = why.lines().map(str::to_owned).collect();
        self.requests.status.set(Err(why));
        answer(reply, UpgradeOutcome::Failed { faults });
    }

    /// Tells the new process how the counters have risen, and how many connections are left.
    pub(in crate::control) fn report(&mut self, proxy: &Proxy) {
        let Some(current) = &mut self.current else { return };
        let totals = proxy.metrics.totals();
        if current.hand_over.report(totals.since(&current.told), proxy.limiter.open().into()) {
            current.told = totals;
        }
    }

    /// Tells the new process the last counts.
    pub(in crate::control) async fn finish(&mut self, proxy_metrics: &crate::metrics::Metrics) {
        if let Some(Current { hand_over, told, is_done: true, .. }) = self.current.take() {
            hand_over.finish(proxy_metrics.totals().since(&told)).await;
        }
    }

    /// Whether the process before this one still runs.
    pub(in crate::control) fn has_previous(&self) -> bool {
        self.previous.is_running()
    }

    /// Handles a message of the process before this one. Returns the number of its connections if
    /// that has changed.
    pub(in crate::control) fn on_previous(
        &mut self,
        message: FromPrevious,
        proxy: &Proxy,
    ) -> Option<u64> {
        let status = &self.requests.status;
        match message {
            FromPrevious::Totals(totals) => {
                proxy.metrics.add_totals(&totals);
                None
            }
            FromPrevious::Remaining(connections) => {
                status.update(|previous| previous.remaining = connections);
                let before = self.left.replace(connections);
                Some(connections).filter(|_| before != Some(connections))
            }
            FromPrevious::Ended => {
                tracing::info!("upgrade: the process before has ended");
                status.update(|previous| {
                    previous.remaining = 0;
                    previous.has_ended = true;
                });
                Some(0)
            }
        }
    }
}

fn answer(reply: Option<oneshot::Sender<UpgradeOutcome>>, outcome: UpgradeOutcome) {
    if let Some(reply) = reply {
        // Fails if the API's client has disconnected.
        let _ = reply.send(outcome);
    }
}

/// Takes the state of the process before an upgrade over, and accepts once it no longer does.
///
/// # Errors
/// If that process has ended or has given up. It then carries on.
pub(in crate::control) async fn begin_serving(
    mut takeover: Takeover,
    proxy: &Proxy,
    admin: Option<&AdminThread>,
) -> anyhow::Result<Previous> {
    let now = Instant::now();
    let ProcessState { bans, pools, shares, .. } = &*takeover.state;
    proxy.limiter.rates.bans.take_over(bans, now);
    let snapshot = proxy.current.load_full();
    snapshot.pools.iter().for_each(|pool| pool.take_over(pools, now));
    snapshot.listeners.iter().for_each(|listener| listener.take_over_shares(shares));
    takeover.ready(&proxy.metrics).await?;
    proxy.listeners.own_files();
    if let Some(admin) = admin {
        admin.own_file(true);
    }
    set_accepting(proxy, admin, true).await;
    let (pid, version) = (takeover.pid, takeover.version.clone());
    takeover.accepting().await?;
    tracing::info!(pid, version, "upgraded: took over from the process before, and accepting");
    Ok(Previous::follow(takeover))
}

/// Starts or stops accepting, and waits until the workers have.
pub(super) async fn set_accepting(proxy: &Proxy, admin: Option<&AdminThread>, accept: bool) {
    let (pending, mut done) = mpsc::channel(1);
    proxy.workers.iter().for_each(|worker| worker.accept(accept, pending.clone()));
    drop(pending);
    if let Some(admin) = admin {
        admin.accept(accept);
    }
    // A worker that is late does it after its turn; both processes then accept for a moment.
    let _ = timeout(WORKER_TIMEOUT, done.recv()).await;
}

/// What the new process gets before it is ready.
async fn collect(
    proxy: &Proxy,
    admin: Option<&AdminThread>,
) -> Result<(Sockets, Box<ProcessState>), String> {
    let failed = |error: std::io::Error| format!("cannot share the listening sockets: {error}");
    let mut by_listener = shared_sockets(&proxy.workers).await?;
    let (mut listening, mut descriptors) = (Listening::default(), Vec::new());
    for listener in proxy.listeners.open() {
        let sockets = by_listener.extract_if(.., |(id, _)| *id == listener.id);
        let sockets = sockets.map(|(_, socket)| socket).collect();
        if listener.inherited().is_some() {
            continue;
        }
        let (name, bind) = (listener.settings().name.to_string(), listener.configured_bind());
        let handed =
            HandedListener::new(name.clone(), bind.to_string(), sockets).map_err(failed)?;
        listening.listeners.push(ListenerSockets {
            name,
            bind: handed.bind,
            descriptors: handed.sockets.len(),
        });
        descriptors.extend(handed.sockets);
    }
    for (name, socket) in proxy.listeners.inherited().duplicates().map_err(failed)? {
        listening.inherited.push(name);
        descriptors.push(socket);
    }
    let snapshot = proxy.current.load();
    if let (Some(admin), Some(config)) = (admin, &snapshot.config.admin)
        && let Some(socket) = admin.share_socket().map_err(failed)?
    {
        listening.admin = Some(config.bind.to_string());
        descriptors.push(socket);
    }
    let now = Instant::now();
    let state = ProcessState {
        run_ids: proxy.run_ids.clone(),
        bans: proxy.limiter.rates.bans.hand_over(now),
        pools: snapshot.pools.iter().filter_map(|pool| pool.hand_over()).collect(),
        shares: snapshot.listeners.iter().flat_map(|it| it.hand_over_shares()).collect(),
    };
    Ok((Sockets { listening, descriptors }, Box::new(state)))
}

/// Duplicates of the listening sockets, in the order of the workers.
async fn shared_sockets(workers: &[Worker]) -> Result<Vec<(u64, OwnedFd)>, String> {
    let (reply, mut replies) = mpsc::unbounded_channel();
    workers.iter().for_each(|worker| worker.share_sockets(reply.clone()));
    drop(reply);
    let mut by_worker = Vec::new();
    let all = async {
        while let Some(reply) = replies.recv().await {
            by_worker.push(reply);
        }
    };
    let late = |_| "a worker did not share its listening sockets in time".to_owned();
    timeout(WORKER_TIMEOUT, all).await.map_err(late)?;
    if by_worker.len() != workers.len() {
        return Err("a worker has ended".to_owned());
    }
    by_worker.sort_unstable_by_key(|(index, _)| *index);
    let mut sockets = Vec::new();
    for (_, shared) in by_worker {
        sockets
            .extend(shared.map_err(|error| format!("cannot share a listening socket: {error}"))?);
    }
    Ok(sockets)
}
