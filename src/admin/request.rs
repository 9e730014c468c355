//! What a request says: the parts of its path, its parameters, its body.

use std::{borrow::Cow, str::FromStr, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{
    HeaderMap, StatusCode,
    body::Body,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use serde_json::Value;
use tokio::time::timeout;

use super::{answer::Refusal, json};

/// The longest body: many times what any of ours has.
pub(super) const BODY_BYTES: usize = 64 * 1024;

/// For a whole body, once its head is there.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// The parameters of a request.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads the part of a URL behind its `?`, in the form that HTML forms give it. Each parameter
    /// has to be among `known`, once at most.
    pub(super) fn parse(query: Option<&str>, known: &[&str]) -> Result<Self, Refusal> {
        let mut parameters: Vec<(String, String)> = Vec::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text: &str| {
                decoded(&text.replace('+', " ")).ok_or_else(|| {
                    Refusal::bad_request(format!("{pair:?} is not percent-encoded UTF-8"))
                })
            };
            let (name, value) = (decode(name)?, decode(value)?);
            if !known.contains(&&*name) {
                let allowed = if known.is_empty() { "none" } else { &known.join(", ") };
                let error = format!("{name:?} is an unknown parameter; allowed: {allowed}");
                return Err(Refusal::bad_request(error));
            }
            if parameters.iter().any(|(other, _)| *other == name) {
                return Err(Refusal::bad_request(format!("{name:?} is there twice; keep one")));
            }
            parameters.push((name, value));
        }
        Ok(Self(parameters))
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    pub(super) fn parsed<T: FromStr>(
        &self,
        name: &str,
        allowed: &str,
    ) -> Result<Option<T>, Refusal> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let wrong = || Refusal::bad_request(format!("`{name}` is {text:?}; allowed: {allowed}"));
        text.parse().map(Some).map_err(|_| wrong())
    }
}

/// A part of a URL without its percent-encoding; `None` where that is none, or not of UTF-8.
pub(super) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let (byte, after) = match byte {
            b'%' => {
                let (digits, after) = after.split_at_checked(2)?;
                let digit = |at: usize| char::from(digits[at]).to_digit(16);
                ((digit(0)? * 16 + digit(1)?) as u8, after)
            }
            _ => (byte, after),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

/// Reads a body of JSON, of a bounded size and in a bounded time.
pub(super) async fn json_body<B>(headers: &HeaderMap, body: B) -> Result<Value, Refusal>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.map(|value| value.split(';').next().unwrap_or_default().trim());
    if !media_type.is_some_and(|media_type| media_type.eq_ignore_ascii_case("application/json")) {
        let error = "the body has to be JSON: send `Content-Type: application/json`";
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error));
    }
    let too_large = || {
        let error = format!("the body is longer than {BODY_BYTES} bytes");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, error)
    };
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > BODY_BYTES as u64) {
        return Err(too_large());
    }
    let bytes = match timeout(BODY_TIMEOUT, Limited::new(body, BODY_BYTES).collect()).await {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large()),
        Ok(Err(error)) => {
            return Err(Refusal::bad_request(format!("the body cannot be read: {error}")));
        }
        Err(_) => {
            let error = format!("the body did not come within {BODY_TIMEOUT:?}");
            return Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, error));
        }
    };
    json::parse(&bytes).map_err(Refusal::bad_request)
}

/// A value as an error shows it: not all of what may be long.
pub(super) fn shown(value: &Value) -> Cow<'static, str> {
    match value {
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
        Value::String(text) if text.len() > 64 => "a long text".into(),
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
