//! Upgrades as the control loop sees them: the one in progress, and the process before the last.

use std::{future::pending, path::PathBuf, process, time::Duration};

use tokio::{
    sync::oneshot,
    time::{Interval, MissedTickBehavior, interval},
};

use super::{
    events::{AfterUpgrade, UpgradeEvent},
    handed::{Accepting, collect, set_accepting},
    in_progress::Upgrade,
    new_process::Failure,
    previous::{FromPrevious, Previous},
    process_before::ProcessBefore,
    requests::UpgradeRequests,
    steps::Step,
};
use crate::{
    admin::{AdminThread, UpgradeOutcome},
    control::proxy::Proxy,
    metrics::{Metrics, Totals},
    session::worker_of,
    worker::Worker,
};

/// How often the new process is told about the old one.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

const CONTAINER: &str = "this is process 1 of a container, which ends with it: start a new container \
                         and drain this one";
/// What this process does after an upgrade that has failed.
const AS_BEFORE: &str = "carries on as before";
const IN_PROGRESS: &str = "an upgrade is in progress";
const DRAINING: &str = "the proxy is shutting down; upgrades are no longer possible";
const HANDED_OVER: &str = "another process has taken over already";

/// The upgrade in progress, and the process before the last one.
pub(in crate::control) struct Upgrades {
    requests: UpgradeRequests,
    current: Option<Current>,
    before: ProcessBefore,
    report: Interval,
}

struct Current {
    upgrade: Upgrade,
    /// Answers a request by the API.
    reply: Option<oneshot::Sender<UpgradeOutcome>>,
    stage: Stage,
    /// What the new process knows.
    told: Totals,
}

/// How far an upgrade has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The new process is checked and started; this one accepts.
    Starting,
    /// Neither accepts.
    Stopped,
    /// The new process accepts. If it ends, this one accepts again.
    Accepted,
    /// All sessions that can move have moved, and this process has closed its listening sockets.
    Moved,
}

impl Upgrades {
    pub(in crate::control) fn new(requests: UpgradeRequests, previous: Previous) -> Self {
        let mut report = interval(REPORT_INTERVAL);
        report.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let before = ProcessBefore::new(previous, requests.status.clone());
        Self { requests, current: None, before, report }
    }

    /// Waits for the next event. Cancel safe.
    pub(in crate::control) async fn next(&mut self) -> UpgradeEvent {
        let is_done = self.has_handed_over();
        let step = async {
            match &mut self.current {
                Some(current) => current.upgrade.next().await,
                None => pending().await,
            }
        };
        tokio::select! {
            Some(request) = self.requests.recv() => UpgradeEvent::Request(request),
            step = step => UpgradeEvent::Step(step),
            message = self.before.next() => UpgradeEvent::Previous(message),
            _ = self.report.tick(), if is_done => UpgradeEvent::Report,
        }
    }

    /// Whether an upgrade is in progress, and may still fail.
    pub(in crate::control) fn is_in_progress(&self) -> bool {
        self.current.is_some() && !self.has_handed_over()
    }

    /// Whether another process accepts.
    pub(in crate::control) fn has_handed_over(&self) -> bool {
        let current = self.current.as_ref();
        current.is_some_and(|it| matches!(it.stage, Stage::Accepted | Stage::Moved))
    }

