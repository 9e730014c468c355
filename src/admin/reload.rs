//! `/api/v1/reload`: the configuration read again, by the control thread.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::{Duration, SystemTime},
};

use hyper::StatusCode;
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};

use super::{
    AdminState,
    answer::{Answer, Refusal, json},
    request::Query,
};
use crate::{api, observe::rfc3339};

/// Asks the control thread for a reload.
#[derive(Debug)]
pub struct ReloadRequest {
    pub reply: oneshot::Sender<ReloadOutcome>,
}

/// What came of a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReloadOutcome {
    /// The number of the configuration that is now in force, and how it differs from the last.
    Applied { generation: u64, changes: Vec<String> },
    /// Nothing has changed; a line for each fault.
    Refused { faults: Vec<String> },
    /// Nothing has changed, and nothing will: the proxy is shutting down.
    Draining,
}

/// How the last reload went, whoever asked for it.
#[derive(Clone, Debug)]
pub struct LastReload {
    pub at: SystemTime,
    /// `applied` or `refused`.
    pub outcome: &'static str,
    pub faults: Vec<String>,
}

/// The way to the control thread.
pub struct Reloads {
    requests: mpsc::Sender<ReloadRequest>,
    /// Held while one is under way.
    turn: Semaphore,
    /// Written by the control thread.
    last: Arc<Mutex<Option<LastReload>>>,
}

/// For a whole reload: certificates of thousands of files are read in less.
const PATIENCE: Duration = Duration::from_secs(30);

const UNDER_WAY: &str = "a reload is under way; ask again when it is over";
const DRAINING: &str = "draining: the proxy is shutting down, and reloads nothing any more";
const NO_ANSWER: &str =
    "the control thread has not answered; see the log for what has become of the reload";
const NOT_TAKEN: &str = "the configuration was not taken; nothing has changed";

impl Reloads {
    pub fn new(
        requests: mpsc::Sender<ReloadRequest>,
        last: Arc<Mutex<Option<LastReload>>>,
    ) -> Self {
        Self { requests, turn: Semaphore::new(1), last }
    }

    /// How the last one went; `None` before the first.
    pub(super) fn last(&self) -> Option<api::LastReload> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        last.map(|LastReload { at, outcome, faults }| api::LastReload {
            at: rfc3339(at),
            outcome: outcome.into(),
            faults,
        })
    }
}

pub(super) async fn post(state: &AdminState, query: Option<&str>) -> Result<Answer, Refusal> {
    Query::parse(query, &[])?;
    let draining = || Refusal::new(StatusCode::CONFLICT, DRAINING);
    if state.draining.load(Ordering::Relaxed) {
        return Err(draining());
    }
    let Reloads { requests, turn, .. } = &state.reloads;
    let under_way = || Refusal::new(StatusCode::CONFLICT, UNDER_WAY);
    let no_answer = || Refusal::new(StatusCode::SERVICE_UNAVAILABLE, NO_ANSWER);
    let _turn = turn.try_acquire().map_err(|_| under_way())?;
    let (reply, replied) = oneshot::channel();
    requests.try_send(ReloadRequest { reply }).map_err(|_| under_way())?;
    match timeout(PATIENCE, replied).await {
        Ok(Ok(ReloadOutcome::Applied { generation, changes })) => {
            Ok(json(&api::Applied { outcome: "applied".into(), generation, changes }))
        }
        Ok(Ok(ReloadOutcome::Refused { faults })) => {
            Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, NOT_TAKEN).with_faults(faults))
        }
        Ok(Ok(ReloadOutcome::Draining)) => Err(draining()),
        Ok(Err(_)) | Err(_) => Err(no_answer()),
    }
}
