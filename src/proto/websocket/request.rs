//! The opening handshake (RFC 6455, section 4.2), without I/O.

use std::{borrow::Cow, net::SocketAddr, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use httparse::{EMPTY_HEADER, Header, Status};
use sha1::{Digest, Sha1};

use super::forwarded;
use crate::{
    config::WebSocket,
    proto::first_bytes::{DetectedProtocol, Detection, detect_protocol},
};

/// The most headers of a request: Apache accepts 100, browsers send some 20.
const MAX_HEADERS: usize = 100;

/// The part of a refused path that is shown: enough to recognize it.
const MAX_SHOWN_PATH_CHARS: usize = 200;

/// The suffix that a server appends to a client's key (section 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A request that is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpgradeRequest {
    /// Bytes of the head; frames follow.
    pub len: usize,
    /// The client for which trusted proxies forwarded the request.
    pub forwarded_for: Option<SocketAddr>,
    /// Without the query.
    pub path: Arc<str>,
    /// One of the listener's; `None`: the client has offered none.
    subprotocol: Option<Arc<str>>,
    accept: String,
}

impl UpgradeRequest {
    /// The head that switches to WebSocket, with no extension.
    pub fn response(&self) -> String {
        let subprotocol = self
            .subprotocol
            .as_ref()
            .map_or_else(String::new, |name| format!("Sec-WebSocket-Protocol: {name}\r\n"));
        format!(
            "HTTP/1.1 101 Switching Protocols\r\n\
             Upgrade: websocket\r\n\
             Connection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n\
             {subprotocol}\r\n",
            self.accept
        )
    }
}

/// A request that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpgradeRefusal {
    status: HttpStatus,
    /// The reason, without any text of the client's.
    pub detail: Cow<'static, str>,
    /// The path that was asked for, if it is not the listener's; shortened.
    pub path: Option<Box<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HttpStatus {
    BadRequest,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    UpgradeRequired,
    HeaderFieldsTooLarge,
}

impl UpgradeRefusal {
    fn new(status: HttpStatus, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, detail: detail.into(), path: None }
    }

    /// A valid request for a path that is not the listener's.
    fn not_found(path: &str) -> Self {
        let detail = "the request's path is not the listener's";
        Self { path: Some(shortened(path)), ..Self::new(HttpStatus::NotFound, detail) }
    }

    /// Whether a valid request asks for something that is not allowed.
    pub(crate) fn is_forbidden(&self) -> bool {
        matches!(self.status, HttpStatus::Forbidden | HttpStatus::NotFound)
    }

    /// The complete response; the connection must be closed after it.
    pub fn response(&self) -> String {
        let (line, headers) = match self.status {
            HttpStatus::BadRequest => ("400 Bad Request", ""),
            HttpStatus::Forbidden => ("403 Forbidden", ""),
            HttpStatus::NotFound => ("404 Not Found", ""),
            HttpStatus::MethodNotAllowed => ("405 Method Not Allowed", "Allow: GET\r\n"),
            HttpStatus::UpgradeRequired => {
                ("426 Upgrade Required", "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n")
            }
            HttpStatus::HeaderFieldsTooLarge => ("431 Request Header Fields Too Large", ""),
        };
        // RFC 9110, section 7.8: Upgrade applies to this connection only, so Connection lists it.
        let connection = match self.status {
            HttpStatus::UpgradeRequired => "Upgrade, close",
            _ => "close",
        };
        let detail = &self.detail;
        format!(
            "HTTP/1.1 {line}\r\n{headers}Connection: {connection}\r\n\
             Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{detail}\n",
            detail.len() + 1,
        )
    }
}

/// Parses and checks a request; `None` while its head is incomplete.
pub fn parse(bytes: &[u8], rules: &WebSocket) -> Result<Option<UpgradeRequest>, UpgradeRefusal> {
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let parsed = request.parse(bytes);
    let too_long = || {
        let detail = format!("the request's head is longer than {} bytes", rules.max_head);
        UpgradeRefusal::new(HttpStatus::HeaderFieldsTooLarge, detail)
    };
    let len = match parsed {
        Ok(Status::Complete(len)) if len <= rules.max_head => len,
        Ok(Status::Partial) if bytes.len() < rules.max_head => return Ok(None),
        Ok(_) => return Err(too_long()),
        Err(httparse::Error::TooManyHeaders) => {
            let detail = format!("the request has more than {MAX_HEADERS} headers");
            return Err(UpgradeRefusal::new(HttpStatus::HeaderFieldsTooLarge, detail));
        }
        Err(error) => return Err(not_http(bytes, error)),
    };
    if has_bare_lf(&bytes[..len]) {
        let detail = "a line of the request ends in LF without CR";
        return Err(UpgradeRefusal::new(HttpStatus::BadRequest, detail));
    }
    check(&request, len, rules).map(Some)
}

/// RFC 9112, section 2.2, allows a server to accept such a line. But if a proxy in front does not,
/// the two disagree about the request, which is how requests are smuggled.
fn has_bare_lf(head: &[u8]) -> bool {
    let mut lines = head.split_inclusive(|&byte| byte == b'\n');
    lines.any(|line| line.ends_with(b"\n") && !line.ends_with(b"\r\n"))
}

fn not_http(bytes: &[u8], error: httparse::Error) -> UpgradeRefusal {
    let detail: Cow<'static, str> = match detect_protocol(bytes) {
        Detection::Protocol(DetectedProtocol::Mqtt) => {
            "an MQTT CONNECT: plain MQTT belongs to a listener without `websocket`".into()
        }
        Detection::Protocol(DetectedProtocol::Tls) => {
            "a TLS handshake: TLS belongs to a listener with `tls`".into()
        }
        _ => format!("not an HTTP/1.1 request: {error}").into(),
    };
    UpgradeRefusal::new(HttpStatus::BadRequest, detail)
}

