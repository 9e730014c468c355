//! The side of the process before an upgrade: the I/O of [`Giver`], which decides.

use std::{collections::VecDeque, path::Path, time::Instant};

use tokio::{
    sync::{mpsc, oneshot},
    time::sleep_until,
};

use super::{
    binary::check_file,
    check::check,
    new_process::{Failure, NewProcess},
    sending::ParkedSessions,
    state::{Handed, HandedSockets, part},
    steps::{Report, Reports, Step},
};
use crate::{
    labels::StayReason,
    metrics::Totals,
    session::{HandOverOutcome, ParkedSession},
    upgrade::{Giver, GiverAction, GiverEvent, ToNew},
};

/// The most samples in a message.
const MAX_SAMPLES: usize = 1000;

/// The I/O of a hand-over.
pub(super) struct GiverDriver {
    pub(super) steps: mpsc::Sender<Step>,
    pub(super) reports: Reports,
    pub(super) sessions: mpsc::Receiver<ParkedSession>,
}

/// A hand-over whose new process has been started.
struct Running {
    process: NewProcess,
    /// Events that follow from actions.
    events: VecDeque<GiverEvent>,
    /// Sessions that are not sent yet.
    parked: ParkedSessions,
    /// Answers to pass on to the workers.
    outcomes: Vec<(u64, HandOverOutcome)>,
    is_parking: bool,
}

impl GiverDriver {
    /// Upgrades to `binary`, with the configuration in `file`, until one of the two processes ends.
    pub(super) async fn run(mut self, binary: &Path, file: &Path) {
        let process = match checked_and_started(binary, file).await {
            Ok(process) => process,
            Err(why) => return self.step(Step::Failed(why)).await,
        };
        let (mut giver, hello) = NewProcess::giver();
        let mut running = Running {
            process,
            events: VecDeque::new(),
            parked: ParkedSessions::default(),
            outcomes: Vec::new(),
            is_parking: false,
        };
        self.act(&mut running, vec![hello]).await;
        while !giver.is_over() {
            let event = match running.events.pop_front() {
                Some(event) => event,
                None => match self.next(&giver, &mut running).await {
                    Some(event) => event,
                    None => continue,
                },
            };
            let mut actions = giver.handle(event, Instant::now());
            for id in running.parked.new_ids() {
                actions.extend(giver.handle(GiverEvent::Parked(id), Instant::now()));
            }
            self.act(&mut running, actions).await;
        }
    }

