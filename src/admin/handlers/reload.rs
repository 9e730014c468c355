//! `POST /api/v1/reload`: the control thread reloads the configuration.

use std::sync::atomic::Ordering;

use hyper::StatusCode;

use crate::{
    admin::{
        reload_channel::{ReloadError, ReloadOutcome},
        request::Query,
        response::{ErrorResponse, HttpResponse, json},
        state::AdminState,
    },
    api,
};

const IN_PROGRESS: &str = "another reload is in progress; try again when it has ended";
const DRAINING: &str = "the proxy is shutting down; reloads are no longer possible";
const UPGRADING: &str = "an upgrade is in progress; try again when it has ended";
const NO_ANSWER: &str = "the control thread did not answer; the log says how the reload ended";
const REFUSED: &str = "the configuration is invalid; nothing has changed";

pub(in crate::admin) async fn post(
    state: &AdminState,
    query: Option<&str>,
) -> Result<HttpResponse, ErrorResponse> {
    Query::parse(query, &[])?;
    let conflict = |why| ErrorResponse::new(StatusCode::CONFLICT, why);
    if state.draining.load(Ordering::Relaxed) {
        return Err(conflict(DRAINING));
    }
    match state.reloads.reload().await {
        Ok(ReloadOutcome::Applied { generation, changes }) => {
            Ok(json(&api::Applied { outcome: "applied".into(), generation, changes }))
        }
        Ok(ReloadOutcome::Refused { faults }) => {
            let refused = ErrorResponse::new(StatusCode::UNPROCESSABLE_ENTITY, REFUSED);
            Err(refused.with_faults(faults))
        }
        Ok(ReloadOutcome::Draining) => Err(conflict(DRAINING)),
        Ok(ReloadOutcome::Upgrading) => Err(conflict(UPGRADING)),
        Err(ReloadError::Busy) => Err(conflict(IN_PROGRESS)),
        Err(ReloadError::NoAnswer) => {
            Err(ErrorResponse::new(StatusCode::SERVICE_UNAVAILABLE, NO_ANSWER))
        }
    }
}
