//! The keys of what wraps a listener's MQTT.

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;

use super::{
    Networks, WebSocket,
    fault::quote,
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

/// Networks that are trusted.
pub(super) fn networks(item: &Item<'_>) -> Read<Networks> {
    item.some(network).map(Networks)
}

fn network(item: &Item<'_>) -> Read<IpNet> {
    const ALLOWED: &str = "a network such as 10.0.0.0/8 or \"2001:db8::/32\", or one address";
    let text = item.expanded(ALLOWED)?;
    let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let Ok(network): Result<IpNet, _> = network else {
        return Err(item.wrong(&format!("{} is not a network", quote(&text)), ALLOWED));
    };
    match network {
        // The peers of our sockets are compared as the IPv4 hosts that they are.
        IpNet::V6(v6) if v6.addr().to_ipv4_mapped().is_some() => {
            Err(item.wrong(&format!("{} is IPv4 written as IPv6", quote(&text)), ALLOWED))
        }
        _ if network.addr() != network.network() => {
            let what = format!("{} has bits behind its prefix", quote(&text));
            Err(item.wrong(&what, &network.trunc().to_string()))
        }
        _ => Ok(network),
    }
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
