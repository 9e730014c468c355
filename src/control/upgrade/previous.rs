//! The process before the upgrade, as the new one sees it after it has taken over.

use std::{collections::BTreeMap, future::pending};

use tokio::sync::{mpsc, oneshot};

use super::{state::from_part, taker::Takeover};
use crate::{
    metrics::Totals,
    session::MovedSession,
    upgrade::{Answer, HandedSession, Receiver, Sender, ToNew, ToOld},
    worker::Adoption,
};

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
    /// It has ended, or is about to.
    Ended,
}

/// Asks the process before the upgrade.
enum Request {
    ReopenLogs,
    Drain,
}

/// The process before the upgrade, until it ends. Default: there is none.
#[derive(Default)]
pub(in crate::control) struct Previous(Option<Channels>);

struct Channels {
    messages: mpsc::Receiver<FromPrevious>,
    requests: mpsc::Sender<Request>,
}

impl Previous {
    pub(super) fn follow(takeover: Takeover) -> Self {
        let (sender, messages) = mpsc::channel(1);
        let (requests, asked) = mpsc::channel(4);
        let Takeover { sender: to_old, receiver, .. } = takeover;
        let link = Link { to_old, messages: sender };
        tokio::spawn(link.follow(receiver, asked));
        Self(Some(Channels { messages, requests }))
    }

    pub(super) fn is_running(&self) -> bool {
        self.0.is_some()
    }

    /// Waits for a message. Cancel safe.
    pub(super) async fn next(&mut self) -> FromPrevious {
        let Some(channels) = &mut self.0 else { return pending().await };
        let message = channels.messages.recv().await.unwrap_or(FromPrevious::Ended);
        if matches!(message, FromPrevious::Ended) {
            self.0 = None;
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
        if let Some(channels) = &self.0
            && channels.requests.try_send(request).is_err()
        {
            tracing::warn!("the process before the upgrade does not read its messages");
        }
    }
}

/// The stream between the two processes.
struct Link {
    to_old: Sender<ToOld>,
    messages: mpsc::Sender<FromPrevious>,
}

impl Link {
    /// Until one of the two processes ends.
    async fn follow(
        mut self,
        mut receiver: Receiver<ToNew>,
        mut requests: mpsc::Receiver<Request>,
    ) {
        loop {
            let is_open = tokio::select! {
                request = requests.recv() => match request {
                    Some(Request::ReopenLogs) => self.send(ToOld::ReopenLogs).await,
                    Some(Request::Drain) => self.send(ToOld::Drain).await,
                    // This process is ending.
                    None => return,
                },
                received = receiver.next() => match received {
                    Ok(Some((message, descriptors))) => self.on(message, descriptors).await,
                    Ok(None) => false,
                    Err(error) => {
                        tracing::warn!("upgrade: cannot read from the process before: {error}");
                        false
                    }
                },
            };
            if !is_open {
                break;
            }
        }
        self.tell(FromPrevious::Ended).await;
    }

    /// Handles a message; false if the hand-over is over.
    async fn on(&mut self, message: ToNew, descriptors: Vec<std::os::fd::OwnedFd>) -> bool {
        match message {
            ToNew::Totals(totals) => match from_part("totals", &totals) {
                Ok(totals) => self.tell(FromPrevious::Totals(totals)).await,
                Err(error) => tracing::warn!("upgrade: {error}"),
            },
            ToNew::Remaining { count, stayed } => {
                self.tell(FromPrevious::Remaining { count, stayed }).await;
            }
            ToNew::Sessions(sessions) => return self.adopt(sessions, descriptors).await,
            ToNew::Finished => return false,
            other => {
                tracing::warn!("upgrade: unexpected message of the process before: {other:?}");
                return false;
            }
        }
        true
    }

    /// Takes sessions over: they are started once the answers are written whole, as the other
    /// process has given them up then.
    async fn adopt(
        &mut self,
        sessions: Vec<HandedSession>,
        descriptors: Vec<std::os::fd::OwnedFd>,
    ) -> bool {
        let mut descriptors = descriptors.into_iter();
        let moved = |HandedSession { id, state, .. }: HandedSession| MovedSession {
            id,
            state: state.into(),
            descriptors: descriptors.by_ref().take(HandedSession::DESCRIPTORS).collect(),
        };
        let moved: Vec<_> = sessions.into_iter().map(moved).collect();
        let mut unanswered: Vec<_> = moved.iter().map(|session| session.id).collect();
        let (reply, replied) = oneshot::channel();
        self.tell(FromPrevious::Sessions(moved, reply)).await;
        let (mut answers, mut taken) = (Vec::new(), Vec::new());
        for worker in replied.await.unwrap_or_default() {
            for (id, outcome) in worker.await.unwrap_or_default() {
                unanswered.retain(|known| *known != id);
                if let Err(why) = &outcome {
                    tracing::warn!(session = format_args!("{id:016x}"), "not taken over: {why}");
                } else {
                    taken.push(id);
                }
                let outcome = outcome.map_err(|why| why.reason().as_str().to_owned());
                answers.push(Answer { id, outcome });
            }
        }
        // Of a worker that has ended.
        let lost = |id| Answer { id, outcome: Err("refused".to_owned()) };
        answers.extend(unanswered.into_iter().map(lost));
        let is_sent = self.send(ToOld::Answers(answers)).await;
        let next = if is_sent { FromPrevious::Start(taken) } else { FromPrevious::GiveUp(taken) };
        self.tell(next).await;
        is_sent
    }

    /// False if the other process has ended.
    async fn send(&mut self, message: ToOld) -> bool {
        let sent = self.to_old.send(&message, &[]).await;
        if let Err(error) = &sent {
            tracing::warn!("upgrade: cannot write to the process before: {error}");
        }
        sent.is_ok()
    }

    async fn tell(&self, message: FromPrevious) {
        // Fails only if this process is ending.
        let _ = self.messages.send(message).await;
    }
}
