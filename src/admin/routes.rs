//! From a request to what answers it.

use std::sync::Arc;

use hyper::{Request, body::Incoming};

use super::{
    answer::{Answer, Refusal, json},
    guard, health, log,
    page::Part,
    places::Place,
    reload,
    request::decoded,
    route,
    served::Served,
    sessions, status, upstreams,
};
use crate::api;

/// What can be asked for.
#[derive(Debug, PartialEq, Eq)]
enum Resource {
    Live,
    Ready,
    Page(&'static Part),
    Metrics,
    Status,
    Upstreams,
    Upstream { pool: String, name: String },
    Sessions,
    Session(String),
    Route,
    Log,
    Reload,
    OpenApi,
}

/// Answers a request; hyper leaves out the body where it is a HEAD.
pub(super) async fn answer(
    request: Request<Incoming>,
    by_tcp: bool,
    served: &Arc<Served>,
    place: &Arc<Place>,
) -> Answer {
    respond(request, by_tcp, served, place).await.unwrap_or_else(Answer::from)
}

async fn respond(
    request: Request<Incoming>,
    by_tcp: bool,
    served: &Arc<Served>,
    place: &Arc<Place>,
) -> Result<Answer, Refusal> {
    let Served { state, scrape, budget } = &**served;
    let (head, body) = request.into_parts();
    let query = head.uri.query();
    let resource = Resource::at(head.uri.path())?;
    let allow = resource.allow();
    // A HEAD is allowed where a GET is.
    if !allow.split(", ").any(|method| method == head.method) {
        return Err(Refusal::method(allow));
    }
    let request = if resource.is_open() {
        None
    } else {
        guard::check(&head, state.token().as_ref(), by_tcp)?;
        Some(place.operator_asks())
    };
    let mut answer = match resource {
        Resource::Live => health::live(),
        Resource::Ready => health::ready(state),
        Resource::Page(part) => part.answer(),
        Resource::Metrics => scrape.answer(&state.metrics, budget).await?,
        Resource::Status => status::get(state, query)?,
        Resource::Upstreams => upstreams::get(state, query)?,
        Resource::Upstream { pool, name } => {
            upstreams::patch(state, query, &pool, &name, &head.headers, body).await?
        }
        Resource::Sessions => sessions::get(served, query).await?,
        Resource::Session(id) => sessions::delete(state, query, &id).await?,
        Resource::Route => {
            let _room = budget.room().await?;
            route::get(state, query).await?
        }
        Resource::Log => log::get(state, query)?,
        Resource::Reload => reload::post(state, query).await?,
        Resource::OpenApi => json(&api::openapi()),
    };
    if let Some(request) = request {
        // Who has changed something is told so, whatever memory is left.
        if head.method.is_safe() {
            answer.body_mut().count(budget)?;
        }
        answer.body_mut().answers(request);
    }
    Ok(answer)
}

impl Resource {
    fn at(path: &str) -> Result<Self, Refusal> {
        let not_found = || {
            Refusal::not_found(format!(
                "there is no {path}; /api/v1/openapi.json tells what there is"
            ))
        };
        let undecodable = || Refusal::bad_request(format!("{path} is not percent-encoded UTF-8"));
        let part = |text: &str| decoded(text).ok_or_else(undecodable);
        if !path.starts_with('/') {
            let error = "the request's target has to be a path, such as /metrics";
            return Err(Refusal::bad_request(error));
        }
        if let Some(part) = Part::at(path) {
            return Ok(Self::Page(part));
        }
        let parts: Vec<_> = path.split('/').skip(1).collect();
        Ok(match *parts {
            ["livez"] => Self::Live,
            ["readyz"] => Self::Ready,
            ["metrics"] => Self::Metrics,
            ["api", "v1", ref api @ ..] => match *api {
                ["status"] => Self::Status,
                ["upstreams"] => Self::Upstreams,
                ["pools", pool, "upstreams", name] => {
                    Self::Upstream { pool: part(pool)?, name: part(name)? }
                }
                ["sessions"] => Self::Sessions,
                ["sessions", id] => Self::Session(part(id)?),
                ["route"] => Self::Route,
                ["log"] => Self::Log,
                ["reload"] => Self::Reload,
                ["openapi.json"] => Self::OpenApi,
                _ => return Err(not_found()),
            },
            _ => return Err(not_found()),
        })
    }

    /// The methods it has, as an `Allow` header lists them.
    fn allow(&self) -> &'static str {
        match self {
            Self::Upstream { .. } => "PATCH",
            Self::Session(_) => "DELETE",
            Self::Reload => "POST",
            _ => "GET, HEAD",
        }
    }

    /// Whether it is told to anyone: it says nothing, or too little, and probes seldom can send a
    /// token, nor can a browser for a page.
    fn is_open(&self) -> bool {
        matches!(self, Self::Live | Self::Ready | Self::Page(_))
    }
}
