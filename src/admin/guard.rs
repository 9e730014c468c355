//! Who may ask: those with the token, and no web page of another site.

use std::{hint::black_box, net::IpAddr};

use hyper::{
    HeaderMap, StatusCode,
    header::{AUTHORIZATION, HOST, ORIGIN},
    http::{request::Parts, uri::Authority},
};

use super::answer::Refusal;
use crate::config::Secret;

/// Fetch Metadata Request Headers, section 2.3.
const SEC_FETCH_SITE: &str = "sec-fetch-site";

const NO_TOKEN: &str =
    "a bearer token is needed: send `Authorization: Bearer TOKEN` with what admin.token_file holds";

const OTHER_SITE: &str =
    "asked by a web page of another site (see its Origin or Sec-Fetch-Site header)";

const NO_ADDRESS: &str = "the Host header names this proxy by a name that any site could have given \
    it; ask by its IP address or as localhost, or set admin.token_file";

/// Lets a request through, or says why not. `by_tcp`: whether a browser could have sent it.
pub(super) fn check(head: &Parts, token: Option<&Secret>, by_tcp: bool) -> Result<(), Refusal> {
    if by_tcp {
        check_browser(head, token.is_none())?;
    }
    let Some(token) = token else { return Ok(()) };
    let given = head.headers.get(AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
    if given.is_some_and(|given| is_same(given, token.reveal().as_bytes())) {
        return Ok(());
    }
    Err(Refusal::new(StatusCode::UNAUTHORIZED, NO_TOKEN))
}

/// A page of another site can have its visitor's browser send requests here. It then names the page
/// in `Origin`, unless the site has given its own name this proxy's address (DNS rebinding); that
/// name is in `Host`.
fn check_browser(head: &Parts, is_open: bool) -> Result<(), Refusal> {
    let host = host(head)?;
    // Behind a proxy that adds TLS it is https.
    let is_own = |origin: &str| {
        let origin = origin.strip_prefix("http://").or(origin.strip_prefix("https://"));
        origin.is_some_and(|origin| origin.eq_ignore_ascii_case(host))
    };
    let mut origins = head.headers.get_all(ORIGIN).iter();
    if !origins.all(|origin| origin.to_str().is_ok_and(is_own)) {
        return Err(Refusal::new(StatusCode::FORBIDDEN, OTHER_SITE));
    }
    // A link on another site may lead to what is only read, which that site does not get to see.
    if !head.method.is_safe() && !is_fetched_by_us(&head.headers) {
        return Err(Refusal::new(StatusCode::FORBIDDEN, OTHER_SITE));
    }
    if is_open && !is_address(host) {
        return Err(Refusal::new(StatusCode::FORBIDDEN, NO_ADDRESS));
    }
    Ok(())
}

/// Whom the request is for: by its target, if that says it (RFC 9112, section 3.2.2), else by `Host`.
fn host(head: &Parts) -> Result<&str, Refusal> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok()).unwrap_or_default();
    if hosts.next().is_some() {
        return Err(Refusal::bad_request("the request has more than one Host header; keep one"));
    }
    Ok(head.uri.authority().map_or(host, Authority::as_str))
}

/// What a browser says of the page that asks, which pages cannot change: `none` is the person at it.
/// Those of another port or subdomain are `same-site`.
fn is_fetched_by_us(headers: &HeaderMap) -> bool {
    headers.get_all(SEC_FETCH_SITE).iter().all(|site| site == "same-origin" || site == "none")
}

/// Whether a `Host` is a name that only this machine can have given.
fn is_address(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let ip = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || ip.parse::<IpAddr>().is_ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_are_this_machines() {
        for host in
            ["127.0.0.1:9883", "127.0.0.1", "[::1]:9883", "[::1]", "LOCALHOST:1", "10.0.0.1"]
        {
            assert!(is_address(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:9883",
            "localhost.evil.example",
            "127.0.0.1.evil",
            ":1",
        ] {
            assert!(!is_address(host), "{host}");
        }
    }
}
