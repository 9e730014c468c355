//! The side of the process before an upgrade: checks and starts the new process, and hands over.

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};

use super::{
    binary::check_file,
    check::check,
    new_process::{Failure, NewProcess},
    sending::SessionsUnderWay,
    state::{Handed, HandedSockets},
};
use crate::{
    labels::StayReason,
    metrics::Totals,
    session::{HandOver, HandOverOutcome, ParkedSession, StayCounts},
    upgrade::{Answer, ToNew, ToOld},
    worker::Worker,
};

/// How long the new process may take until it is ready: to read its configuration, to open its logs
/// and to look up its brokers.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the new process may take to accept once it has been told to.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the last messages may take.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);

/// The most sessions that have been sent and are not answered yet.
const MAX_SESSIONS_UNDER_WAY: usize = 128;

/// The most samples in a message.
const MAX_SAMPLES: usize = 1000;

/// A step of the hand-over that the control loop takes.
pub(in crate::control) enum Step {
    /// The new process waits for the sockets and the state.
    Collect(oneshot::Sender<Result<Handed, Failure>>),
    /// The new process is ready: stop accepting, and tell the totals.
    StopAccepting(oneshot::Sender<Totals>),
    /// The new process accepts.
    Accepted { pid: u32, version: String },
    /// The upgrade has failed; this process accepts, again if it had stopped.
    Failed(Failure),
    /// The new process has answered for sessions.
    Answers(Vec<(u64, HandOverOutcome)>),
    /// Every session has moved, or stays.
    SessionsMoved,
    /// The new process asks to reopen the access logs.
    ReopenLogs,
    /// The new process is told to stop, and this one with it.
    Drain,
    /// The new process has ended.
    Lost(Failure),
}

/// What the control loop tells the new process after it has taken over.
enum Report {
    Progress { totals: Totals, connections: u64 },
    Finished(Totals),
}

/// An upgrade in progress. Dropping it kills a new process that does not accept yet.
pub(in crate::control) struct Upgrade {
    steps: mpsc::Receiver<Step>,
    reports: mpsc::Sender<Report>,
    /// Where workers send their sessions; `None` once they have been told.
    parked: Option<mpsc::Sender<ParkedSession>>,
    stays: Arc<StayCounts>,
    task: JoinHandle<()>,
}

impl Drop for Upgrade {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Upgrade {
    /// Starts an upgrade to `binary`, with the configuration in `file`.
    pub(in crate::control) fn start(binary: PathBuf, file: PathBuf) -> Self {
        let (sender, steps) = mpsc::channel(1);
        let (reports, to_report) = mpsc::channel(4);
        let (parked, sessions) = mpsc::channel(MAX_SESSIONS_UNDER_WAY);
        let stays = Arc::<StayCounts>::default();
        let giver = Giver { steps: sender, reports: to_report, sessions, stays: stays.clone() };
        let task = tokio::spawn(async move { giver.run(&binary, &file).await });
        Self { steps, reports, parked: Some(parked), stays, task }
    }

    /// Waits for the next step. Cancel safe.
    pub(in crate::control) async fn next(&mut self) -> Step {
        let ended = || Step::Lost("the hand-over has ended".to_owned());
        self.steps.recv().await.unwrap_or_else(ended)
    }

    /// Makes the workers hand their sessions over.
    pub(in crate::control) fn move_sessions(&mut self, workers: &[Worker]) {
        let Some(to) = self.parked.take() else { return };
        let at_most = (MAX_SESSIONS_UNDER_WAY / workers.len().max(1)).max(1);
        for worker in workers {
            worker.hand_over(HandOver { to: to.clone(), at_most, stays: self.stays.clone() });
        }
    }

    /// Tells the new process how the metrics have risen, and how many connections are left. Returns
    /// false if that cannot be told now.
    pub(in crate::control) fn report(&self, totals: Totals, connections: u64) -> bool {
        self.reports.try_send(Report::Progress { totals, connections }).is_ok()
    }

    /// Tells the new process that this one ends. Waits until it is written, for a short time.
    pub(in crate::control) async fn finish(mut self, totals: Totals) {
        let all = async {
            if self.reports.send(Report::Finished(totals)).await.is_ok() {
                while self.steps.recv().await.is_some() {}
            }
        };
        let _ = timeout(FINISH_TIMEOUT, all).await;
    }
}

struct Giver {
    steps: mpsc::Sender<Step>,
    reports: mpsc::Receiver<Report>,
    sessions: mpsc::Receiver<ParkedSession>,
    stays: Arc<StayCounts>,
}

impl Giver {
    async fn run(mut self, binary: &Path, file: &Path) {
        let mut process = match self.hand_over(binary, file).await {
            Ok(process) => process,
            Err(why) => return self.step(Step::Failed(why)).await,
        };
        let mut under_way = SessionsUnderWay::default();
        if let Err(why) = self.follow(&mut process, &mut under_way).await {
            // What it had answered before it ended has moved, whatever has happened since.
            process.kill().await;
            while let Ok(message) = process.receive().await {
                if let ToOld::Answers(answers) = message {
                    let _ = self.answered(&mut under_way, answers).await;
                }
            }
            self.step(Step::Lost(why)).await;
        }
    }

