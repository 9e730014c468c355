//! `/api/v1/bans`: the bans in force, and how to impose and end them.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use hyper::StatusCode;
use ipnet::IpNet;
use serde::Deserialize;
use tokio::task::yield_now;

use super::ban_warnings::warnings;
use crate::{
    admin::{
        request::{Query, RequestBody},
        response::{ErrorResponse, HttpResponse, json, no_content},
        state::AdminState,
    },
    api,
    labels::{BanKind, BanReason},
    limits::{Ban, BanTarget, TooManyBans, wall_time},
    timestamp::rfc3339,
};

/// The number of bans on a page, by default and at most.
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

/// Bans in one request, and the bytes of its body.
const MAX_NEW_BANS: usize = 10_000;
const MAX_BODY_BYTES: usize = 1 << 20;

/// Bans that are imposed before other requests run.
const BANS_PER_YIELD: usize = 500;

const MAX_COMMENT_CHARS: usize = 200;
const MAX_SECONDS: u32 = 365 * 24 * 60 * 60;

pub(in crate::admin) fn get(
    state: &AdminState,
    query: Option<&str>,
) -> Result<HttpResponse, ErrorResponse> {
    let query = Query::parse(query, &["limit", "cursor"])?;
    let limit = query.parsed("limit", "a whole number from 1 to 1000")?.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        let error =
            format!("invalid `limit` {limit}; allowed: a whole number from 1 to {MAX_LIMIT}");
        return Err(ErrorResponse::bad_request(error));
    }
    let cursor = query.text("cursor").map(|text| {
        let is_ours = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u64::from_str_radix(text, 16).ok().filter(|_| is_ours).ok_or_else(|| {
            ErrorResponse::bad_request("invalid `cursor`: pass `next` from the previous response")
        })
    });
    let page = state.limiter.rates.bans.page(cursor.transpose()?, limit);
    let now = Instant::now();
    Ok(json(&api::BanPage {
        bans: page.bans.into_iter().map(|ban| view(&ban, now)).collect(),
        total: page.total,
        next: page.next.map(|next| format!("{next:016x}")),
    }))
}

fn view(ban: &Ban, now: Instant) -> api::Ban {
    api::Ban {
        kind: ban.target.kind().as_str().into(),
        value: ban.target.value().into_owned(),
        reason: ban.reason.as_str().into(),
        comment: ban.comment.clone(),
        since: rfc3339(wall_time(ban.since)),
        until: rfc3339(wall_time(ban.until)),
        remaining_s: ban.until.saturating_duration_since(now).as_secs_f64(),
    }
}

/// `peer` is the address that the request comes from.
pub(in crate::admin) async fn post(
    state: &AdminState,
    query: Option<&str>,
    peer: Option<IpAddr>,
    body: RequestBody<'_>,
) -> Result<HttpResponse, ErrorResponse> {
    Query::parse(query, &[])?;
    let body = body.json(MAX_BODY_BYTES).await?;
    let new = NewBans::deserialize(&body).map_err(|error| {
        let allowed = "allowed: an object with `bans`, a list of objects with `kind`, `value`, \
            `for_s` and perhaps `comment`";
        ErrorResponse::bad_request(format!("invalid body: {error}; {allowed}"))
    })?;
    if !(1..=MAX_NEW_BANS).contains(&new.bans.len()) {
        let error = format!("invalid `bans`; allowed: 1 to {MAX_NEW_BANS} bans");
        return Err(ErrorResponse::bad_request(error));
    }
    let now = Instant::now();
    let bans: Result<Vec<_>, _> = new.bans.into_iter().map(|ban| ban.checked(now)).collect();
    let bans = bans?;
    let warnings = warnings(&bans, peer, &state.snapshot.load());
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    for (done, ban) in bans.iter().enumerate() {
        state.limiter.rates.bans.add(ban.clone()).map_err(|error| too_many(error, done))?;
        if done % BANS_PER_YIELD == BANS_PER_YIELD - 1 {
            yield_now().await;
        }
    }
    log(&bans);
    let banned = bans.len();
    state.sessions.log_bans(bans);
    Ok(json(&api::Banned { banned, warnings }))
}

