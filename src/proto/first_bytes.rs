//! Detects the protocol of a connection by its first bytes, to explain connections to a wrong port.

use super::proxy_header::{DetectedHeader, detect};

/// A protocol that clients speak on a wrong port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DetectedProtocol {
    Mqtt,
    Tls,
    Http,
    ProxyHeader,
}

/// The result of [`detect_protocol`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detection {
    Protocol(DetectedProtocol),
    /// More bytes are needed.
    Undecided,
    Unknown,
}

/// The methods of RFC 9110, section 9, and of RFC 5789, and the beginning of HTTP/2 (RFC 9113,
/// 3.4).
const METHODS: [&[u8]; 10] = [
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"PUT ",
    b"DELETE ",
    b"CONNECT ",
    b"OPTIONS ",
    b"TRACE ",
    b"PATCH ",
    b"PRI * ",
];

/// Detects a protocol by its first bytes.
///
/// One byte suffices, except for a `P`, which begins both a PROXY header and a POST, and for line
/// ends, which begin a PROXY header and which people type when they try a port by hand.
pub(crate) fn detect_protocol(bytes: &[u8]) -> Detection {
    let begins = |whole: &&[u8]| {
        let len = whole.len().min(bytes.len());
        bytes[..len] == whole[..len]
    };
    let is_proxy_header = match detect(bytes) {
        DetectedHeader::Undecided => bytes.starts_with(b"PRO") || bytes.contains(&0),
        DetectedHeader::V1 | DetectedHeader::V2 => true,
        DetectedHeader::Absent => {
            return match bytes {
                // MQTT 5.0, section 3.1.1; RFC 8446, section 5.1.
                [0x10, ..] => Detection::Protocol(DetectedProtocol::Mqtt),
                [0x16] | [0x16, 3, ..] => Detection::Protocol(DetectedProtocol::Tls),
                _ if METHODS.iter().any(begins) => Detection::Protocol(DetectedProtocol::Http),
                _ => Detection::Unknown,
            };
        }
    };
    if is_proxy_header {
        Detection::Protocol(DetectedProtocol::ProxyHeader)
    } else {
        Detection::Undecided
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::proxy_header::V2_LOCAL;

    #[test]
    fn every_prefix_is_detected_or_undecided() {
        let protocols: &[(&[u8], DetectedProtocol, usize)] = &[
            (b"GET / HTTP/1.1\r\n", DetectedProtocol::Http, 1),
            (b"HEAD / HTTP/1.1\r\n", DetectedProtocol::Http, 1),
            (b"DELETE /x HTTP/1.1\r\n", DetectedProtocol::Http, 1),
            (b"CONNECT h:1 HTTP/1.1\r\n", DetectedProtocol::Http, 1),
            (b"OPTIONS * HTTP/1.1\r\n", DetectedProtocol::Http, 1),
            (b"TRACE / HTTP/1.1\r\n", DetectedProtocol::Http, 1),
            (b"POST / HTTP/1.1\r\n", DetectedProtocol::Http, 2),
            (b"PUT / HTTP/1.1\r\n", DetectedProtocol::Http, 2),
            (b"PATCH / HTTP/1.1\r\n", DetectedProtocol::Http, 2),
            (b"PRI * HTTP/2.0\r\n", DetectedProtocol::Http, 3),
            (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n", DetectedProtocol::ProxyHeader, 3),
            (V2_LOCAL, DetectedProtocol::ProxyHeader, 5),
            (b"\x16\x03\x01\x02\x00\x01", DetectedProtocol::Tls, 1),
            (b"\x10\x0D\x00\x04MQTT", DetectedProtocol::Mqtt, 1),
        ];
        for (bytes, protocol, enough) in protocols {
            for len in 1..=bytes.len() {
                let wanted = if len < *enough {
                    Detection::Undecided
                } else {
                    Detection::Protocol(*protocol)
                };
                assert_eq!(detect_protocol(&bytes[..len]), wanted, "{:?}", &bytes[..len]);
            }
        }
    }

    #[test]
    fn unknown_protocols() {
        let others: [&[u8]; 10] = [
            b"P\x02\x00\x01",
            b"PRX",
            b"\x16\x02",
            b"\xC0\x00",
            b"GOT ",
            b"\r\nhello",
            b"\n",
            b"\r\n\r\n\r\n",
            b"hello",
            b"\x00",
        ];
        for bytes in others {
            assert_eq!(detect_protocol(bytes), Detection::Unknown, "{bytes:?}");
        }
    }
}