    async fn step(&self, step: Step) {
        // Fails only if the proxy ends.
        let _ = self.steps.send(step).await;
    }

    /// Asks the control loop for the outcome of a step.
    async fn ask<T>(&self, step: impl FnOnce(oneshot::Sender<T>) -> Step) -> Result<T, Failure> {
        let (reply, replied) = oneshot::channel();
        self.step(step(reply)).await;
        replied.await.map_err(|_| "the proxy is ending".to_owned())
    }

    /// Until the new process accepts.
    async fn hand_over(&self, binary: &Path, file: &Path) -> Result<NewProcess, Failure> {
        check_file(binary)?;
        for warning in check(binary, file).await?.lines() {
            tracing::warn!("upgrade: {warning}");
        }
        let mut process = NewProcess::start(binary)?;
        let pid = process.pid();
        tracing::info!(pid, "upgrade: started {}", binary.display());
        let late = |_| format!("process {pid} was not ready within {START_TIMEOUT:?}");
        timeout(START_TIMEOUT, self.until_ready(&mut process)).await.map_err(late)??;
        let totals = self.ask(Step::StopAccepting).await?;
        let late = |_| format!("process {pid} did not accept within {ACCEPT_TIMEOUT:?}");
        timeout(ACCEPT_TIMEOUT, go(&mut process, totals)).await.map_err(late)??;
        process.set_accepting();
        let version = process.version.clone();
        self.step(Step::Accepted { pid, version }).await;
        Ok(process)
    }

    async fn until_ready(&self, process: &mut NewProcess) -> Result<(), Failure> {
        process.hello().await?;
        let Handed { sockets, state } = self.ask(Step::Collect).await??;
        let HandedSockets { listeners, inherited, admin } = sockets;
        process.send(ToNew::Listeners(listeners.0), &listeners.1).await?;
        if let Some((admin, socket)) = admin {
            process.send(ToNew::AdminListener(admin), &socket).await?;
        }
        process.send(ToNew::InheritedSockets(inherited.0), &inherited.1).await?;
        process.send(ToNew::State(state), &[]).await?;
        match process.receive().await? {
            ToOld::Ready => Ok(()),
            other => Err(process.unexpected(&other)),
        }
    }

    /// Hands the sessions over, and serves the new process, until one of the two ends.
    async fn follow(
        &mut self,
        process: &mut NewProcess,
        under_way: &mut SessionsUnderWay,
    ) -> Result<(), Failure> {
        let (mut parked, mut is_moving) = (Vec::new(), true);
        loop {
            tokio::select! {
                biased;
                message = process.receive() => match message? {
                    ToOld::Answers(answers) => self.answered(under_way, answers).await?,
                    ToOld::ReopenLogs => self.step(Step::ReopenLogs).await,
                    ToOld::Drain => self.step(Step::Drain).await,
                    other => return Err(process.unexpected(&other)),
                },
                count = self.sessions.recv_many(&mut parked, SessionsUnderWay::MAX_IN_MESSAGE),
                    if is_moving =>
                {
                    if count == 0 {
                        is_moving = false;
                        self.step(Step::SessionsMoved).await;
                    } else {
                        let (message, descriptors) = under_way.message(parked.drain(..));
                        process.send(message, &descriptors).await?;
                    }
                }
                report = self.reports.recv() => match report {
                    Some(Report::Progress { totals, connections }) => {
                        send_totals(process, totals).await?;
                        let stayed = self.stays.list().into_iter();
                        let stayed = stayed.map(|(why, n)| (why.as_str().to_owned(), n)).collect();
                        process.send(ToNew::Remaining { count: connections, stayed }, &[]).await?;
                    }
                    Some(Report::Finished(totals)) => {
                        send_totals(process, totals).await?;
                        return process.send(ToNew::Finished, &[]).await;
                    }
                    None => return Ok(()),
                },
            }
        }
    }

    /// Passes answers on to the control loop.
    async fn answered(
        &self,
        under_way: &mut SessionsUnderWay,
        answers: Vec<Answer>,
    ) -> Result<(), Failure> {
        let mut outcomes = Vec::with_capacity(answers.len());
        for Answer { id, outcome } in answers {
            if !under_way.remove(id) {
                return Err(format!("the new process answers for session {id:016x} unasked"));
            }
            let refused = |why: String| HandOverOutcome::Refused(StayReason::from_name(&why));
            outcomes.push((id, outcome.map_or_else(refused, |()| HandOverOutcome::Taken)));
        }
        self.step(Step::Answers(outcomes)).await;
        Ok(())
    }
}

async fn go(process: &mut NewProcess, totals: Totals) -> Result<(), Failure> {
    send_totals(process, totals).await?;
    process.send(ToNew::Go, &[]).await?;
    match process.receive().await? {
        ToOld::Accepting => Ok(()),
        other => Err(process.unexpected(&other)),
    }
}

async fn send_totals(process: &mut NewProcess, totals: Totals) -> Result<(), Failure> {
    const NO_DESCRIPTORS: &[OwnedFd] = &[];
    for part in totals.parts(MAX_SAMPLES) {
        let part = super::state::part(&part)?;
        process.send(ToNew::Totals(part), NO_DESCRIPTORS).await?;
    }
    Ok(())
}
