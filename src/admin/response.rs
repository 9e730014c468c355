//! Responses, including error responses.

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
    body::ResponseBody,
    budget::{BudgetExhausted, shrunk},
};
use crate::{api, session::QueryError};

pub(super) type HttpResponse = Response<ResponseBody>;

const TEXT: &str = "text/plain; charset=utf-8";

/// Why a request failed.
#[derive(Debug)]
pub(super) struct ErrorResponse {
    status: StatusCode,
    /// What happened, and what to do.
    error: String,
    /// What is wrong with a configuration.
    faults: Option<Vec<String>>,
    /// The resource's methods, for a 405.
    allow: Option<&'static str>,
}

impl ErrorResponse {
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: error.into(), faults: None, allow: None }
    }

    pub(super) fn bad_request(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    pub(super) fn not_found(error: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, error)
    }

    pub(super) fn method_not_allowed(allow: &'static str) -> Self {
        let error = format!("method not allowed; allowed: {allow}");
        Self { allow: Some(allow), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, error) }
    }

    pub(super) fn with_faults(self, faults: Vec<String>) -> Self {
        Self { faults: Some(faults), ..self }
    }
}

impl From<QueryError> for ErrorResponse {
    fn from(why: QueryError) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, why.to_string())
    }
}

impl From<BudgetExhausted> for ErrorResponse {
    fn from(why: BudgetExhausted) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, why.to_string())
    }
}

impl From<ErrorResponse> for HttpResponse {
    fn from(ErrorResponse { status, error, faults, allow }: ErrorResponse) -> Self {
        let mut response = json(&api::Error { error, faults });
        *response.status_mut() = status;
        if let Some(allow) = allow {
            response = with_header(response, ALLOW, allow);
        }
        if status == StatusCode::UNAUTHORIZED {
            // RFC 6750, section 3.
            response = with_header(response, WWW_AUTHENTICATE, "Bearer");
        }
        response
    }
}

pub(super) fn json(body: &impl Serialize) -> HttpResponse {
    match serde_json::to_vec(body) {
        Ok(bytes) => content(shrunk(bytes), "application/json"),
        Err(error) => {
            // Only a map whose keys are not strings fails, and no type of the API has one.
            tracing::error!(%error, "cannot serialize a response");
            let mut response = content("{\"error\":\"internal\"}", "application/json");
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
    }
}

/// A YAML document (RFC 9512).
pub(super) fn yaml(body: String) -> HttpResponse {
    content(body, "application/yaml")
}

pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> HttpResponse {
    let mut response = content(body, TEXT);
    *response.status_mut() = status;
    response
}

/// A response with no content.
pub(super) fn no_content() -> HttpResponse {
    let mut response = content("", "");
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().remove(CONTENT_TYPE);
    response
}

fn content(body: impl Into<Bytes>, media_type: &'static str) -> HttpResponse {
    with_body(ResponseBody::new(body), media_type)
}

/// A response that is never cached and whose media type browsers do not guess.
pub(super) fn with_body(body: ResponseBody, media_type: &'static str) -> HttpResponse {
    let response = with_header(Response::new(body), CONTENT_TYPE, media_type);
    with_header(with_header(response, CACHE_CONTROL, "no-store"), X_CONTENT_TYPE_OPTIONS, "nosniff")
}

pub(super) fn with_header(
    mut response: HttpResponse,
    name: HeaderName,
    value: &'static str,
) -> HttpResponse {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}
