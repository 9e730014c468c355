//! The client of a forwarded request, as the proxies in front of this one report it.

use std::net::{IpAddr, SocketAddr};

use crate::networks::PrefixSet;

/// The client of a request with these X-Forwarded-For headers, in their order. Each proxy appends
/// its own peer on the right, so entries are read from the right, as long as trusted proxies wrote
/// them.
///
/// `None`: there is no such header, or it is invalid. The port is 0 if the entry has none.
pub(super) fn client<'a>(
    headers: impl DoubleEndedIterator<Item = &'a [u8]>,
    trusted: &PrefixSet,
) -> Option<SocketAddr> {
    let mut client = None;
    for entry in headers.rev().flat_map(|header| header.rsplit(|&byte| byte == b',')) {
        let address = address(entry)?;
        client = Some(address);
        if !trusted.contains(address.ip()) {
            break;
        }
    }
    client
}

/// `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:4711`.
fn address(entry: &[u8]) -> Option<SocketAddr> {
    let entry = std::str::from_utf8(entry).ok()?.trim_matches([' ', '\t']);
    let bare = entry.strip_prefix('[').and_then(|entry| entry.strip_suffix(']')).unwrap_or(entry);
    let address = bare.parse().map(|ip: IpAddr| SocketAddr::new(ip, 0)).or_else(|_| entry.parse());
    let address: SocketAddr = address.ok()?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(headers: &[&str]) -> Option<String> {
        let trusted: PrefixSet =
            ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().unwrap()).into_iter().collect();
        let headers = headers.iter().map(|header| header.as_bytes());
        client(headers, &trusted).map(|address| address.to_string())
    }

    #[test]
    fn last_untrusted_entry() {
        for (headers, wanted) in [
            (&["192.0.2.1"][..], "192.0.2.1:0"),
            (&["192.0.2.1:4711"], "192.0.2.1:4711"),
            (&["2001:db8::1"], "[2001:db8::1]:0"),
            (&["[2001:db8::1]"], "[2001:db8::1]:0"),
            (&["[2001:db8::1]:4711"], "[2001:db8::1]:4711"),
            (&["::ffff:192.0.2.1"], "192.0.2.1:0"),
            // Entries to the left of an untrusted one can be forged.
            (&["198.51.100.9, 192.0.2.1"], "192.0.2.1:0"),
            (&["garbage, 192.0.2.1,10.1.1.1 ,\t10.2.2.2"], "192.0.2.1:0"),
            (&["198.51.100.9", "192.0.2.1", "10.1.1.1, fd00::1"], "192.0.2.1:0"),
            (&["192.0.2.1, ::ffff:10.1.1.1"], "192.0.2.1:0"),
            // If all are trusted, the first is the client.
            (&["10.3.3.3:5, 10.1.1.1"], "10.3.3.3:5"),
        ] {
            assert_eq!(of(headers).as_deref(), Some(wanted), "{headers:?}");
        }
    }

    #[test]
    fn invalid_entries() {
        for headers in [
            &[][..],
            &[""],
            &["unknown"],
            &["192.0.2.1, unknown"],
            &["192.0.2.1,"],
            &["192.0.2.1, garbage, 10.1.1.1"],
            &["192.0.2.300"],
            &["[192.0.2.1"],
            &["192.0.2.1:99999"],
            &["192.0.2.1 10.0.0.1"],
        ] {
            assert_eq!(of(headers), None, "{headers:?}");
        }
        assert_eq!(client([&b"\xFF"[..]].into_iter(), &PrefixSet::default()), None);
    }
}
