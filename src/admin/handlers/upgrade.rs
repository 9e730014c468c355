//! `POST /api/v1/upgrade`: the control thread starts another process, which takes over.

use std::{path::PathBuf, sync::atomic::Ordering};

use hyper::StatusCode;

use crate::{
    admin::{
        request::Query,
        response::{ErrorResponse, HttpResponse, json},
        state::AdminState,
        upgrade_channel::{LastUpgrade, PreviousProcess, UpgradeError, UpgradeOutcome},
    },
    api,
    timestamp::rfc3339,
};

const IN_PROGRESS: &str = "another upgrade is in progress; try again when it has ended";
const DRAINING: &str = "the proxy is shutting down; upgrades are no longer possible";
const NO_ANSWER: &str = "the control thread did not answer; the log says how the upgrade ended";
const FAILED: &str = "the upgrade failed; this process carries on as before";

pub(in crate::admin) async fn post(
    state: &AdminState,
    query: Option<&str>,
) -> Result<HttpResponse, ErrorResponse> {
    let query = Query::parse(query, &["binary"])?;
    let binary = query.text("binary").map(PathBuf::from);
    let conflict = |why| ErrorResponse::new(StatusCode::CONFLICT, why);
    if state.draining.load(Ordering::Relaxed) {
        return Err(conflict(DRAINING));
    }
    match state.upgrades.upgrade(binary).await {
        Ok(UpgradeOutcome::Accepting { pid, version }) => {
            Ok(json(&api::Upgraded { outcome: "done".into(), pid, version }))
        }
        Ok(UpgradeOutcome::Failed { faults }) => {
            let failed = ErrorResponse::new(StatusCode::UNPROCESSABLE_ENTITY, FAILED);
            Err(failed.with_faults(faults))
        }
        Ok(UpgradeOutcome::Busy(why)) => Err(conflict(why)),
        Err(UpgradeError::Busy) => Err(conflict(IN_PROGRESS)),
        Err(UpgradeError::NoAnswer) => {
            Err(ErrorResponse::new(StatusCode::SERVICE_UNAVAILABLE, NO_ANSWER))
        }
    }
}

/// The last upgrade, for the status.
pub(super) fn last_upgrade(last: LastUpgrade) -> api::LastUpgrade {
    let at = rfc3339(last.at);
    match last.result {
        Ok(previous) => api::LastUpgrade {
            at,
            outcome: "done".into(),
            error: None,
            previous: Some(previous_process(previous)),
        },
        Err(error) => {
            api::LastUpgrade { at, outcome: "failed".into(), error: Some(error), previous: None }
        }
    }
}

fn previous_process(previous: PreviousProcess) -> api::PreviousProcess {
    let PreviousProcess { pid, version, moved, remaining, stayed, state } = previous;
    let state = state.as_str().into();
    api::PreviousProcess { pid, version, state, moved, remaining, stayed }
}
