//! Compares with `ppp`, which shares no code with this crate: both must parse the same bytes alike.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ppp::{HeaderResult, PartialResult, v1, v2};
use proptest::prelude::*;

use crate::proto::{
    CertificateFacts, TlsFacts,
    proxy_header::{
        DetectedHeader, Header, HeaderAddresses, HeaderError, HeaderProgress, detect, parse,
        write_v1, write_v2,
    },
};

fn address() -> impl Strategy<Value = SocketAddr> {
    let v4 = any::<[u8; 4]>().prop_map(IpAddr::from);
    let v6 = any::<[u8; 16]>().prop_map(IpAddr::from);
    let mapped = any::<[u8; 4]>().prop_map(|ip| Ipv4Addr::from(ip).to_ipv6_mapped().into());
    (prop_oneof![v4, v6, mapped], any::<u16>()).prop_map(SocketAddr::from)
}

fn pair() -> impl Strategy<Value = Option<HeaderAddresses>> {
    proptest::option::of(
        (address(), address()).prop_map(|(from, to)| HeaderAddresses::new(from, to)),
    )
}

fn facts() -> impl Strategy<Value = Option<TlsFacts>> {
    let text = || proptest::option::of("\\PC{1,40}");
    let alpn = proptest::option::of(proptest::collection::vec(any::<u8>(), 1..40));
    let facts = (text(), text(), text(), text(), alpn, any::<bool>()).prop_map(|facts| {
        let (version, cipher, sni, cn, alpn, has_certificate) = facts;
        TlsFacts {
            certificate: (has_certificate || cn.is_some()).then(|| {
                let common_name = cn.map(Into::into);
                Box::new(CertificateFacts { common_name, ..CertificateFacts::default() })
            }),
            version: version.map(Into::into),
            cipher: cipher.map(Into::into),
            sni: sni.map(Into::into),
            ignored_sni: None,
            alpn: alpn.map(Into::into),
        }
    });
    proptest::option::of(
        facts.prop_filter("of a client that used TLS", |facts| *facts != TlsFacts::default()),
    )
}

fn as_v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

/// What `ppp` calls a pair of addresses that are not both IPv4.
macro_rules! expected {
    ($version:ident, $none:expr, $of:expr) => {
        match $of {
            None => $none,
            Some(HeaderAddresses {
                source: SocketAddr::V4(from),
                destination: SocketAddr::V4(to),
            }) => $version::IPv4::new(*from.ip(), *to.ip(), from.port(), to.port()).into(),
            Some(HeaderAddresses { source, destination }) => {
                let (from, to) = (as_v6(source.ip()), as_v6(destination.ip()));
                $version::IPv6::new(from, to, source.port(), destination.port()).into()
            }
        }
    };
}

/// Errors that `ppp` does not report: it reads no TLVs, has no length limit, and is less strict
/// about ports.
fn is_stricter(invalid: HeaderError) -> bool {
    use HeaderError as I;
    matches!(
        invalid,
        I::TooLong { .. }
            | I::Truncated
            | I::Duplicate(_)
            | I::Length(_)
            | I::Utf8(_)
            | I::Checksum
            | I::Port
    )
}

