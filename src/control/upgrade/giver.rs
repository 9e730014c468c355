//! The side of the process before an upgrade: checks and starts the new process, and hands over.

use std::{
    io,
    path::{Path, PathBuf},
    process,
    time::Duration,
};

use tokio::{
    process::Child,
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};

use super::{
    binary::check_file,
    check::check,
    spawn::spawn,
    state::{ProcessState, Sockets},
    wire::{Connection, Message},
};
use crate::metrics::Totals;

/// The version of the messages.
pub(super) const PROTOCOL_VERSION: u32 = 1;

/// How long the new process may take until it is ready: to read its configuration, to open its logs
/// and to look up its brokers.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the new process may take to accept once it has been told to.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(10);

/// The most samples in a message.
const MAX_SAMPLES: usize = 1000;

/// A step of the hand-over that the control loop takes.
pub(in crate::control) enum Step {
    /// The new process waits for the sockets and the state.
    Collect(StepReply<Result<(Sockets, Box<ProcessState>), String>>),
    /// The new process is ready: stop accepting, and tell the totals.
    StopAccepting(StepReply<Totals>),
    /// The new process accepts.
    Accepted { pid: u32, version: String },
    /// The upgrade has failed; this process accepts, again if it had stopped.
    Failed(String),
    /// The new process asks to reopen the access logs.
    ReopenLogs,
    /// The new process is told to stop, and this one with it.
    Drain,
    /// The new process has ended.
    Lost,
}

/// Takes the outcome of a step.
pub(in crate::control) type StepReply<T> = oneshot::Sender<T>;

/// What the control loop tells the new process after it has taken over.
#[derive(Debug)]
enum Report {
    Progress { totals: Totals, connections: u64 },
    Finished(Totals),
}

/// A hand-over in progress. Dropping it kills a new process that does not accept yet.
pub(in crate::control) struct HandOver {
    steps: mpsc::Receiver<Step>,
    reports: mpsc::Sender<Report>,
    task: JoinHandle<()>,
}

impl Drop for HandOver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl HandOver {
    /// Starts a hand-over to `binary`, with the configuration in `file`.
    pub(in crate::control) fn start(binary: PathBuf, file: PathBuf) -> Self {
        let (sender, steps) = mpsc::channel(1);
        let (reports, to_report) = mpsc::channel(4);
        let task = tokio::spawn(async move {
            let giver = Giver { steps: sender, reports: to_report };
            giver.run(&binary, &file).await;
        });
        Self { steps, reports, task }
    }

    /// Waits for the next step. Cancel safe.
    pub(in crate::control) async fn next(&mut self) -> Step {
        self.steps.recv().await.unwrap_or(Step::Lost)
    }

    /// Tells the new process how the metrics have risen, and how many connections are left. What
    /// cannot be told now is told with the next report.
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
        let _ = timeout(Duration::from_secs(1), all).await;
    }
}

struct Giver {
    steps: mpsc::Sender<Step>,
    reports: mpsc::Receiver<Report>,
}

/// Why a hand-over has failed.
type Failure = String;

impl Giver {
    async fn run(mut self, binary: &Path, file: &Path) {
        let mut taker = match self.hand_over(binary, file).await {
            Ok(taker) => taker,
            Err(why) => return self.step(Step::Failed(why)).await,
        };
        if let Err(why) = self.follow(&mut taker).await {
            tracing::debug!("upgrade: {why}");
            self.step(Step::Lost).await;
        }
    }

    async fn step(&self, step: Step) {
        // Fails only if the proxy ends.
        let _ = self.steps.send(step).await;
    }

    /// Asks the control loop for the outcome of a step.
    async fn ask<T>(&self, step: impl FnOnce(StepReply<T>) -> Step) -> Result<T, Failure> {
        let (reply, replied) = oneshot::channel();
        self.step(step(reply)).await;
        replied.await.map_err(|_| "the proxy is ending".to_owned())
    }

