//! Reading words, names, addresses, paths and other texts.

use std::{
    fmt::Display,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Address, Bind, LOG_FIELDS, LogLineFormat,
    fault::quote,
    quantities,
    section::{Item, Read, Reported},
    units::{self, ADDRESS, BIND, DNS_NAME, PORT, Written},
};

/// A name; it becomes a metric label and a part of log lines.
pub(super) fn name(item: &Item<'_>) -> Read<Arc<str>> {
    const ALLOWED: &str = "printable text without spaces, quotes, backslashes and ${";
    let text = item.text(ALLOWED)?;
    if !is_name(text) {
        return Err(item.wrong(&format!("{} is not a name", quote(text)), ALLOWED));
    }
    Ok(text.into())
}

/// Whether a text can be a name.
pub fn is_name(text: &str) -> bool {
    // What escaping leaves as it is can neither break a line nor end a quoted string.
    let plain = |c: char| !c.is_whitespace() && c.escape_debug().count() == 1;
    !text.is_empty() && text.chars().all(plain) && !text.contains("${")
}

/// One of a few words.
pub(super) fn one_of<T: Copy>(item: &Item<'_>, words: &[(&str, T)]) -> Read<T> {
    let allowed = list_of(words);
    let text = item.text(&allowed)?;
    match words.iter().find(|(word, _)| *word == text) {
        Some((_, value)) => Ok(*value),
        None => Err(item.wrong(&format!("{} is unknown", quote(text)), &allowed)),
    }
}

