//! The process before the upgrade, as the new one sees it after it has taken over.

use std::{
    collections::{BTreeMap, HashSet},
    future::pending,
    os::fd::OwnedFd,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::sleep,
};

use super::{
    state::from_part,
    taker::{Received, Takeover, TakerLink},
};
use crate::{
    labels::StayReason,
    metrics::Totals,
    session::MovedSession,
    upgrade::{HandedSession, TakerAction, TakerEvent, ToNew},
    worker::Adoption,
};

/// How often is looked whether a process that no longer tells anything has ended.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// A message of the process before the upgrade.
pub(in crate::control) enum FromPrevious {
    /// How its counters have risen.
    Totals(Totals),
    /// How many connections it still has, and how many sessions cannot move, by reason.
    Remaining { count: u64, stayed: BTreeMap<String, u64> },
    /// Sessions to take over. The reply has the answers of the workers.
    Sessions(Vec<MovedSession>, oneshot::Sender<Vec<oneshot::Receiver<Vec<Adoption>>>>),
    /// It knows that these sessions are here: they have to be started.
    Start(Vec<u64>),
    /// It does not know that these sessions are here, and keeps them.
    GiveUp(Vec<u64>),
    /// The hand-over has broken off, and it runs on.
    Detached,
    /// It has ended, or is about to.
    Ended,
}

/// Asks the process before the upgrade.
enum Request {
    ReopenLogs,
    Drain,
}

/// The process before the upgrade, until it ends. Default: no process.
#[derive(Default)]
pub(in crate::control) struct Previous(Option<Channels>);

struct Channels {
    messages: mpsc::Receiver<FromPrevious>,
    /// `None` once it is detached.
    requests: Option<mpsc::Sender<Request>>,
}

impl Previous {
    pub(in crate::control) fn follow(takeover: Takeover) -> Self {
        let (sender, messages) = mpsc::channel(1);
        let (requests, asked) = mpsc::channel(4);
        // Now: when the hand-over breaks off, no descriptor may be left.
        let (process, link) = (descriptor_of(takeover.pid), takeover.into_link());
        let driver = TakerDriver { process, link, messages: sender, has_broken_off: false };
        tokio::spawn(driver.follow(asked));
        Self(Some(Channels { messages, requests: Some(requests) }))
    }

    /// Whether it runs and can be asked.
    pub(super) fn is_running(&self) -> bool {
        self.0.as_ref().is_some_and(|channels| channels.requests.is_some())
    }

    /// Waits for a message. Cancel safe.
    pub(super) async fn next(&mut self) -> FromPrevious {
        let Some(channels) = &mut self.0 else { return pending().await };
        let message = channels.messages.recv().await.unwrap_or(FromPrevious::Ended);
        match message {
            FromPrevious::Detached => channels.requests = None,
            FromPrevious::Ended => self.0 = None,
            _ => {}
        }
        message
    }

    /// Makes it reopen its access logs.
    pub(super) fn reopen_logs(&self) {
        self.ask(Request::ReopenLogs);
    }

    /// Makes it end its sessions, as this process ends its own.
    pub(super) fn drain(&self) {
        self.ask(Request::Drain);
    }

    fn ask(&self, request: Request) {
        if let Some(Channels { requests: Some(requests), .. }) = &self.0
            && requests.try_send(request).is_err()
        {
            tracing::warn!("the process before the upgrade does not read its messages");
        }
    }
}

/// The I/O of [`Taker`](crate::upgrade::Taker) after this process accepts.
struct TakerDriver {
    /// `None` if it ended at once.
    process: Option<OwnedFd>,
    link: TakerLink,
    messages: mpsc::Sender<FromPrevious>,
    has_broken_off: bool,
}

impl TakerDriver {
    /// Until one of the two processes ends.
    async fn follow(mut self, mut requests: mpsc::Receiver<Request>) {
        let (mut actions, mut received) = (Vec::new(), None);
        while !self.link.is_over() {
            for action in std::mem::take(&mut actions) {
                actions.extend(self.act(action, &mut received).await);
            }
            if !actions.is_empty() || self.link.is_over() {
                continue;
            }
            tokio::select! {
                request = requests.recv() => {
                    let event = match request {
                        Some(Request::ReopenLogs) => TakerEvent::ReopenLogs,
                        Some(Request::Drain) => TakerEvent::Stop,
                        // This process is ending.
                        None => return,
                    };
                    actions = self.link.handle(event);
                }
                next = self.link.next() => (actions, received) = next,
            }
        }
        // The last actions, such as to forget sessions without an answer.
        for action in actions {
            self.act(action, &mut received).await;
        }
        if self.has_broken_off
            && let Some(process) = self.process.take()
        {
            self.tell(FromPrevious::Detached).await;
            drop((self.link, requests));
            ended(process).await;
        }
        let _ = self.messages.send(FromPrevious::Ended).await;
    }