    /// Waits for the next event; `None` if nothing has to be handled.
    async fn next(&mut self, giver: &Giver, running: &mut Running) -> Option<GiverEvent> {
        let deadline = giver.deadline();
        let late = async {
            match deadline {
                Some(at) => sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        // Sessions that park after the hand-over has failed are resumed.
        let room = if giver.is_moving() { giver.room() } else { ParkedSessions::MAX_IN_MESSAGE };
        let room = room.min(ParkedSessions::MAX_IN_MESSAGE);
        let is_parking = running.is_parking && room > 0;
        let Running { process, parked, .. } = running;
        tokio::select! {
            biased;
            event = process.next() => Some(event),
            () = late => Some(GiverEvent::TimedOut),
            count = parked.receive(&mut self.sessions, room), if is_parking => {
                if count == 0 {
                    running.is_parking = false;
                    self.step(Step::SessionsMoved { moved: giver.moved() }).await;
                    return None;
                }
                running.parked.new_ids().next().map(GiverEvent::Parked)
            }
            report = self.reports.next() => match report {
                Some(Report::Progress { totals, connections }) => {
                    if giver.is_moving() {
                        let stayed = self.reports.stayed();
                        self.send_totals(running, totals).await;
                        let remaining = ToNew::Remaining { count: connections, stayed };
                        running.send(remaining).await;
                    }
                    None
                }
                Some(Report::Finished(totals)) => {
                    if giver.is_moving() {
                        self.send_totals(running, totals).await;
                    }
                    Some(GiverEvent::Empty)
                }
                // The proxy ends.
                None => Some(GiverEvent::Empty),
            },
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

    /// Does what [`Giver`] says, in this order.
    async fn act(&mut self, running: &mut Running, actions: Vec<GiverAction>) {
        for action in actions {
            match action {
                GiverAction::Send(message) => running.send(message).await,
                GiverAction::SendState => self.send_state(running).await,
                GiverAction::StopAccepting => match self.ask(Step::StopAccepting).await {
                    Ok(totals) => {
                        self.send_totals(running, totals).await;
                        running.events.push_back(GiverEvent::StoppedAccepting);
                    }
                    Err(why) => running.events.push_back(GiverEvent::Failed(why)),
                },
                GiverAction::TakenOver => {
                    running.process.set_accepting();
                    running.is_parking = true;
                    let (pid, version) = (running.process.pid(), running.process.version.clone());
                    self.step(Step::Accepted { pid, version }).await;
                }
                GiverAction::Interrupted(why) => {
                    tracing::warn!("upgrade: {why}; sessions that have not moved stay here");
                }
                GiverAction::SendSession(id) => running.parked.mark(id),
                GiverAction::Release(id) => running.outcomes.push((id, HandOverOutcome::Taken)),
                GiverAction::Resume { id, why } => {
                    running.parked.forget(id);
                    let reason = StayReason::from_name(&why);
                    running.outcomes.push((id, HandOverOutcome::Refused(reason)));
                }
                GiverAction::ReopenLogs => self.step(Step::ReopenLogs).await,
                GiverAction::Drain => self.step(Step::Drain).await,
                GiverAction::CloseSender => running.process.close_sender(),
                GiverAction::Kill => running.process.kill(),
                GiverAction::Failed(why) => self.step(Step::Failed(why)).await,
                GiverAction::Reclaimed(why) => self.step(Step::Lost(why)).await,
                // The control loop does it with the step that follows, or has asked for it.
                GiverAction::ResumeAccepting | GiverAction::Exit => {}
            }
        }
        let (messages, too_large) = running.parked.messages();
        for (message, descriptors) in messages {
            running.send_with(message, &descriptors).await;
        }
        for id in too_large {
            let why = StayReason::Size.as_str().to_owned();
            running.events.push_back(GiverEvent::NotSent { id, why });
        }
        let outcomes = std::mem::take(&mut running.outcomes);
        if !outcomes.is_empty() {
            self.step(Step::Answers(outcomes)).await;
        }
    }

    async fn send_state(&mut self, running: &mut Running) {
        let Handed { sockets, state } = match self.ask(Step::Collect).await {
            Ok(Ok(handed)) => handed,
            Ok(Err(why)) | Err(why) => return running.events.push_back(GiverEvent::Failed(why)),
        };
        let HandedSockets { listeners, inherited, admin } = sockets;
        running.send_with(ToNew::Listeners(listeners.0), &listeners.1).await;
        if let Some((admin, socket)) = admin {
            running.send_with(ToNew::AdminListener(admin), &socket).await;
        }
        running.send_with(ToNew::InheritedSockets(inherited.0), &inherited.1).await;
        running.send(ToNew::State(state)).await;
        running.events.push_back(GiverEvent::StateSent);
    }

    async fn send_totals(&self, running: &mut Running, totals: Totals) {
        for totals in totals.parts(MAX_SAMPLES) {
            match part(&totals) {
                Ok(totals) => running.send(ToNew::Totals(totals)).await,
                Err(why) => running.events.push_back(GiverEvent::Failed(why)),
            }
        }
    }
}

impl Running {
    async fn send(&mut self, message: ToNew) {
        self.send_with(message, &[]).await;
    }

    async fn send_with(&mut self, message: ToNew, descriptors: &[std::os::fd::OwnedFd]) {
        if let Err(why) = self.process.send(&message, descriptors).await {
            self.events.push_back(GiverEvent::SendFailed(why));
        }
    }
}

/// Checks the file and the configuration, and starts the new process.
async fn checked_and_started(binary: &Path, file: &Path) -> Result<NewProcess, Failure> {
    check_file(binary)?;
    for warning in check(binary, file).await?.lines() {
        tracing::warn!("upgrade: {warning}");
    }
    let process = NewProcess::start(binary)?;
    tracing::info!(pid = process.pid(), "upgrade: started {}", binary.display());
    Ok(process)
}
