//! The side of the new process: the I/O of [`Taker`], which decides, until it accepts.

use std::{
    env,
    future::pending,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use rustix::process::{Pid, getppid};
use tokio::time::{sleep, sleep_until};

use super::state::{Handed, TakenSockets, from_part};
use crate::{
    admin::PreviousProcess,
    metrics::Metrics,
    upgrade::{
        ENVIRONMENT, ProcessState, Receiver, Sender, Taker, TakerAction, TakerEvent, ToNew, ToOld,
        connect, from_stdin,
    },
};

/// How often, and at what interval, a process whose stream has ended is looked at, whether it has
/// ended as well: the kernel closes its files first.
const LOOKS: u32 = 50;
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// The stream to the process before the upgrade, and what to do with it.
pub(super) struct TakerLink {
    taker: Taker,
    sender: Sender<ToOld>,
    receiver: Receiver<ToNew>,
    /// The process that has started this one, if it is the one that hands over.
    parent: Option<Pid>,
}

/// A message, with its descriptors.
pub(super) type Received = (ToNew, Vec<OwnedFd>);

/// What the process before the upgrade has handed over.
pub(in crate::control) struct Takeover {
    link: TakerLink,
    pub(super) pid: u32,
    pub(super) version: String,
    handed: Handed,
}

impl TakerLink {
    /// Waits for the next message. Returns what to do, with the message if there was one. Cancel
    /// safe.
    pub(super) async fn next(&mut self) -> (Vec<TakerAction>, Option<Received>) {
        let deadline = self.taker.deadline();
        let late = async {
            match deadline {
                Some(at) => sleep_until(at.into()).await,
                None => pending().await,
            }
        };
        let received = tokio::select! {
            biased;
            received = self.receiver.next() => received,
            () = late => return (self.handle(TakerEvent::TimedOut), None),
        };
        if matches!(received, Ok(None)) {
            self.look_for_its_end().await;
        }
        match received {
            Ok(Some(received)) => (self.handle(TakerEvent::Message(&received.0)), Some(received)),
            Ok(None) => (self.handle(TakerEvent::Closed), None),
            Err(error) => (self.handle(TakerEvent::Unreadable(&error.to_string())), None),
        }
    }

    pub(super) fn handle(&mut self, event: TakerEvent<'_>) -> Vec<TakerAction> {
        self.taker.handle(event, Instant::now())
    }

    /// Whether the hand-over is over.
    pub(super) fn is_over(&self) -> bool {
        self.taker.is_over()
    }

    /// Sends a message; returns what to do if it was not written.
    pub(super) async fn send(&mut self, message: &ToOld) -> Vec<TakerAction> {
        match self.sender.send(message, &[]).await {
            Ok(()) => Vec::new(),
            Err(error) => {
                self.look_for_its_end().await;
                self.handle(TakerEvent::SendFailed(&error.to_string()))
            }
        }
    }

    /// Sends a message that decides something; returns what follows from its fate.
    pub(super) async fn commit(&mut self, message: &ToOld) -> Vec<TakerAction> {
        match self.sender.send(message, &[]).await {
            Ok(()) => self.handle(TakerEvent::Committed),
            Err(error) => {
                self.look_for_its_end().await;
                self.handle(TakerEvent::CommitFailed(&error.to_string()))
            }
        }
    }

    /// Tells if the process before has ended, where that makes a difference.
    async fn look_for_its_end(&mut self) {
        if self.parent.is_none() || !self.taker.could_serve_alone() {
            return;
        }
        for _ in 0..LOOKS {
            // A process whose parent ends gets another one.
            if getppid() != self.parent {
                self.handle(TakerEvent::OldEnded);
                return;
            }
            sleep(LOOK_INTERVAL).await;
        }
    }
}

impl Takeover {
    /// Takes over from the process before an upgrade; `None` without such a process.
    ///
    /// # Errors
    /// If what it sends cannot be used. It then carries on.
    pub(in crate::control) async fn receive() -> anyhow::Result<Option<Self>> {
        if env::var_os(ENVIRONMENT).is_none() {
            return Ok(None);
        }
        let connected = from_stdin().and_then(connect);
        let (sender, receiver) = connected.with_context(|| {
            format!("{ENVIRONMENT} is set, but standard input is not a socket of another mqtt-lb")
        })?;
        let link = TakerLink { taker: Taker::new(Instant::now()), sender, receiver, parent: None };
        let mut takeover = Self { link, pid: 0, version: String::new(), handed: Handed::default() };
        while !takeover.receive_part().await? {}
        Ok(Some(takeover))
    }

    /// Receives a message before this process gets ready; true after the last.
    async fn receive_part(&mut self) -> anyhow::Result<bool> {
        let (actions, mut received) = self.link.next().await;
        if let Some((ToNew::Hello { program, pid, .. }, _)) = &received {
            (self.pid, self.version) = (*pid, program.clone());
            self.link.parent =
                getppid().filter(|parent| parent.as_raw_nonzero().get() == pid.cast_signed());
        }
        let mut is_last = false;
        for action in actions {
            match action {
                TakerAction::Keep => {
                    if let Some((message, descriptors)) = received.take() {
                        self.keep(message, descriptors);
                    }
                }
                TakerAction::Prepare => is_last = true,
                other => self.send_or_exit(other).await?,
            }
        }
        Ok(is_last)
    }

    fn keep(&mut self, message: ToNew, descriptors: Vec<OwnedFd>) {
        let sockets = &mut self.handed.sockets;
        match message {
            ToNew::Listeners(listeners) => sockets.listeners = (listeners, descriptors),
            ToNew::InheritedSockets(inherited) => sockets.inherited = (inherited, descriptors),
            ToNew::AdminListener(admin) => sockets.admin = Some((admin, descriptors)),
            ToNew::State(state) => self.handed.state = state,
            _ => {}
        }
    }

    /// Takes the listening sockets out.
    ///
    /// # Errors
    /// If they are not listening sockets.
    pub(in crate::control) fn take_sockets(&mut self) -> anyhow::Result<TakenSockets> {
        std::mem::take(&mut self.handed.sockets).take()
    }

    pub(super) fn state(&self) -> &ProcessState {
        &self.handed.state
    }

    /// The first 16 bits of the session IDs of the processes before.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(in crate::control) fn run_ids(&self) -> anyhow::Result<Vec<u16>> {
        from_part("session IDs", &self.handed.state.session_ids)
    }

    /// The process before the upgrade, for the API.
    pub(in crate::control) fn process(&self) -> PreviousProcess {
        let Self { pid, version, .. } = self;
        PreviousProcess { pid: *pid, version: version.clone(), ..PreviousProcess::default() }
    }

    /// Tells the process before the upgrade why this one cannot take over.
    pub(in crate::control) async fn fail(&mut self, why: &str) {
        for action in self.link.handle(TakerEvent::Failed(why)) {
            let _ = self.send_or_exit(action).await;
        }
    }

    /// Tells that this process is ready, and waits until it has to accept.
    ///
    /// # Errors
    /// If the process before the upgrade has given up.
    pub(super) async fn ready(&mut self, metrics: &Metrics) -> anyhow::Result<()> {
        let mut actions = self.link.handle(TakerEvent::Prepared);
        let mut received = None;
        loop {
            for action in std::mem::take(&mut actions) {
                match (action, received.take()) {
                    (TakerAction::Keep, Some((ToNew::Totals(totals), _))) => {
                        metrics.add_totals(&from_part("totals", &totals)?);
                    }
                    (TakerAction::Send(message), _) => {
                        actions.extend(self.link.send(&message).await);
                    }
                    (TakerAction::Commit(message), _) => {
                        actions.extend(self.link.commit(&message).await);
                    }
                    (TakerAction::Close(Some(why)), _) => {
                        tracing::warn!("upgrade: {why}; its sessions have ended with it");
                    }
                    (TakerAction::Accept, _) => return Ok(()),
                    (TakerAction::Exit(why), _) => return Err(carries_on(&why)),
                    _ => {}
                }
            }
            if actions.is_empty() {
                (actions, received) = self.link.next().await;
            }
        }
    }

    /// Does what is left of the actions before this process accepts.
    async fn send_or_exit(&mut self, action: TakerAction) -> anyhow::Result<()> {
        match action {
            TakerAction::Send(message) => {
                for action in self.link.send(&message).await {
                    if let TakerAction::Exit(why) = action {
                        return Err(carries_on(&why));
                    }
                }
                Ok(())
            }
            TakerAction::Exit(why) => Err(carries_on(&why)),
            _ => Ok(()),
        }
    }

    pub(super) fn into_link(self) -> TakerLink {
        self.link
    }
}

fn carries_on(why: &str) -> anyhow::Error {
    anyhow!("{why}; this process has taken nothing over, and ends")
}
