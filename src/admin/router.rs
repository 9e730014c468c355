//! From a request to its handler.

use std::{net::IpAddr, sync::Arc};

use hyper::{Method, Request, body::Incoming};

use super::{
    connections::ConnectionSlot,
    dashboard::Asset,
    guard,
    handlers::{
        AdminContext, bans, config, duplicates, health, log, reload, route, rules, sessions,
        status, upgrade, upstreams,
    },
    request::{RequestBody, percent_decoded},
    response::{ErrorResponse, HttpResponse, json},
};
use crate::api;

#[derive(Debug, PartialEq, Eq)]
enum Resource {
    Live,
    Ready,
    Dashboard(&'static Asset),
    Metrics,
    Config,
    Status,
    Upstreams,
    Upstream { pool: String, name: String },
    Sessions,
    Session(String),
    Duplicates,
    Bans,
    Route,
    Rules,
    Rule { listener: String, name: String },
    Log,
    Reload,
    Upgrade,
    OpenApi,
}

/// Serves a request; `peer` is `None` on a unix socket. For HEAD, hyper leaves the body out.
pub(super) async fn respond(
    request: Request<Incoming>,
    peer: Option<IpAddr>,
    context: &Arc<AdminContext>,
    slot: &Arc<ConnectionSlot>,
) -> HttpResponse {
    try_respond(request, peer, context, slot).await.unwrap_or_else(HttpResponse::from)
}

async fn try_respond(
    request: Request<Incoming>,
    peer: Option<IpAddr>,
    context: &Arc<AdminContext>,
    slot: &Arc<ConnectionSlot>,
) -> Result<HttpResponse, ErrorResponse> {
    let AdminContext { state, scrape, budget } = &**context;
    let (head, body) = request.into_parts();
    let body = RequestBody { headers: &head.headers, body };
    let query = head.uri.query();
    let resource = Resource::at(head.uri.path())?;
    let allow = resource.allow();
    if !allow.split(", ").any(|method| method == head.method) {
        return Err(ErrorResponse::method_not_allowed(allow));
    }
    let operator_request = if resource.is_open() {
        None
    } else {
        guard::check(&head, state.token().as_ref(), peer.is_some())?;
        Some(slot.begin_request())
    };
    let mut response = match resource {
        Resource::Live => health::live(),
        Resource::Ready => health::ready(state),
        Resource::Dashboard(asset) => asset.response(),
        Resource::Metrics => scrape.response(&state.metrics, budget).await?,
        Resource::Config => config::get(state, query)?,
        Resource::Status => status::get(state, query)?,
        Resource::Upstreams => upstreams::get(state, query)?,
        Resource::Upstream { pool, name } => {
            upstreams::patch(state, query, &pool, &name, body).await?
        }
        Resource::Sessions => sessions::get(context, query).await?,
        Resource::Session(id) => sessions::delete(state, query, &id).await?,
        Resource::Duplicates => duplicates::get(state, query)?,
        Resource::Bans => match head.method {
            Method::POST => bans::post(state, query, peer, body).await?,
            Method::DELETE => bans::delete(state, query)?,
            _ => bans::get(state, query)?,
        },
        Resource::Route => {
            let _reservation = budget.reserve_chunk().await?;
            route::get(state, query).await?
        }
        Resource::Rules => rules::get(state, query)?,
        Resource::Rule { listener, name } => {
            rules::patch(state, query, &listener, &name, body).await?
        }
        Resource::Log => log::get(state, query)?,
        Resource::Reload => reload::post(state, query).await?,
        Resource::Upgrade => upgrade::post(state, query).await?,
        Resource::OpenApi => json(&api::openapi()),
    };
    if let Some(operator_request) = operator_request {
        // The outcome of a change is always sent, however little memory is left.
        if head.method.is_safe() {
            response.body_mut().count(budget)?;
        }
        response.body_mut().answers(operator_request);
    }
    Ok(response)
}

impl Resource {
    fn at(path: &str) -> Result<Self, ErrorResponse> {
        if !path.starts_with('/') {
            let error = "the request's target must be a path, such as /metrics";
            return Err(ErrorResponse::bad_request(error));
        }
        if let Some(asset) = Asset::at(path) {
            return Ok(Self::Dashboard(asset));
        }
        let segments: Vec<_> = path.split('/').skip(1).collect();
        let decoded = |segment: &str| {
            let decoded = percent_decoded(segment).map(Into::into);
            decoded.ok_or_else(|| {
                ErrorResponse::bad_request(format!("invalid percent-encoding in the path {path}"))
            })
        };
        Ok(match *segments {
            ["livez"] => Self::Live,
            ["readyz"] => Self::Ready,
            ["metrics"] => Self::Metrics,
            ["api", "v1", "config"] => Self::Config,
            ["api", "v1", "status"] => Self::Status,
            ["api", "v1", "upstreams"] => Self::Upstreams,
            ["api", "v1", "pools", pool, "upstreams", name] => {
                Self::Upstream { pool: decoded(pool)?, name: decoded(name)? }
            }
            ["api", "v1", "sessions"] => Self::Sessions,
            ["api", "v1", "sessions", id] => Self::Session(decoded(id)?),
            ["api", "v1", "duplicates"] => Self::Duplicates,
            ["api", "v1", "bans"] => Self::Bans,
            ["api", "v1", "route"] => Self::Route,
            ["api", "v1", "rules"] => Self::Rules,
            ["api", "v1", "listeners", listener, "rules", name] => {
                Self::Rule { listener: decoded(listener)?, name: decoded(name)? }
            }
            ["api", "v1", "log"] => Self::Log,
            ["api", "v1", "reload"] => Self::Reload,
            ["api", "v1", "upgrade"] => Self::Upgrade,
            ["api", "v1", "openapi.json"] => Self::OpenApi,
            _ => {
                let error = format!("no resource {path}; /api/v1/openapi.json lists them");
                return Err(ErrorResponse::not_found(error));
            }
        })
    }

    /// The resource's methods, as in an `Allow` header.
    fn allow(&self) -> &'static str {
        match self {
            Self::Upstream { .. } | Self::Rule { .. } => "PATCH",
            Self::Session(_) => "DELETE",
            Self::Reload | Self::Upgrade => "POST",
            Self::Bans => "GET, HEAD, POST, DELETE",
            _ => "GET, HEAD",
        }
    }

    /// Whether the resource needs no token. Such a resource reveals next to nothing; probes often
    /// cannot send a token, and neither can browsers when they load a page.
    fn is_open(&self) -> bool {
        matches!(self, Self::Live | Self::Ready | Self::Dashboard(_))
    }
}
