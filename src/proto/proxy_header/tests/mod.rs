mod oracle;
mod v1;
mod v2;

use std::net::SocketAddr;

use super::{Addresses, Header, Invalid, Progress, parse};

fn addresses(source: &str, destination: &str) -> Addresses {
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    Addresses { source: address(source), destination: address(destination) }
}

/// Reads a header that came in every split there is, alone and with bytes behind it; all get the
/// one verdict.
#[track_caller]
fn read(bytes: &[u8]) -> Result<Header, Invalid> {
    let verdict = parse(bytes);
    assert_ne!(verdict, Ok(Progress::Incomplete), "{}", bytes.escape_ascii());
    for end in 0..bytes.len() {
        match parse(&bytes[..end]) {
            Ok(Progress::Incomplete) => {}
            early => assert_eq!(early, verdict, "{end} bytes"),
        }
    }
    let behind = [bytes, b"\x10\x0C\x00\x04MQTT"].concat();
    assert_eq!(parse(&behind), verdict);
    match verdict? {
        Progress::Complete { header, len } => {
            assert_eq!(len, bytes.len());
            Ok(header)
        }
        Progress::Incomplete => unreachable!(),
    }
}

#[test]
fn what_is_no_header_is_known_by_its_first_bytes() {
    for bytes in [&b"\x10"[..], b"\x00", b"G", b"\x16\x03\x01", b"\xFF"] {
        assert_eq!(parse(bytes), Err(Invalid::Missing(bytes[0])));
    }
    for bytes in [&b"PROXX"[..], b"PROXY\t", b"proxy ", b"\r\n\r\n\n", b"\r\n\r\n\0\r\nQUIT\r"] {
        assert_eq!(parse(bytes), Err(Invalid::Missing(bytes[0])), "{}", bytes.escape_ascii());
    }
    for bytes in [&b""[..], b"P", b"PROXY", b"\r", b"\r\n\r\n\0\r\nQUIT"] {
        assert_eq!(parse(bytes), Ok(Progress::Incomplete));
    }
}