    /// Does what [`Taker`](crate::upgrade::Taker) says; returns what follows.
    async fn act(
        &mut self,
        action: TakerAction,
        received: &mut Option<Received>,
    ) -> Vec<TakerAction> {
        match action {
            TakerAction::Send(message) => return self.link.send(&message).await,
            TakerAction::Commit(message) => return self.link.commit(&message).await,
            TakerAction::Adopt => {
                if let Some((ToNew::Sessions(sessions), descriptors)) = received.take() {
                    return self.adopt(sessions, descriptors).await;
                }
            }
            TakerAction::Keep => match received.take() {
                Some((ToNew::Totals(totals), _)) => match from_part("totals", &totals) {
                    Ok(totals) => self.tell(FromPrevious::Totals(totals)).await,
                    Err(error) => tracing::warn!("upgrade: {error}"),
                },
                Some((ToNew::Remaining { count, stayed }, _)) => {
                    self.tell(FromPrevious::Remaining { count, stayed }).await;
                }
                _ => {}
            },
            TakerAction::Start(ids) => self.tell(FromPrevious::Start(ids)).await,
            TakerAction::Discard(ids) => self.tell(FromPrevious::GiveUp(ids)).await,
            TakerAction::Close(Some(why)) => {
                self.has_broken_off = true;
                tracing::warn!("upgrade: {why}; sessions that have not moved stay in that process");
            }
            TakerAction::Close(None)
            | TakerAction::Finished
            | TakerAction::Prepare
            | TakerAction::Accept
            | TakerAction::Exit(_) => {}
        }
        Vec::new()
    }

    /// Takes sessions over: they are started once the answers are written whole, as the other
    /// process has given them up then.
    async fn adopt(
        &mut self,
        sessions: Vec<HandedSession>,
        descriptors: Vec<OwnedFd>,
    ) -> Vec<TakerAction> {
        let mut descriptors = descriptors.into_iter();
        let moved = |HandedSession { id, state }: HandedSession| MovedSession {
            id,
            state: state.0,
            descriptors: descriptors.by_ref().take(HandedSession::DESCRIPTORS).collect(),
        };
        let moved: Vec<_> = sessions.into_iter().map(moved).collect();
        let mut unanswered: HashSet<_> = moved.iter().map(|session| session.id).collect();
        let (reply, replied) = oneshot::channel();
        self.tell(FromPrevious::Sessions(moved, reply)).await;
        let mut actions = Vec::new();
        for worker in replied.await.unwrap_or_default() {
            for (id, outcome) in worker.await.unwrap_or_default() {
                unanswered.remove(&id);
                if let Err(why) = &outcome {
                    // By the thousand if a pool is gone; the status counts them by reason.
                    tracing::debug!(session = format_args!("{id:016x}"), "not taken over: {why}");
                }
                let outcome = outcome.map_err(|why| why.reason().as_str());
                actions.extend(self.link.handle(TakerEvent::Adopted(id, outcome)));
            }
        }
        for id in unanswered {
            // Its worker has ended.
            let refused = Err(StayReason::Refused.as_str());
            actions.extend(self.link.handle(TakerEvent::Adopted(id, refused)));
        }
        actions
    }

    async fn tell(&self, message: FromPrevious) {
        // Fails only if this process is ending.
        let _ = self.messages.send(message).await;
    }
}

/// A descriptor of the process (pidfd_open(2)); `None` if it has been waited for.
fn descriptor_of(pid: u32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(pid.cast_signed())?, PidfdFlags::empty()).ok()
}

/// Waits until the process of this descriptor has ended.
async fn ended(process: OwnedFd) {
    let is_running = || {
        let mut fds = [PollFd::new(&process, PollFlags::IN)];
        // An error, such as an interruption, tells nothing.
        poll(&mut fds, Some(&Timespec::default())) != Ok(1)
    };
    while is_running() {
        sleep(LOOK_INTERVAL).await;
    }
}