/// Writes a line into the program log.
fn log(bans: &[Ban]) {
    if let [ban] = bans {
        let (kind, value) = (ban.target.kind().as_str(), ban.target.value());
        tracing::info!(kind, %value, "banned by the operator");
    } else {
        tracing::info!(bans = bans.len(), "banned by the operator");
    }
}

fn too_many(error: TooManyBans, done: usize) -> ErrorResponse {
    let error = match done {
        0 => error.to_string(),
        done => format!("{error}; the first {done} of the list are in force"),
    };
    ErrorResponse::new(StatusCode::CONFLICT, error)
}

/// The body, without unknown keys.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewBans {
    bans: Vec<NewBan>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewBan {
    kind: String,
    value: String,
    for_s: u32,
    comment: Option<String>,
}

impl NewBan {
    fn checked(self, now: Instant) -> Result<Ban, ErrorResponse> {
        let Self { kind, value, for_s, comment } = self;
        let known = BanKind::ALL.iter().find(|known| known.as_str() == kind);
        let kind = *known.ok_or_else(|| {
            let error = format!("invalid `kind` {kind:?}; allowed: ip, client_id, username");
            ErrorResponse::bad_request(error)
        })?;
        if !(1..=MAX_SECONDS).contains(&for_s) {
            let error = format!("invalid `for_s` {for_s}; allowed: 1 to {MAX_SECONDS} seconds");
            return Err(ErrorResponse::bad_request(error));
        }
        if comment.as_ref().is_some_and(|text| text.chars().count() > MAX_COMMENT_CHARS) {
            let error = format!("`comment` is longer than {MAX_COMMENT_CHARS} characters");
            return Err(ErrorResponse::bad_request(error));
        }
        let time = Duration::from_secs(for_s.into());
        let ban = Ban::new(target(kind, &value)?, BanReason::Operator, now, time);
        Ok(Ban { comment: comment.map(String::into_boxed_str), ..ban })
    }
}

fn target(kind: BanKind, value: &str) -> Result<BanTarget, ErrorResponse> {
    if value.is_empty() {
        return Err(ErrorResponse::bad_request("a ban needs a value, and this one is empty"));
    }
    Ok(match kind {
        BanKind::ClientId => BanTarget::client_id(value),
        BanKind::Username => BanTarget::username(value),
        BanKind::Ip => {
            let address = value.parse::<IpAddr>().map(IpNet::from);
            let network = value.parse().or(address).map_err(|_| {
                let allowed = "an IP address or a network such as 10.0.0.0/8";
                ErrorResponse::bad_request(format!("invalid address {value:?}; allowed: {allowed}"))
            })?;
            BanTarget::network(network)
        }
    })
}

pub(in crate::admin) fn delete(
    state: &AdminState,
    query: Option<&str>,
) -> Result<HttpResponse, ErrorResponse> {
    let query = Query::parse(query, &["ip", "client_id", "username", "all"])?;
    let bans = &state.limiter.rates.bans;
    let named = BanKind::ALL.iter().filter_map(|kind| Some((*kind, query.text(kind.as_str())?)));
    let named: Vec<_> = named.collect();
    match (&*named, query.text("all")) {
        ([], Some("true")) => {
            bans.clear();
            tracing::info!("all bans ended by the operator");
        }
        ([(kind, value)], None) => {
            let ended = bans.remove(&target(*kind, value)?).ok_or_else(|| {
                let error = format!("no ban of {} {value}", kind.as_str());
                ErrorResponse::not_found(error)
            })?;
            let (kind, value) = (kind.as_str(), ended.target.value());
            tracing::info!(kind, %value, "ban ended by the operator");
        }
        _ => {
            let error = "allowed: one of `ip`, `client_id`, `username`, or `all=true`";
            return Err(ErrorResponse::bad_request(error));
        }
    }
    Ok(no_content())
}
