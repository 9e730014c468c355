//! `/livez` and `/readyz`.

use std::{borrow::Cow, sync::atomic::Ordering};

use hyper::StatusCode;

use crate::admin::{
    response::{HttpResponse, text},
    state::AdminState,
};

pub(in crate::admin) fn live() -> HttpResponse {
    text(StatusCode::OK, "ok\n")
}

pub(in crate::admin) fn ready(state: &AdminState) -> HttpResponse {
    match not_ready(state) {
        None => text(StatusCode::OK, "ok\n"),
        Some(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
    }
}

/// Why the proxy should get no new connections; `None` if it should.
pub(super) fn not_ready(state: &AdminState) -> Option<Cow<'static, str>> {
    if state.draining.load(Ordering::Relaxed) {
        return Some("draining".into());
    }
    pools_not_serving(state).or_else(|| no_broker(state)).or_else(|| blocked_log(state))
}

/// The pools that serve no client: the reason of the first one, and the number of others.
fn pools_not_serving(state: &AdminState) -> Option<Cow<'static, str>> {
    let snapshot = state.snapshot.load();
    let mut reasons = snapshot.pools.iter().filter_map(|pool| pool.not_serving());
    let first = reasons.next()?;
    Some(match reasons.count() {
        0 => first.into(),
        more => format!("{first} (and so do {more} other pools)").into(),
    })
}

fn no_broker(state: &AdminState) -> Option<Cow<'static, str>> {
    let can_serve = state.snapshot.load().pools.iter().any(|pool| pool.can_serve());
    (!can_serve).then_some("no pool has a broker that takes sessions".into())
}

fn blocked_log(state: &AdminState) -> Option<Cow<'static, str>> {
    state.blocked_logs.blocked_reason().map(Cow::from)
}
