mod kept;
mod oracle;
mod v1;
mod v2;

use std::net::SocketAddr;

use super::{Header, HeaderAddresses, HeaderError, HeaderProgress, parse};

fn addresses(source: &str, destination: &str) -> HeaderAddresses {
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    HeaderAddresses { source: address(source), destination: address(destination) }
}

/// Parses a header in every split, alone and with bytes after it, and asserts that all results are
/// the same.
#[track_caller]
fn read(bytes: &[u8]) -> Result<Header, HeaderError> {
    let verdict = parse(bytes);
    assert_ne!(verdict, Ok(HeaderProgress::Incomplete), "{}", bytes.escape_ascii());
    for end in 0..bytes.len() {
        match parse(&bytes[..end]) {
            Ok(HeaderProgress::Incomplete) => {}
            early => assert_eq!(early, verdict, "{end} bytes"),
        }
    }
    let behind = [bytes, b"\x10\x0C\x00\x04MQTT"].concat();
    assert_eq!(parse(&behind), verdict);
    match verdict? {
        HeaderProgress::Complete { header, len } => {
            assert_eq!(len, bytes.len());
            Ok(header)
        }
        HeaderProgress::Incomplete => unreachable!(),
    }
}

#[test]
fn what_is_no_header_is_known_by_its_first_bytes() {
    for bytes in [&b"\x10"[..], b"\x00", b"G", b"\x16\x03\x01", b"\xFF"] {
        assert_eq!(parse(bytes), Err(HeaderError::Missing(bytes[0])));
    }
    for bytes in [&b"PROXX"[..], b"PROXY\t", b"proxy ", b"\r\n\r\n\n", b"\r\n\r\n\0\r\nQUIT\r"] {
        assert_eq!(parse(bytes), Err(HeaderError::Missing(bytes[0])), "{}", bytes.escape_ascii());
    }
    for bytes in [&b""[..], b"P", b"PROXY", b"\r", b"\r\n\r\n\0\r\nQUIT"] {
        assert_eq!(parse(bytes), Ok(HeaderProgress::Incomplete));
    }
}
