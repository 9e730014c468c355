//! The process before the upgrade, as the new one sees it after it has taken over.

use std::future::pending;

use tokio::sync::mpsc;

use super::{
    taker::Takeover,
    wire::{Connection, Message},
};
use crate::metrics::Totals;

/// A message of the process before the upgrade.
pub(in crate::control) enum FromPrevious {
    /// How its counters have risen.
    Totals(Totals),
    /// How many connections it still has.
    Remaining(u64),
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
    pub(in crate::control) fn follow(takeover: Takeover) -> Self {
        let (sender, messages) = mpsc::channel(1);
        let (requests, asked) = mpsc::channel(4);
        tokio::spawn(follow(takeover.into_connection(), sender, asked));
        Self(Some(Channels { messages, requests }))
    }

    pub(in crate::control) fn is_running(&self) -> bool {
        self.0.is_some()
    }

    /// Waits for a message. Cancel safe.
    pub(in crate::control) async fn next(&mut self) -> FromPrevious {
        let Some(channels) = &mut self.0 else { return pending().await };
        let message = channels.messages.recv().await.unwrap_or(FromPrevious::Ended);
        if matches!(message, FromPrevious::Ended) {
            self.0 = None;
        }
        message
    }

    /// Makes it reopen its access logs.
    pub(in crate::control) fn reopen_logs(&self) {
        self.ask(Request::ReopenLogs);
    }

    /// Makes it end its sessions, as this process ends its own.
    pub(in crate::control) fn drain(&self) {
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

async fn follow(
    mut connection: Connection,
    messages: mpsc::Sender<FromPrevious>,
    mut requests: mpsc::Receiver<Request>,
) {
    loop {
        let message = tokio::select! {
            request = requests.recv() => {
                let message = match request {
                    Some(Request::ReopenLogs) => Message::ReopenLogs,
                    Some(Request::Drain) => Message::Drain,
                    // This process is ending.
                    None => return,
                };
                if connection.send(&message, &[]).await.is_err() {
                    break;
                }
                continue;
            }
            received = connection.receive() => match received {
                Ok((Message::Totals(totals), _)) => FromPrevious::Totals(totals),
                Ok((Message::Remaining { connections }, _)) => FromPrevious::Remaining(connections),
                Ok((Message::Finished, _)) | Err(_) => break,
                Ok((other, _)) => {
                    tracing::warn!("unexpected message of the process before the upgrade: {other:?}");
                    break;
                }
            },
        };
        // Fails only if this process is ending.
        if messages.send(message).await.is_err() {
            return;
        }
    }
    let _ = messages.send(FromPrevious::Ended).await;
}
