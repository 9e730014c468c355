//! Texts with a meaning: durations, sizes, addresses and environment variables.

use std::{
    net::{Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use super::fault::quote;

pub(super) const DURATION: &str = "a whole number with ms, s, m or h, such as 500ms, 10s, 5m, 1h";
pub(super) const SIZE: &str = "a whole number of bytes, KiB or MiB, such as 512, 64KiB, 1MiB";
pub(super) const BIND: &str = "IP:PORT, \"[IPV6]:PORT\" or unix:/PATH";
pub(super) const ADDRESS: &str = "IP:PORT, \"[IPV6]:PORT\", HOST:PORT or unix:/PATH";
pub(super) const PORT: &str = "a port from 1 to 65535";
pub(super) const DNS_NAME: &str = "a name in DNS, such as brokers.internal";

/// Why a text does not mean what it should, without what is allowed instead.
pub(super) type Wrong = String;

/// Units of time in milliseconds, the largest first.
const TIMES: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads `500ms`, `10s`, `5m` or `1h`.
pub(super) fn duration(text: &str) -> Result<Duration, Wrong> {
    let wrong = || not_a("duration", text);
    let (number, unit) = number_and_unit(text).ok_or_else(wrong)?;
    if unit.is_empty() {
        return Err(format!("{} has no unit", quote(text)));
    }
    let (_, millis) = TIMES.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    number.checked_mul(*millis).map(Duration::from_millis).ok_or_else(wrong)
}

/// Writes a duration as [`duration`] reads it, in the largest unit that is exact.
pub(super) fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let exact = |(_, unit): &&(&str, u64)| millis.is_multiple_of(u128::from(*unit));
    match TIMES.iter().find(exact) {
        Some((name, unit)) if millis > 0 => format!("{}{name}", millis / u128::from(*unit)),
        _ => "0s".to_owned(),
    }
}

/// Reads `512`, `64KiB` or `1MiB`, in bytes.
pub(super) fn size(text: &str) -> Result<usize, Wrong> {
    let (number, unit) = number_and_unit(text).ok_or_else(|| not_a("size", text))?;
    let unit = match unit {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return Err(not_a("size", text)),
    };
    let bytes = number.checked_mul(unit).and_then(|bytes| usize::try_from(bytes).ok());
    bytes.ok_or_else(|| not_a("size", text))
}

/// An address as written, its path not yet made absolute.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Written<'a> {
    Ip(SocketAddr),
    Host(Arc<str>, u16),
    Unix(&'a str),
}

/// Reads `10.0.0.7:1883`, `[2001:db8::1]:1883`, `broker.internal:1883` or `unix:/path`.
pub(super) fn address(text: &str) -> Result<Written<'_>, Wrong> {
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok(Written::Unix(path));
    }
    if let Ok(address) = text.parse() {
        return Ok(Written::Ip(address));
    }
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    if text.parse::<Ipv6Addr>().is_ok() || host.parse::<Ipv6Addr>().is_ok() {
        return Err(format!("{} is IPv6 without brackets", quote(text)));
    }
    let port = number_and_unit(port).filter(|(_, unit)| unit.is_empty());
    let port = port.and_then(|(port, _)| u16::try_from(port).ok());
    let port = port.ok_or_else(|| format!("{} has no valid port", quote(text)))?;
    if is_host_name(host) {
        Ok(Written::Host(host.into(), port))
    } else {
        Err(not_a("address", text))
    }
}

/// Replaces every `${NAME}` by what `value_of` says that name stands for.
pub(super) fn expand(
    text: &str,
    value_of: impl Fn(&str) -> Result<String, Wrong>,
) -> Result<String, Wrong> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) =
            after.split_once('}').ok_or_else(|| format!("{} has ${{ without }}", quote(text)))?;
        expanded.push_str(before);
        expanded.push_str(&value_of(name)?);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit))
}

/// RFC 1123, section 2.1, and the underscores that names inside clusters have. A last label of
/// digits is a mistyped IPv4 address.
pub(super) fn is_host_name(host: &str) -> bool {
    let labels = host.strip_suffix('.').unwrap_or(host);
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let good = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(letter)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last_is_number =
        labels.rsplit('.').next().is_none_or(|label| label.bytes().all(|b| b.is_ascii_digit()));
    labels.len() <= 253 && labels.split('.').all(good) && !last_is_number
}

fn not_a(kind: &str, text: &str) -> Wrong {
    let article = if kind.starts_with('a') { "an" } else { "a" };
    format!("{} is not {article} {kind}", quote(text))
}
