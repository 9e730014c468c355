//! The keys of a listener's `websocket`.

use std::sync::Arc;

use super::{
    Networks, WebSocket,
    fault::quote,
    proxy_protocol_keys::network,
    section::{Item, Read, Section},
    values,
};

pub(super) fn websocket(section: &mut Section<'_>) -> Read<WebSocket> {
    let path = section.or("path", "/mqtt", |item| {
        let path = values::http_path(item)?;
        if path.contains('?') {
            let what = format!("{} has a query, which is not looked at", quote(&path));
            return Err(item.wrong(&what, "a path without ?"));
        }
        Ok(path)
    });
    let forwarded_for = section.optional("forwarded_for", networks);
    let origins = section.optional("origins", |item| item.some(origin));
    Ok(WebSocket {
        path: path?,
        forwarded_for: forwarded_for?.unwrap_or_default(),
        origins: origins?,
    })
}

fn networks(item: &Item<'_>) -> Read<Networks> {
    item.some(network).map(Networks)
}

/// An origin as browsers write it (RFC 6454, section 6.2): no path, no default port.
fn origin(item: &Item<'_>) -> Read<Arc<str>> {
    const ALLOWED: &str = "SCHEME://HOST or SCHEME://HOST:PORT, such as https://app.example, without \
                           a path and without the scheme's own port; or \"null\"";
    let text = item.text(ALLOWED)?;
    let is_origin = || {
        let (scheme, host) = text.split_once("://")?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
        let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        let default_port = match scheme {
            "http" => ":80",
            "https" => ":443",
            _ => "://",
        };
        let is_good = !scheme.is_empty()
            && scheme.bytes().all(is_scheme)
            && !host.is_empty()
            && host.bytes().all(is_plain)
            && !host.ends_with(default_port);
        is_good.then_some(())
    };
    if text != "null" && is_origin().is_none() {
        return Err(item.wrong(&format!("{} is not an origin", quote(text)), ALLOWED));
    }
    Ok(text.into())
}