    /// Makes the process before this one reopen its access logs.
    pub(in crate::control) fn reopen_logs(&self) {
        self.before.reopen_logs();
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
            Some(_) if self.has_handed_over() => Some(HANDED_OVER),
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
                let upgrade = Upgrade::start(binary, proxy.file.clone());
                let (stage, told) = (Stage::Starting, Totals::default());
                self.current = Some(Current { upgrade, reply, stage, told });
            }
            Err(why) => self.report_failure(proxy, reply, why, AS_BEFORE),
        }
    }

    /// Ends an upgrade that may still fail, because the proxy is shutting down, and makes the process
    /// before this one end its sessions as well.
    pub(in crate::control) async fn cancel(&mut self, proxy: &Proxy, admin: Option<&AdminThread>) {
        if self.is_in_progress() {
            self.fail(proxy, admin, "the proxy is shutting down".to_owned(), "ends").await;
        }
        self.stop_previous();
    }

    /// Makes the process before this one end its sessions, evenly the first time and at once the
    /// second time.
    pub(in crate::control) fn stop_previous(&self) {
        self.before.drain();
    }

    pub(in crate::control) async fn on_step(
        &mut self,
        step: Step,
        proxy: &Proxy,
        admin: Option<&AdminThread>,
        is_ending: bool,
    ) -> AfterUpgrade {
        match step {
            Step::Collect(reply) => {
                // Fails if the upgrade has failed meanwhile; so below.
                let _ = reply.send(collect(proxy, admin).await);
            }
            Step::StopAccepting(reply) => {
                set_accepting(proxy, admin, Accepting::Neither).await;
                let totals = proxy.metrics.totals();
                if let Some(current) = &mut self.current {
                    current.stage = Stage::Stopped;
                    current.told = totals.clone();
                }
                let _ = reply.send(totals);
            }
            Step::Accepted { pid, version } => return self.accepted(proxy, pid, version),
            Step::Failed(why) => self.fail(proxy, admin, why, AS_BEFORE).await,
            Step::Answers(answers) => {
                for (id, outcome) in answers {
                    if let Some(worker) = proxy.workers.get(worker_of(id, proxy.workers.len())) {
                        worker.answer_hand_over(id, outcome);
                    }
                }
            }
            Step::SessionsMoved { moved } => return self.moved(proxy, moved),
            Step::ReopenLogs => {
                tracing::info!("SIGUSR1 at the new process: reopening the access logs");
                proxy.logs.reopen();
                self.before.reopen_logs();
            }
            Step::Drain => {
                tracing::info!("the new process is stopping");
                return AfterUpgrade::Stop;
            }
            Step::Lost(why) => return self.lost(proxy, admin, &why, is_ending).await,
        }
        AfterUpgrade::Nothing
    }

    fn accepted(&mut self, proxy: &Proxy, pid: u32, version: String) -> AfterUpgrade {
        proxy.metrics.count_upgrade(true);
        let connections = proxy.limiter.open();
        tracing::info!(pid, version, connections, "upgraded: the new process accepts");
        if let Some(current) = &mut self.current {
            current.stage = Stage::Accepted;
            current.upgrade.move_sessions(&proxy.workers);
            answer(current.reply.take(), UpgradeOutcome::Accepting { pid, version });
        }
        AfterUpgrade::HandedOver { pid }
    }

    fn moved(&mut self, proxy: &Proxy, moved: u64) -> AfterUpgrade {
        if let Some(current) = &mut self.current {
            current.stage = Stage::Moved;
        }
        let connections = proxy.limiter.open();
        tracing::info!(moved, connections, "upgraded: all sessions that can move have moved");
        AfterUpgrade::SessionsMoved
    }

    /// The new process has ended after it had accepted.
    async fn lost(
        &mut self,
        proxy: &Proxy,
        admin: Option<&AdminThread>,
        why: &str,
        is_ending: bool,
    ) -> AfterUpgrade {
        let Some(Current { stage, .. }) = self.current.take() else { return AfterUpgrade::Nothing };
        proxy.workers.iter().for_each(Worker::end_hand_over);
        if is_ending {
            // As expected, if the new process was told to stop.
            tracing::info!("{why}; this process is ending its sessions");
            return AfterUpgrade::Nothing;
        }
        if stage != Stage::Accepted {
            tracing::error!("{why}; this process no longer accepts");
            return AfterUpgrade::Orphaned;
        }
        tracing::error!("{why}; this process accepts again");
        self.requests.status.set(Err(why.to_owned()));
        proxy.metrics.count_upgrade(false);
        set_accepting(proxy, admin, Accepting::This).await;
        AfterUpgrade::TakenBack
    }

    /// `this_process`: what it does from now on.
    async fn fail(
        &mut self,
        proxy: &Proxy,
        admin: Option<&AdminThread>,
        why: Failure,
        this_process: &str,
    ) {
        let Some(Current { upgrade, reply, stage, .. }) = self.current.take() else { return };
        // Kills the new process.
        drop(upgrade);
        if stage == Stage::Stopped {
            set_accepting(proxy, admin, Accepting::This).await;
        }
        self.report_failure(proxy, reply, why, this_process);
    }

    fn report_failure(
        &self,
        proxy: &Proxy,
        reply: Option<oneshot::Sender<UpgradeOutcome>>,
        why: String,
        this_process: &str,
    ) {
        for line in why.lines() {
            tracing::error!("upgrade: {line}");
        }
        tracing::error!("not upgraded: this process {this_process}");
        proxy.metrics.count_upgrade(false);
        let faults = why.lines().map(str::to_owned).collect();
        self.requests.status.set(Err(why));
        answer(reply, UpgradeOutcome::Failed { faults });
    }

    /// Tells the new process how the counters have risen, and how many connections are left, with
    /// those of the process before this one.
    pub(in crate::control) fn report(&mut self, proxy: &Proxy) {
        let connections = self.connections(proxy);
        let Some(current) = &mut self.current else { return };
        let totals = proxy.metrics.totals();
        if current.upgrade.report(totals.since(&current.told), connections) {
            current.told = totals;
        }
    }

    /// The connections of this process and of the one before.
    pub(in crate::control) fn connections(&self, proxy: &Proxy) -> u64 {
        u64::from(proxy.limiter.open()) + self.before.connections()
    }

    /// Tells the new process the last counts.
    pub(in crate::control) async fn finish(&mut self, metrics: &Metrics) {
        if self.has_handed_over()
            && let Some(Current { upgrade, told, .. }) = self.current.take()
        {
            upgrade.finish(metrics.totals().since(&told)).await;
        }
    }

    /// Handles a message of the process before this one. Returns the number of its connections if
    /// that has changed.
    pub(in crate::control) fn on_previous(
        &mut self,
        message: FromPrevious,
        proxy: &Proxy,
    ) -> Option<u64> {
        self.before.on_message(message, proxy)
    }

    /// Whether the process before this one still runs.
    pub(in crate::control) fn has_previous(&self) -> bool {
        self.before.is_running()
    }
}

fn answer(reply: Option<oneshot::Sender<UpgradeOutcome>>, outcome: UpgradeOutcome) {
    if let Some(reply) = reply {
        // Fails if the API's client has disconnected.
        let _ = reply.send(outcome);
    }
}