    async fn hand_over(&mut self, binary: &Path, file: &Path) -> Result<Taker, Failure> {
        check_file(binary)?;
        let warnings = check(binary, file).await?;
        for warning in warnings.lines() {
            tracing::warn!("upgrade: {warning}");
        }
        let name = binary.display();
        let (child, stream) =
            spawn(binary).map_err(|error| format!("cannot start {name}: {error}"))?;
        let pid = child.id().unwrap_or_default();
        tracing::info!(pid, "upgrade: started {name}");
        let connection = Connection::new(stream).map_err(|error| error.to_string())?;
        let mut taker = Taker { child, connection, version: String::new(), accepts: false };
        match timeout(START_TIMEOUT, self.start(&mut taker)).await {
            Ok(started) => started?,
            Err(_) => {
                return Err(format!("process {pid} was not ready within {START_TIMEOUT:?}"));
            }
        }
        let totals = self.ask(Step::StopAccepting).await?;
        match timeout(ACCEPT_TIMEOUT, taker.go(totals)).await {
            Ok(accepted) => accepted?,
            Err(_) => {
                return Err(format!("process {pid} did not accept within {ACCEPT_TIMEOUT:?}"));
            }
        }
        taker.accepts = true;
        let version = taker.version.clone();
        self.step(Step::Accepted { pid, version }).await;
        Ok(taker)
    }

    /// Until the new process is ready.
    async fn start(&self, taker: &mut Taker) -> Result<(), Failure> {
        taker.hello().await?;
        let (Sockets { listening, descriptors }, state) = self.ask(Step::Collect).await??;
        taker.send(&Message::Listening(listening), &descriptors).await?;
        taker.send(&Message::State(state), &[]).await?;
        match taker.receive().await? {
            Message::Ready => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Serves the new process after it has taken over, until one of the two ends.
    async fn follow(&mut self, taker: &mut Taker) -> Result<(), Failure> {
        loop {
            tokio::select! {
                report = self.reports.recv() => match report {
                    Some(Report::Progress { totals, connections }) => {
                        taker.send_totals(totals).await?;
                        taker.send(&Message::Remaining { connections }, &[]).await?;
                    }
                    Some(Report::Finished(totals)) => {
                        taker.send_totals(totals).await?;
                        return taker.send(&Message::Finished, &[]).await;
                    }
                    None => return Ok(()),
                },
                message = taker.connection.receive() => match message {
                    Ok((Message::ReopenLogs, _)) => self.step(Step::ReopenLogs).await,
                    Ok((Message::Drain, _)) => self.step(Step::Drain).await,
                    Ok((other, _)) => return Err(unexpected(&other)),
                    Err(error) => return Err(error.to_string()),
                },
            }
        }
    }
}

/// The new process.
struct Taker {
    child: Child,
    connection: Connection,
    version: String,
    /// Until then it is killed when this is dropped.
    accepts: bool,
}

impl Drop for Taker {
    fn drop(&mut self) {
        if !self.accepts {
            // Fails only if it has ended.
            let _ = self.child.start_kill();
        }
    }
}

impl Taker {
    async fn hello(&mut self) -> Result<(), Failure> {
        let hello = Message::Hello {
            version: PROTOCOL_VERSION,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            pid: process::id(),
        };
        self.send(&hello, &[]).await?;
        match self.receive().await? {
            Message::Hello { version: PROTOCOL_VERSION, program, .. } => {
                self.version = program;
                Ok(())
            }
            Message::Hello { version, program, .. } => Err(format!(
                "version {program} speaks version {version} of the hand-over, this process version \
                 {PROTOCOL_VERSION}: restart instead"
            )),
            other => Err(unexpected(&other)),
        }
    }

    async fn go(&mut self, totals: Totals) -> Result<(), Failure> {
        self.send_totals(totals).await?;
        self.send(&Message::Go, &[]).await?;
        match self.receive().await? {
            Message::Accepting => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    async fn send_totals(&mut self, totals: Totals) -> Result<(), Failure> {
        for part in totals.parts(MAX_SAMPLES) {
            self.send(&Message::Totals(part), &[]).await?;
        }
        Ok(())
    }

    async fn send(
        &mut self,
        message: &Message,
        descriptors: &[std::os::fd::OwnedFd],
    ) -> Result<(), Failure> {
        match self.connection.send(message, descriptors).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.why(&error).await),
        }
    }

    async fn receive(&mut self) -> Result<Message, Failure> {
        match self.connection.receive().await {
            Ok((Message::Failed { why }, _)) => Err(why),
            Ok((message, _)) => Ok(message),
            Err(error) => Err(self.why(&error).await),
        }
    }

    /// Why the connection has failed: usually the process has ended.
    async fn why(&mut self, error: &io::Error) -> Failure {
        let pid = self.child.id().unwrap_or_default();
        match timeout(Duration::from_secs(1), self.child.wait()).await {
            Ok(Ok(status)) => {
                format!("the new process has ended: {status}; it may have said why above")
            }
            _ => format!("cannot talk to process {pid}: {error}"),
        }
    }
}

fn unexpected(message: &Message) -> Failure {
    let name = format!("{message:?}");
    let name = name.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    format!("the new process has sent an unexpected message: {name}")
}