/// Checks section 4.2.1, in the order in which the answers help most.
fn check(
    request: &httparse::Request<'_, '_>,
    len: usize,
    rules: &WebSocket,
) -> Result<UpgradeRequest, UpgradeRefusal> {
    use HttpStatus as S;
    let all = |name| values(request.headers, name);
    let refuse = |status, detail: &'static str| Err(UpgradeRefusal::new(status, detail));
    if request.version != Some(1) {
        return refuse(S::BadRequest, "the request is not HTTP/1.1");
    }
    if request.method != Some("GET") {
        return refuse(S::MethodNotAllowed, "the request's method is not GET");
    }
    let Some(path) = path(request.path.unwrap_or_default()) else {
        return refuse(S::BadRequest, "the request's target is neither a path nor an http URI");
    };
    let Some(path) = rules.paths.iter().find_map(|pattern| pattern.find(path)) else {
        return Err(UpgradeRefusal::not_found(path));
    };
    if !has_token(all("upgrade"), "websocket") || !has_token(all("connection"), "upgrade") {
        return refuse(S::UpgradeRequired, "the request does not ask for an upgrade to WebSocket");
    }
    if one(all("sec-websocket-version")) != Some(b"13") {
        return refuse(S::UpgradeRequired, "the request's WebSocket version is not 13");
    }
    let has_body = all("transfer-encoding").next().is_some()
        || all("content-length").any(|length| length != b"0");
    if has_body {
        return refuse(S::BadRequest, "the request has a body");
    }
    if one(all("host")).is_none() {
        return refuse(S::BadRequest, "the request does not have one Host header");
    }
    let Some(key) = one(all("sec-websocket-key")).filter(|key| is_key(key)) else {
        return refuse(
            S::BadRequest,
            "the request does not have one Sec-WebSocket-Key of 16 bytes",
        );
    };
    if let Some(allowed) = &rules.origins {
        // Browsers always send it, and pages cannot change it (RFC 6454, section 7.3).
        let is_allowed = |origin: &[u8]| {
            allowed.iter().any(|allowed| origin.eq_ignore_ascii_case(allowed.as_bytes()))
        };
        if !all("origin").all(is_allowed) {
            return refuse(S::Forbidden, "the request's Origin is not in `origins`");
        }
    }
    let subprotocol = subprotocol(request.headers, rules)?;
    let forwarded_for = forwarded::client(all("x-forwarded-for"), &rules.forwarded_for);
    Ok(UpgradeRequest { len, forwarded_for, path, subprotocol, accept: accept(key) })
}

/// The subprotocol that is agreed on: the client chooses which ones are possible, the listener which
/// one is best (RFC 6455, section 4.2.2). A client that offers some needs one of them in the answer,
/// or browsers end the connection.
fn subprotocol(
    headers: &[Header<'_>],
    rules: &WebSocket,
) -> Result<Option<Arc<str>>, UpgradeRefusal> {
    let offered = || tokens(values(headers, "sec-websocket-protocol")).filter(|it| !it.is_empty());
    let is_offered = |name: &&Arc<str>| offered().any(|token| token == name.as_bytes());
    if let Some(name) = rules.subprotocols.iter().find(is_offered) {
        return Ok(Some(name.clone()));
    }
    if rules.without_subprotocol && offered().next().is_none() {
        return Ok(None);
    }
    let names: Vec<_> = rules.subprotocols.iter().map(|name| format!("\"{name}\"")).collect();
    let detail = if names.is_empty() {
        "the request offers a subprotocol, and the listener has none".to_owned()
    } else {
        format!("the request offers no subprotocol {}", names.join(" or "))
    };
    Err(UpgradeRefusal::new(HttpStatus::BadRequest, detail))
}

/// A path for a log, of bounded length.
fn shortened(path: &str) -> Box<str> {
    match path.char_indices().nth(MAX_SHOWN_PATH_CHARS) {
        None => path.into(),
        Some((end, _)) => format!("{}…", &path[..end]).into(),
    }
}

/// The path of a target in origin form or absolute form (RFC 9112, section 3.2).
fn path(target: &str) -> Option<&str> {
    let (target, _query) = split_once(target, '?');
    if target.starts_with('/') {
        return Some(target);
    }
    let (scheme, rest) = target.split_once("://")?;
    let is_http = ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    // An http URI needs a host (RFC 9110, section 4.2.1).
    (is_http && !host.is_empty()).then_some(if path.is_empty() { "/" } else { path })
}

fn values<'a>(
    headers: &'a [Header<'a>],
    name: &'static str,
) -> impl DoubleEndedIterator<Item = &'a [u8]> {
    let named = headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
    named.map(|header| header.value.trim_ascii())
}

/// The value of a header that must occur exactly once.
fn one<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// The entries of list headers.
fn tokens<'a>(values: impl Iterator<Item = &'a [u8]>) -> impl Iterator<Item = &'a [u8]> {
    values.flat_map(|value| value.split(|&byte| byte == b',')).map(<[u8]>::trim_ascii)
}

fn has_token<'a>(values: impl Iterator<Item = &'a [u8]>, token: &str) -> bool {
    tokens(values).any(|found| found.eq_ignore_ascii_case(token.as_bytes()))
}

/// Whether a key is 16 bytes in base64. Neither their value matters nor the 4 bits left over.
fn is_key(key: &[u8]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.strip_suffix(b"==").is_some_and(|key| key.len() == 22 && key.iter().all(is_digit))
}

fn accept(key: &[u8]) -> String {
    let hash = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    STANDARD.encode(hash)
}

fn split_once(text: &str, at: char) -> (&str, &str) {
    text.split_once(at).unwrap_or((text, ""))
}
