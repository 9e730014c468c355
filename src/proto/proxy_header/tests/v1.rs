use super::{addresses, read};
use crate::proto::proxy_header::{
    Header, HeaderAddresses, HeaderError, HeaderProgress, parse, write_v1,
};

fn line(said: &str) -> Result<Option<HeaderAddresses>, HeaderError> {
    read(format!("PROXY {said}\r\n").as_bytes()).map(|header| {
        assert_eq!(header, Header { addresses: header.addresses, ..Header::default() });
        header.addresses
    })
}

#[test]
fn what_lines_say() {
    let v4 = addresses("192.0.2.1:56324", "198.51.100.2:1883");
    assert_eq!(line("TCP4 192.0.2.1 198.51.100.2 56324 1883"), Ok(Some(v4)));
    let v6 = addresses("[2001:db8::1]:0", "[2001:db8::2]:65535");
    assert_eq!(line("TCP6 2001:DB8:0:0::1 2001:db8::2 0 65535"), Ok(Some(v6)));
    // An IPv4-mapped address is the same host as its IPv4 address.
    assert_eq!(line("TCP6 ::ffff:192.0.2.1 ::ffff:c633:6402 56324 1883"), Ok(Some(v4)));
    for unknown in ["UNKNOWN", "UNKNOWN ", "UNKNOWN ffff::1 \r\t\x07 1 2", "UNKNOWN TCP4 1 2 3"] {
        assert_eq!(line(unknown), Ok(None), "{unknown:?}");
    }
}

#[test]
fn what_is_wrong_with_a_line() {
    for (said, wrong) in [
        ("", HeaderError::Protocol),
        ("TCP5 192.0.2.1 198.51.100.2 1 2", HeaderError::Protocol),
        ("tcp4 192.0.2.1 198.51.100.2 1 2", HeaderError::Protocol),
        ("UNKNOWN2", HeaderError::Protocol),
        ("TCP4", HeaderError::Fields),
        ("TCP4 192.0.2.1 198.51.100.2 1", HeaderError::Fields),
        ("TCP4 192.0.2.1 198.51.100.2 1 2 ", HeaderError::Fields),
        ("TCP4 192.0.2.1 198.51.100.2  1 2", HeaderError::Fields),
        ("TCP4 192.0.2.1 198.51.100.2 1 2 3", HeaderError::Fields),
        ("TCP4 192.0.2.256 198.51.100.2 1 2", HeaderError::Address),
        ("TCP4 192.0.2.01 198.51.100.2 1 2", HeaderError::Address),
        ("TCP4 192.0.2.1 2001:db8::2 1 2", HeaderError::Address),
        ("TCP6 192.0.2.1 2001:db8::2 1 2", HeaderError::Address),
        ("TCP6 fe80::1%eth0 2001:db8::2 1 2", HeaderError::Address),
        ("TCP4 client 198.51.100.2 1 2", HeaderError::Address),
        ("TCP4 192.0.2.1 198.51.100.2 65536 2", HeaderError::Port),
        ("TCP4 192.0.2.1 198.51.100.2 1 +2", HeaderError::Port),
        ("TCP4 192.0.2.1 198.51.100.2 -1 2", HeaderError::Port),
        ("TCP4 192.0.2.1 198.51.100.2 0x1 2", HeaderError::Port),
    ] {
        assert_eq!(line(said), Err(wrong), "{said:?}");
    }
    assert_eq!(read(b"PROXY TCP4 192.0.2.\xFF 198.51.100.2 1 2\r\n"), Err(HeaderError::Fields));
    assert_eq!(read(b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2\n"), Err(HeaderError::Line));
    assert_eq!(read(b"PROXY \n"), Err(HeaderError::Line));
}

/// A line may have 107 bytes with CR LF; a longer one is refused without waiting for its end.
#[test]
fn a_line_is_bounded() {
    let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107 - 16));
    assert_eq!(longest.len(), 107);
    assert_eq!(read(longest.as_bytes()), Ok(Header::default()));
    let over = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107 - 15));
    assert_eq!(read(over.as_bytes()), Err(HeaderError::Line));
    assert_eq!(parse(&over.as_bytes()[..106]), Ok(HeaderProgress::Incomplete));
    assert_eq!(parse(&over.as_bytes()[..107]), Err(HeaderError::Line));
}

#[test]
fn what_is_written() {
    let written = |source, destination| {
        let line = write_v1(Some(addresses(source, destination)));
        assert_eq!(read(&line).unwrap().addresses, Some(addresses(source, destination)));
        String::from_utf8(line).unwrap()
    };
    assert_eq!(
        written("192.0.2.1:56324", "198.51.100.2:1883"),
        "PROXY TCP4 192.0.2.1 198.51.100.2 56324 1883\r\n"
    );
    assert_eq!(
        written("[2001:db8::1]:56324", "[2001:db8::2]:1883"),
        "PROXY TCP6 2001:db8::1 2001:db8::2 56324 1883\r\n"
    );
    assert_eq!(
        written("192.0.2.1:56324", "[2001:db8::2]:1883"),
        "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 56324 1883\r\n"
    );
    assert_eq!(
        written("[2001:db8::1]:56324", "198.51.100.2:1883"),
        "PROXY TCP6 2001:db8::1 ::ffff:198.51.100.2 56324 1883\r\n"
    );
    assert_eq!(write_v1(None), b"PROXY UNKNOWN\r\n");
    assert_eq!(read(&write_v1(None)), Ok(Header::default()));
}
