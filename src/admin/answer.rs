//! From a request to its answer.

use std::hint::black_box;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, WWW_AUTHENTICATE},
};

use super::{AdminState, Readiness};

pub(super) type Answer = Response<Full<Bytes>>;

/// Answers GET and HEAD for `/metrics`, `/livez` and `/readyz`; hyper leaves out a HEAD's body.
///
/// `/livez` and `/readyz` ask for no token: they tell nothing, and probes seldom can send one.
pub(super) fn answer<B>(request: &Request<B>, state: &AdminState) -> Answer {
    let path = request.uri().path();
    if !matches!(path, "/metrics" | "/livez" | "/readyz") {
        return text(StatusCode::NOT_FOUND, "not found: try /metrics, /livez or /readyz\n");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let refusal = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        return with(refusal, ALLOW, "GET, HEAD");
    }
    match path {
        "/livez" => text(StatusCode::OK, "ok\n"),
        "/readyz" => match (state.readiness)() {
            Readiness::Ready => text(StatusCode::OK, "ok\n"),
            Readiness::NotReady(why) => {
                text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n"))
            }
        },
        _ if !may_read(state, request.headers()) => {
            let refusal = text(StatusCode::UNAUTHORIZED, "a bearer token is needed\n");
            with(refusal, WWW_AUTHENTICATE, "Bearer")
        }
        _ => with(
            text(StatusCode::OK, state.metrics.render()),
            CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        ),
    }
}

fn may_read(state: &AdminState, headers: &HeaderMap) -> bool {
    let Some(token) = &state.token else { return true };
    let given = headers.get(AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
    given.is_some_and(|given| is_same(given, token.reveal().as_bytes()))
}

/// The token of an `Authorization` header (RFC 6750, section 2.1); the scheme is in any case
/// (RFC 9110, section 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

/// Compares in a time that tells only whether the lengths are equal.
fn is_same(given: &[u8], wanted: &[u8]) -> bool {
    let differing = given.iter().zip(wanted).fold(0, |bits, (a, b)| black_box(bits | (a ^ b)));
    given.len() == wanted.len() && differing == 0
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    with(answer, CONTENT_TYPE, "text/plain; charset=utf-8")
}

fn with(mut answer: Answer, name: HeaderName, value: &'static str) -> Answer {
    answer.headers_mut().insert(name, HeaderValue::from_static(value));
    answer
}
