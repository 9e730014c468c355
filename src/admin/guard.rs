//! Decides which requests are served: those with the token, and none from web pages of other sites.

use std::net::IpAddr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use hyper::{
    HeaderMap, StatusCode,
    header::{AUTHORIZATION, HOST, ORIGIN},
    http::{request::Parts, uri::Authority},
};

use super::response::ErrorResponse;
use crate::config::Secret;

/// Fetch Metadata Request Headers, section 2.3.
const SEC_FETCH_SITE: &str = "sec-fetch-site";

const NO_TOKEN: &str =
    "bearer token missing or wrong: send `Authorization: Bearer TOKEN`, as in admin.token_file";

const OTHER_SITE: &str =
    "the request is from a web page of another site (see its Origin or Sec-Fetch-Site header)";

const NO_ADDRESS: &str = "the Host header has a domain name, which any site could point here; use an \
    IP address or localhost, or set admin.token_file";

/// Whether a request is served. `by_tcp`: a browser could have sent it.
pub(super) fn check(
    head: &Parts,
    token: Option<&Secret>,
    by_tcp: bool,
) -> Result<(), ErrorResponse> {
    if by_tcp {
        check_browser(head, token.is_none())?;
    }
    let Some(token) = token else { return Ok(()) };
    let given = head.headers.get(AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
    if given.is_some_and(|given| verify_slices_are_equal(given, token.reveal().as_bytes()).is_ok())
    {
        return Ok(());
    }
    Err(ErrorResponse::new(StatusCode::UNAUTHORIZED, NO_TOKEN))
}

/// A page of another site can make its visitor's browser send requests here. The browser then puts
/// the page's origin into `Origin`. If the site's own name resolves to this proxy's address (DNS
/// rebinding), that name is in `Host` instead.
fn check_browser(head: &Parts, is_open: bool) -> Result<(), ErrorResponse> {
    let host = host(head)?;
    // https: behind a proxy that terminates TLS.
    let is_own = |origin: &str| {
        let origin = origin.strip_prefix("http://").or(origin.strip_prefix("https://"));
        origin.is_some_and(|origin| origin.eq_ignore_ascii_case(host))
    };
    let mut origins = head.headers.get_all(ORIGIN).iter();
    if !origins.all(|origin| origin.to_str().is_ok_and(is_own)) {
        return Err(ErrorResponse::new(StatusCode::FORBIDDEN, OTHER_SITE));
    }
    // Links from other sites are fine for reading: the other site does not see the response.
    if !head.method.is_safe() && !is_same_origin(&head.headers) {
        return Err(ErrorResponse::new(StatusCode::FORBIDDEN, OTHER_SITE));
    }
    if is_open && !is_address(host) {
        return Err(ErrorResponse::new(StatusCode::FORBIDDEN, NO_ADDRESS));
    }
    Ok(())
}

/// The host of the request: from its target, if that is absolute (RFC 9112, section 3.2.2), else
/// from
/// `Host`.
fn host(head: &Parts) -> Result<&str, ErrorResponse> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok()).unwrap_or_default();
    if hosts.next().is_some() {
        return Err(ErrorResponse::bad_request("the request has several Host headers; send one"));
    }
    Ok(head.uri.authority().map_or(host, Authority::as_str))
}

/// Whether a browser sent the request for a page of ours or for its user (`none`): pages cannot
/// change this header. Pages of another port or subdomain are `same-site`, and so not ours.
fn is_same_origin(headers: &HeaderMap) -> bool {
    headers.get_all(SEC_FETCH_SITE).iter().all(|site| site == "same-origin" || site == "none")
}

/// Whether a `Host` cannot be another site's name: an IP address or localhost.
fn is_address(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let ip = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || ip.parse::<IpAddr>().is_ok()
}

/// The token of an `Authorization` header (RFC 6750, section 2.1). The scheme is case-insensitive
/// (RFC 9110, section 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
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
