//! `/livez` and `/readyz`.

use std::{borrow::Cow, sync::atomic::Ordering};

use hyper::StatusCode;

use super::{
    AdminState,
    answer::{Answer, text},
};

pub(super) fn live() -> Answer {
    text(StatusCode::OK, "ok\n")
}

pub(super) fn ready(state: &AdminState) -> Answer {
    match not_ready(state) {
        None => text(StatusCode::OK, "ok\n"),
        Some(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
    }
}

/// Why this proxy should be sent no new connections; `None` where it should.
pub(super) fn not_ready(state: &AdminState) -> Option<Cow<'static, str>> {
    if state.draining.load(Ordering::Relaxed) {
        return Some("draining".into());
    }
    no_broker(state).or_else(|| blocked_log(state))
}

fn no_broker(state: &AdminState) -> Option<Cow<'static, str>> {
    let can_serve = state.snapshot.load().pools.iter().any(|pool| pool.can_serve());
    (!can_serve).then_some("no pool has a broker that takes sessions".into())
}

fn blocked_log(state: &AdminState) -> Option<Cow<'static, str>> {
    state.access_logs.blocked().map(Cow::from)
}