/// One of a few words, or a number or quantity.
pub(super) fn one_of_or<T: Copy>(
    item: &Item<'_>,
    words: &[(&str, T)],
    quantity: &str,
    read: impl FnOnce(&Item<'_>) -> Read<T>,
) -> Read<T> {
    let allowed = format!("{}, or {quantity}", list_of(words));
    let text = item.text(&allowed)?;
    match words.iter().find(|(word, _)| *word == text) {
        Some((_, value)) => Ok(*value),
        None if text.starts_with(|c: char| c.is_ascii_digit() || c == '-') => read(item),
        None => Err(item.wrong(&format!("{} is unknown", quote(text)), &allowed)),
    }
}

pub(super) fn boolean(item: &Item<'_>) -> Read<bool> {
    item.unquoted("true, false")?;
    one_of(item, &[("true", true), ("false", false)])
}

pub(super) fn port(item: &Item<'_>) -> Read<u16> {
    quantities::number(item, &(1..=u16::MAX))
}

/// A name in DNS, of a host or of other records.
pub(super) fn dns_name(item: &Item<'_>) -> Read<Arc<str>> {
    let text = item.expanded(DNS_NAME)?;
    if !units::is_host_name(&text) {
        return Err(item.wrong(&format!("{} is not a name in DNS", quote(&text)), DNS_NAME));
    }
    Ok(text.into())
}

/// An IP address and a port, of a server that has no name yet.
pub(super) fn ip_and_port(item: &Item<'_>) -> Read<SocketAddr> {
    const ALLOWED: &str = "IP:PORT or \"[IPV6]:PORT\"";
    let text = item.expanded(ALLOWED)?;
    match item.understood(units::address(&text), ALLOWED)? {
        Written::Ip(address) if address.port() != 0 => Ok(address),
        Written::Ip(_) => Err(item.port_zero(&text)),
        Written::Host(..) | Written::Unix(_) => {
            Err(item.wrong(&format!("{} is not an IP address", quote(&text)), ALLOWED))
        }
    }
}

/// A string of MQTT: up to 65,535 bytes, and control characters should not be in it (3.1.1 and 5.0,
/// section 1.5).
pub(super) fn mqtt_string(item: &Item<'_>) -> Read<Arc<str>> {
    const ALLOWED: &str = "up to 65535 bytes without control characters";
    let text = item.text(ALLOWED)?;
    if text.len() > usize::from(u16::MAX) || text.contains(char::is_control) {
        return Err(item.wrong(&format!("{} cannot be sent", quote(text)), ALLOWED));
    }
    Ok(text.into())
}

/// A user of HTTP's basic authentication, whose name ends at a colon (RFC 7617, section 2).
pub(super) fn http_username(item: &Item<'_>) -> Read<Arc<str>> {
    const ALLOWED: &str = "text without colons and control characters";
    let text = item.text(ALLOWED)?;
    if text.contains(':') || text.contains(char::is_control) {
        return Err(item.wrong(&format!("{} cannot be sent", quote(text)), ALLOWED));
    }
    Ok(text.into())
}

/// The path of a request, with its query (RFC 3986, sections 3.3 and 3.4).
pub(super) fn http_path(item: &Item<'_>) -> Read<Arc<str>> {
    const ALLOWED: &str = "/, and what a URL has after it: letters, digits, -._~!$&'()*+,;=:@/? \
                           and %XX for anything else";
    let text = item.text(ALLOWED)?;
    let is_sent =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(&byte);
    if !text.starts_with('/') || !text.bytes().all(is_sent) {
        return Err(item.wrong(&format!("{} is not a path", quote(text)), ALLOWED));
    }
    Ok(text.into())
}

/// A local address to listen on.
pub(super) fn bind(item: &Item<'_>) -> Read<Bind> {
    let text = item.expanded(BIND)?;
    match item.understood(units::address(&text), BIND)? {
        Written::Ip(SocketAddr::V6(v6)) if v6.ip().to_ipv4_mapped().is_some() => {
            // Our IPv6 sockets are IPv6 only.
            Err(item.wrong(&format!("{} is IPv4 written as IPv6", quote(&text)), BIND))
        }
        Written::Ip(address) => Ok(Bind::Tcp(address)),
        Written::Host(..) => Err(item.wrong(&format!("{} is a host name", quote(&text)), BIND)),
        Written::Unix(path) => {
            let path = item.socket_path(path)?;
            item.needs_folder(&path)?;
            Ok(Bind::Unix(path))
        }
    }
}

/// An address of this host, to connect from.
pub(super) fn source_address(item: &Item<'_>) -> Read<IpAddr> {
    const ALLOWED: &str = "IP addresses of this host, without ports";
    let text = item.expanded(ALLOWED)?;
    let wrong = |what: &str| Err(item.wrong(&format!("{} {what}", quote(&text)), ALLOWED));
    let Ok(address) = text.parse::<IpAddr>() else { return wrong("is not an IP address") };
    match address {
        _ if address.is_unspecified() => wrong("is every address and none"),
        _ if address.is_multicast() => wrong("is a group's address"),
        IpAddr::V4(v4) if v4.is_broadcast() => wrong("is everybody's address"),
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => wrong("is IPv4 written as IPv6"),
        // It would take the name of an interface as well.
        IpAddr::V6(v6) if v6.is_unicast_link_local() => wrong("is an address of one link alone"),
        _ => Ok(address),
    }
}

/// A broker's address.
pub(super) fn address(item: &Item<'_>) -> Read<Address> {
    let text = item.expanded(ADDRESS)?;
    let address = match item.understood(units::address(&text), ADDRESS)? {
        Written::Ip(address) if address.port() != 0 => Address::Ip(address),
        Written::Host(name, port) if port != 0 => Address::Host(name, port),
        Written::Unix(path) => Address::Unix(item.socket_path(path)?),
        Written::Ip(_) | Written::Host(..) => return Err(item.port_zero(&text)),
    };
    Ok(address)
}

/// A file to write; its folder must be there.
pub(super) fn output_file(item: &Item<'_>) -> Read<PathBuf> {
    const ALLOWED: &str = "the path of a file, or /dev/stdout";
    let text = item.expanded(ALLOWED)?;
    let path = item.reader.absolute(&text);
    if matches!(text.as_str(), "" | "-" | "stdout" | "stderr") || path.is_dir() {
        return Err(item.wrong(&format!("{} is not a file", quote(&text)), ALLOWED));
    }
    item.needs_folder(&path)?;
    Ok(path)
}

/// `json`, `text` or a template.
pub(super) fn log_line_format(item: &Item<'_>) -> Read<LogLineFormat> {
    const ALLOWED: &str = "json, text, or one line with ${field} variables";
    let text = item.text(ALLOWED)?;
    match text {
        "json" => return Ok(LogLineFormat::Json),
        "text" => return Ok(LogLineFormat::Text),
        _ if !text.contains("${") || text.contains(char::is_control) => {
            return Err(item.wrong(&format!("{} is no format", quote(text)), ALLOWED));
        }
        _ => {}
    }
    let known = |name: &str| LOG_FIELDS.contains(&name).then(String::new);
    let field = |name: &str| known(name).ok_or_else(|| format!("{} is not a field", quote(name)));
    item.understood(units::expand(text, field), &LOG_FIELDS.join(", "))?;
    Ok(LogLineFormat::Template(text.into()))
}

/// A text with a parser of its own, whose errors say what is allowed.
pub(super) fn parsed<T, E: Display>(
    item: &Item<'_>,
    allowed: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Read<T> {
    parse(item.text(allowed)?).map_err(|error| item.fault(error.to_string()))
}

impl Item<'_> {
    /// A text with its environment variables replaced.
    pub(super) fn expanded(&self, allowed: &str) -> Read<String> {
        let value_of = |name: &str| {
            (self.reader.env)(name)
                .ok_or_else(|| format!("the environment variable {} is not set", quote(name)))
        };
        let expanded = units::expand(self.text(allowed)?, value_of);
        let expanded = self.understood(expanded, "${NAME} of a variable that is set")?;
        // A zero ends a path in the middle, a line feed a log line.
        if expanded.contains(char::is_control) {
            let what = format!("{} has a control character", quote(&expanded));
            return Err(self.wrong(&what, allowed));
        }
        Ok(expanded)
    }

    pub(super) fn port_zero(&self, address: &str) -> Reported {
        self.wrong(&format!("{} has port 0", quote(address)), PORT)
    }

    pub(super) fn socket_path(&self, path: &str) -> Read<PathBuf> {
        // The 108 bytes of sun_path end in a zero: unix(7).
        const LONGEST: usize = 107;
        let absolute = self.reader.absolute(path);
        if path.is_empty() || absolute.as_os_str().len() > LONGEST {
            let allowed = format!("a path of 1 to {LONGEST} bytes, its folder included");
            return Err(self.wrong(&format!("{} is no socket's path", quote(path)), &allowed));
        }
        Ok(absolute)
    }

    fn needs_folder(&self, path: &Path) -> Read<()> {
        match path.parent() {
            // A relative config file's own folder.
            Some(folder) if folder.as_os_str().is_empty() || folder.is_dir() => Ok(()),
            _ => {
                let path = quote(&path.to_string_lossy());
                Err(self.wrong(&format!("the folder of {path} is missing"), "a folder that exists"))
            }
        }
    }
}

fn list_of<T>(words: &[(&str, T)]) -> String {
    words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ")
}
