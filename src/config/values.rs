//! Reading one value of each kind that a config holds.

use std::{
    fmt::Display,
    fs,
    net::SocketAddr,
    num::NonZeroU32,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{
    Address, Bind, LOG_FIELDS, LogLineFormat,
    fault::quote,
    section::{Item, Read, Reported},
    units::{self, ADDRESS, BIND, DURATION, SIZE, Written, Wrong},
};

/// A name; it becomes a metric label and a part of log lines.
pub(super) fn name(item: &Item<'_>) -> Read<Arc<str>> {
    const ALLOWED: &str = "printable text without spaces, quotes, backslashes and ${";
    let text = item.text(ALLOWED)?;
    // What escaping leaves as it is can neither break a line nor end a quoted string.
    let plain = |c: char| !c.is_whitespace() && c.escape_debug().count() == 1;
    if text.is_empty() || !text.chars().all(plain) || text.contains("${") {
        return Err(item.wrong(&format!("{} is not a name", quote(text)), ALLOWED));
    }
    Ok(text.into())
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

/// A whole number from 1.
pub(super) fn positive(item: &Item<'_>, most: u32) -> Read<NonZeroU32> {
    let number = item.number(1..=most)?;
    NonZeroU32::new(number).ok_or_else(|| item.fault("is 0"))
}

/// A number of which 0 means "no limit".
pub(super) fn limit(item: &Item<'_>) -> Read<Option<NonZeroU32>> {
    item.number(0..=u32::MAX).map(NonZeroU32::new)
}

pub(super) fn duration(item: &Item<'_>, range: &RangeInclusive<Duration>) -> Read<Duration> {
    let duration = item.understood(units::duration(item.text(DURATION)?), DURATION)?;
    item.within(duration, range, units::show_duration)
}

/// A number of bytes.
pub(super) fn size(item: &Item<'_>, range: &RangeInclusive<usize>) -> Read<usize> {
    let size = item.understood(units::size(item.text(SIZE)?), SIZE)?;
    item.within(size, range, |bytes| format!("{bytes} bytes"))
}

/// A whole number from 0 to 100.
pub(super) fn percent(item: &Item<'_>) -> Read<u32> {
    item.number(0..=100)
}

/// A whole number of a range.
pub(super) fn integer(item: &Item<'_>, range: RangeInclusive<u32>) -> Read<u32> {
    item.number(range)
}

pub(super) fn port(item: &Item<'_>) -> Read<u16> {
    item.number(1..=u32::from(u16::MAX)).map(|port| port as u16)
}

/// A number that may have a fraction.
pub(super) fn decimal(item: &Item<'_>, range: &RangeInclusive<f64>) -> Read<f64> {
    let allowed = format!("a number from {} to {}", range.start(), range.end());
    let text = item.unquoted(&allowed)?;
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    match text.parse::<f64>() {
        Ok(number) if plain && range.contains(&number) => Ok(number),
        Ok(_) if plain => Err(item.wrong(&format!("{} is out of range", quote(text)), &allowed)),
        _ => Err(item.wrong(&format!("{} is not a number", quote(text)), &allowed)),
    }
}

/// The name of a host, or of records in DNS.
pub(super) fn host_name(item: &Item<'_>) -> Read<Arc<str>> {
    const ALLOWED: &str = "a name in DNS";
    let text = item.expanded(ALLOWED)?;
    if !units::is_host_name(&text) {
        return Err(item.wrong(&format!("{} is not a host name", quote(&text)), ALLOWED));
    }
    Ok(text.into())
}

/// An IP address and a port.
pub(super) fn ip_address(item: &Item<'_>) -> Read<SocketAddr> {
    const ALLOWED: &str = "IP:PORT or \"[IPV6]:PORT\"";
    let text = item.expanded(ALLOWED)?;
    match units::address(&text) {
        Ok(Written::Ip(address)) if address.port() != 0 => Ok(address),
        _ => Err(item.wrong(&format!("{} is not an address", quote(&text)), ALLOWED)),
    }
}

/// A text that an MQTT packet can carry.
pub(super) fn mqtt_text(item: &Item<'_>) -> Read<Arc<str>> {
    const ALLOWED: &str = "up to 65535 bytes of printable text";
    let text = item.text(ALLOWED)?;
    if text.len() > usize::from(u16::MAX) || text.contains(char::is_control) {
        return Err(item.wrong(&format!("{} cannot be sent", quote(text)), ALLOWED));
    }
    Ok(text.into())
}

/// A user of HTTP's basic authentication, whose name ends at a colon (RFC 7617, section 2).
pub(super) fn http_username(item: &Item<'_>) -> Read<Arc<str>> {
    const ALLOWED: &str = "printable text without a colon";
    let text = item.text(ALLOWED)?;
    if text.contains(':') || text.contains(char::is_control) {
        return Err(item.wrong(&format!("{} cannot be sent", quote(text)), ALLOWED));
    }
    Ok(text.into())
}

/// The path of a request, with its query.
pub(super) fn http_path(item: &Item<'_>) -> Read<Arc<str>> {
    const ALLOWED: &str = "a path that starts with / and has visible ASCII characters only";
    let text = item.text(ALLOWED)?;
    if !text.starts_with('/') || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
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

/// A broker's address.
pub(super) fn address(item: &Item<'_>) -> Read<Address> {
    let text = item.expanded(ADDRESS)?;
    let address = match item.understood(units::address(&text), ADDRESS)? {
        Written::Ip(address) if address.port() != 0 => Address::Ip(address),
        Written::Host(name, port) if port != 0 => Address::Host(name, port),
        Written::Unix(path) => Address::Unix(item.socket_path(path)?),
        Written::Ip(_) | Written::Host(..) => {
            let what = format!("{} has port 0", quote(&text));
            return Err(item.wrong(&what, "a port from 1 to 65535"));
        }
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

/// The secret that a file holds, in characters that an HTTP header can carry.
pub(super) fn secret_file(item: &Item<'_>) -> Read<Arc<str>> {
    const ALLOWED: &str = "a readable file with one token of visible ASCII characters";
    let text = item.expanded(ALLOWED)?;
    let file = quote(&text);
    let contents = fs::read_to_string(item.reader.absolute(&text))
        .map_err(|error| item.wrong(&format!("{file} cannot be read: {error}"), ALLOWED))?;
    let secret = contents.trim_ascii_end();
    if secret.is_empty() {
        return Err(item.wrong(&format!("{file} is empty"), ALLOWED));
    }
    if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(item.wrong(&format!("{file} holds other characters"), ALLOWED));
    }
    Ok(secret.into())
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
    fn expanded(&self, allowed: &str) -> Read<String> {
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

    fn socket_path(&self, path: &str) -> Read<PathBuf> {
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

    fn number(&self, range: RangeInclusive<u32>) -> Read<u32> {
        let allowed = format!("a whole number from {} to {}", range.start(), range.end());
        let text = self.unquoted(&allowed)?;
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(self.wrong(&format!("{} is not a whole number", quote(text)), &allowed));
        }
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| self.wrong(&format!("{} is out of range", quote(text)), &allowed))
    }

    fn within<T: PartialOrd + Copy>(
        &self,
        value: T,
        range: &RangeInclusive<T>,
        show: impl Fn(T) -> String,
    ) -> Read<T> {
        if range.contains(&value) {
            return Ok(value);
        }
        let allowed = format!("{} to {}", show(*range.start()), show(*range.end()));
        Err(self.wrong(&format!("{} is out of range", show(value)), &allowed))
    }

    fn understood<T>(&self, value: Result<T, Wrong>, allowed: &str) -> Read<T> {
        value.map_err(|wrong| self.wrong(&wrong, allowed))
    }

    fn wrong(&self, what: &str, allowed: &str) -> Reported {
        self.fault(format!("{what}; allowed: {allowed}"))
    }
}

fn list_of<T>(words: &[(&str, T)]) -> String {
    words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ")
}
