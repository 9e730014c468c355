//! Answers, and the refusals among them.

use bytes::Bytes;
use hyper::{
    Response, StatusCode,
    header::{
        ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, WWW_AUTHENTICATE,
        X_CONTENT_TYPE_OPTIONS,
    },
};
use serde::Serialize;

use super::{
    body::Body,
    budget::{Full, exact},
};
use crate::session::QueryError;

pub(super) type Answer = Response<Body>;

pub(super) const TEXT: &str = "text/plain; charset=utf-8";

/// Why a request is not done.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    /// What happened, and what to do.
    error: String,
    /// What is wrong with a configuration.
    faults: Option<Vec<String>>,
    /// The methods that the resource has, where it has not the one that was asked for.
    allow: Option<&'static str>,
}

#[derive(Serialize)]
struct ErrorBody {
    error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    faults: Option<Vec<String>>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: error.into(), faults: None, allow: None }
    }

    pub(super) fn bad_request(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    pub(super) fn not_found(error: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, error)
    }

    pub(super) fn method(allow: &'static str) -> Self {
        let error = format!("this has no such method; allowed: {allow}");
        Self { allow: Some(allow), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, error) }
    }

    pub(super) fn with_faults(self, faults: Vec<String>) -> Self {
        Self { faults: Some(faults), ..self }
    }
}

impl From<QueryError> for Refusal {
    fn from(why: QueryError) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, why.to_string())
    }
}

impl From<Full> for Refusal {
    fn from(why: Full) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, why.to_string())
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let Refusal { status, error, faults, allow } = refusal;
        let mut answer = json(&ErrorBody { error, faults });
        *answer.status_mut() = status;
        if let Some(allow) = allow {
            answer = with(answer, ALLOW, allow);
        }
        if status == StatusCode::UNAUTHORIZED {
            // RFC 6750, section 3.
            answer = with(answer, WWW_AUTHENTICATE, "Bearer");
        }
        answer
    }
}

pub(super) fn json(body: &impl Serialize) -> Answer {
    match serde_json::to_vec(body) {
        Ok(bytes) => content(exact(bytes), "application/json"),
        Err(error) => {
            // No type of ours has a map with keys that are no strings, which is what can fail.
            tracing::error!(%error, "an answer cannot be written");
            let mut answer = content("{\"error\":\"internal\"}", "application/json");
            *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            answer
        }
    }
}

pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = content(body, TEXT);
    *answer.status_mut() = status;
    answer
}

/// All answers are of this moment, and what they say they are.
pub(super) fn content(body: impl Into<Bytes>, media_type: &'static str) -> Answer {
    content_of(Body::new(body), media_type)
}

pub(super) fn content_of(body: Body, media_type: &'static str) -> Answer {
    let answer = with(Response::new(body), CONTENT_TYPE, media_type);
    with(with(answer, CACHE_CONTROL, "no-store"), X_CONTENT_TYPE_OPTIONS, "nosniff")
}

pub(super) fn with(mut answer: Answer, name: HeaderName, value: &'static str) -> Answer {
    answer.headers_mut().insert(name, HeaderValue::from_static(value));
    answer
}
