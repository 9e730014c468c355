//! The parts of a request: path segments, parameters, body.

use std::{borrow::Cow, str::FromStr, time::Duration};

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{
    HeaderMap, StatusCode,
    body::Incoming,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::{json, response::ErrorResponse};

/// The longest body of most requests: many times what they need.
pub(super) const MAX_BODY_BYTES: usize = 64 * 1024;

/// The limit for a whole body, from the arrival of the request head.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// The parameters of a request.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Parses a query in the format of HTML forms (`application/x-www-form-urlencoded`). Each
    /// parameter must be among `known` and occur at most once.
    pub(super) fn parse(query: Option<&str>, known: &[&str]) -> Result<Self, ErrorResponse> {
        Self::parse_with_lists(query, known, &[])
    }

    /// As [`Self::parse`]; those in `lists` may occur several times.
    pub(super) fn parse_with_lists(
        query: Option<&str>,
        known: &[&str],
        lists: &[&str],
    ) -> Result<Self, ErrorResponse> {
        let query = query.unwrap_or_default();
        if percent_decoded(query).is_none() {
            let error = format!("invalid percent-encoding in the query {query:?}");
            return Err(ErrorResponse::bad_request(error));
        }
        let mut parameters: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if !known.contains(&&*name) {
                let allowed = if known.is_empty() { "none" } else { &known.join(", ") };
                let error = format!("unknown parameter {name:?}; allowed: {allowed}");
                return Err(ErrorResponse::bad_request(error));
            }
            let is_list = lists.contains(&&*name);
            if !is_list && parameters.iter().any(|(other, _)| *other == name) {
                return Err(ErrorResponse::bad_request(format!("duplicate parameter {name:?}")));
            }
            parameters.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(parameters))
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// The values of a parameter that may occur several times.
    pub(super) fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| &**value)
    }

    pub(super) fn parsed<T: FromStr>(
        &self,
        name: &str,
        allowed: &str,
    ) -> Result<Option<T>, ErrorResponse> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let wrong =
            || ErrorResponse::bad_request(format!("invalid `{name}` {text:?}; allowed: {allowed}"));
        text.parse().map(Some).map_err(|_| wrong())
    }
}

/// Removes percent-encoding; `None` if it is malformed, or the result is not UTF-8.
pub(super) fn percent_decoded(text: &str) -> Option<Cow<'_, str>> {
    let is_escape = |rest: &str| {
        rest.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    // `percent_decode_str` leaves malformed escapes unchanged.
    let is_well_formed = text.split('%').skip(1).all(is_escape);
    is_well_formed.then(|| percent_decode_str(text).decode_utf8().ok()).flatten()
}

/// The body of a request, not read yet.
pub(super) struct RequestBody<'a> {
    pub(super) headers: &'a HeaderMap,
    pub(super) body: Incoming,
}

impl RequestBody<'_> {
    /// Reads a JSON body, at most `max_bytes` long, within [`BODY_TIMEOUT`].
    pub(super) async fn json(self, max_bytes: usize) -> Result<Value, ErrorResponse> {
        let Self { headers, body } = self;
        let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = media_type.map(|value| value.split(';').next().unwrap_or_default().trim());
        if !media_type.is_some_and(|media_type| media_type.eq_ignore_ascii_case("application/json"))
        {
            let error = "the body must be JSON: send `Content-Type: application/json`";
            return Err(ErrorResponse::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error));
        }
        let too_large = || {
            let error = format!("the body is longer than {max_bytes} bytes");
            ErrorResponse::new(StatusCode::PAYLOAD_TOO_LARGE, error)
        };
        let length =
            headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        if length.is_some_and(|length: u64| length > max_bytes as u64) {
            return Err(too_large());
        }
        let bytes = match timeout(BODY_TIMEOUT, Limited::new(body, max_bytes).collect()).await {
            Ok(Ok(collected)) => collected.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large()),
            Ok(Err(error)) => {
                return Err(ErrorResponse::bad_request(format!("cannot read the body: {error}")));
            }
            Err(_) => {
                let error = format!("the body did not arrive within {BODY_TIMEOUT:?}");
                return Err(ErrorResponse::new(StatusCode::REQUEST_TIMEOUT, error));
            }
        };
        json::parse(&bytes).map_err(ErrorResponse::bad_request)
    }
}

/// The members of a body that is an object with at least one of the `known` ones, and no others.
/// `allowed` describes it.
pub(super) fn members<'v>(
    body: &'v Value,
    known: &[&str],
    allowed: &str,
) -> Result<&'v Map<String, Value>, ErrorResponse> {
    let wrong =
        |fault: &str| Err(ErrorResponse::bad_request(format!("{fault}; allowed: {allowed}")));
    let Value::Object(members) = body else { return wrong("the body is not an object") };
    if members.is_empty() {
        return wrong("the body is empty");
    }
    match members.keys().find(|name| !known.contains(&&***name)) {
        Some(other) => wrong(&format!("unknown key {other:?}")),
        None => Ok(members),
    }
}

/// A value for an error message; long ones are described.
pub(super) fn shown(value: &Value) -> Cow<'static, str> {
    match value {
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
        Value::String(text) if text.len() > 64 => "a long string".into(),
        other => other.to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters() {
        let query = Query::parse(Some("id=a%2Fb+c&n=7&&e="), &["id", "n", "e"]).unwrap();
        assert_eq!(query.text("id"), Some("a/b c"));
        assert_eq!(query.text("e"), Some(""));
        assert_eq!(query.parsed::<u8>("n", "a number").unwrap(), Some(7));
        assert_eq!(query.parsed::<u8>("x", "a number").unwrap(), None);
        assert!(query.parsed::<u8>("id", "a number").is_err());
        assert!(Query::parse(None, &[]).is_ok());
        for bad in ["x=1", "id=1&id=2", "id=%", "id=%f", "id=%zz", "id=%ff", "%69d=1&id=2"] {
            assert!(Query::parse(Some(bad), &["id"]).is_err(), "{bad}");
        }
    }
}