/// Headers with some bytes changed.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let good = (pair(), facts(), any::<bool>()).prop_map(|(pair, facts, text)| {
        if text { write_v1(pair) } else { write_v2(pair, facts.as_ref(), b"id", []) }
    });
    let damage = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (good, damage, any::<prop::sample::Index>()).prop_map(|(mut bytes, damage, end)| {
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(end.index(bytes.len() * 2).max(1));
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_written_in_v1(addresses in pair()) {
        let line = write_v1(addresses);
        let read = v1::Header::try_from(&line[..]).unwrap();
        prop_assert_eq!(read.addresses, expected!(v1, v1::Addresses::Unknown, addresses));
        let header = Header { addresses, ..Header::default() };
        prop_assert_eq!(parse(&line), Ok(HeaderProgress::Complete { header, len: line.len() }));
    }

    #[test]
    fn what_is_written_in_v2(
        addresses in pair(),
        tls in facts(),
        id in proptest::collection::vec(any::<u8>(), 1..128),
    ) {
        let bytes = write_v2(addresses, tls.as_ref(), &id, []);
        let read = v2::Header::try_from(&bytes[..]).unwrap();
        prop_assert_eq!(read.command, v2::Command::Proxy);
        let unspecified = v2::Addresses::Unspecified;
        prop_assert_eq!(read.addresses, expected!(v2, unspecified, addresses));
        // Without addresses, `ppp` takes the TLVs for an address.
        if addresses.is_some() {
            let value = |kind: v2::Type| {
                let mut tlvs = read.tlvs().map(Result::unwrap);
                tlvs.find(|tlv| tlv.kind == u8::from(kind)).map(|tlv| tlv.value.into_owned())
            };
            let of = |fact: fn(&TlsFacts) -> Option<&[u8]>| {
                tls.as_ref().and_then(fact).map(<[u8]>::to_vec)
            };
            prop_assert_eq!(value(v2::Type::UniqueId), Some(id.clone()));
            prop_assert_eq!(value(v2::Type::ALPN), of(|tls| tls.alpn.as_deref()));
            let sni = of(|tls| tls.sni.as_deref().map(str::as_bytes));
            prop_assert_eq!(value(v2::Type::Authority), sni);
            prop_assert!(value(v2::Type::CRC32C).is_some());
        }
        let header = Header { addresses, tls, unique_id: Some(id[..].into()) };
        prop_assert_eq!(parse(&bytes), Ok(HeaderProgress::Complete { header, len: bytes.len() }));
    }

    /// Both accept the same bytes, except where this parser is stricter.
    #[test]
    fn what_is_read(bytes in damaged()) {
        let ours = parse(&bytes);
        let theirs = HeaderResult::parse(&bytes);
        let text = bytes.escape_ascii().to_string();
        match ours {
            // `ppp` considers an incomplete line invalid.
            Ok(HeaderProgress::Incomplete) => {
                let is_text = detect(&bytes) != DetectedHeader::V2;
                prop_assert!(theirs.is_incomplete() || is_text, "{text}: {theirs:?}");
            }
            Ok(HeaderProgress::Complete { header, len }) => {
                let Some((source, their_len)) = source(&theirs) else {
                    return Err(TestCaseError::fail(format!("{text}: {theirs:?}")));
                };
                prop_assert_eq!(len, their_len, "{}", &text);
                prop_assert_eq!(header.addresses.map(|of| of.source), source, "{}", &text);
            }
            Err(invalid) => {
                let is_bad = source(&theirs).is_none();
                // `ppp` ends a line with UNKNOWN at an LF without a CR.
                let is_lf = invalid == HeaderError::Line && !bytes.windows(2).any(|two| two == b"\r\n");
                prop_assert!(is_bad || is_lf || is_stricter(invalid), "{text}: {invalid} {theirs:?}");
            }
        }
    }
}

/// The client and the length that `ppp` reads; `None`: no header, or an incomplete one.
fn source(read: &HeaderResult<'_>) -> Option<(Option<SocketAddr>, usize)> {
    let address = |ip: IpAddr, port| Some(SocketAddr::new(ip.to_canonical(), port));
    match read {
        HeaderResult::V1(read) => {
            let read = read.as_ref().ok()?;
            let source = match read.addresses {
                v1::Addresses::Unknown => None,
                v1::Addresses::Tcp4(of) => address(of.source_address.into(), of.source_port),
                v1::Addresses::Tcp6(of) => address(of.source_address.into(), of.source_port),
            };
            Some((source, read.header.len()))
        }
        HeaderResult::V2(read) => {
            let read = read.as_ref().ok()?;
            let is_client =
                read.command == v2::Command::Proxy && read.protocol == v2::Protocol::Stream;
            let source = match read.addresses {
                v2::Addresses::IPv4(of) => address(of.source_address.into(), of.source_port),
                v2::Addresses::IPv6(of) => address(of.source_address.into(), of.source_port),
                v2::Addresses::Unspecified | v2::Addresses::Unix(_) => None,
            };
            Some((source.filter(|_| is_client), read.len()))
        }
    }
}
