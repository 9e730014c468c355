//! The facts about an accepted TLS connection, for the log, the routing key and the PROXY header.

use std::borrow::Cow;

use rustls::{CipherSuite, CommonState, ProtocolVersion};

use super::certificate::certificate_facts;
use crate::proto::TlsFacts;

/// `sni`: the server name in the ClientHello; `ignored_sni`: one that is not a host name.
pub(super) fn facts(
    connection: &CommonState,
    sni: Option<Box<str>>,
    ignored_sni: Option<Box<str>>,
) -> TlsFacts {
    let certificate = connection.peer_certificates().and_then(<[_]>::first);
    TlsFacts {
        version: connection.protocol_version().map(version_name),
        cipher: connection.negotiated_cipher_suite().map(|suite| cipher_name(suite.suite())),
        sni,
        ignored_sni,
        certificate: certificate.map(|certificate| Box::new(certificate_facts(certificate))),
        alpn: connection.alpn_protocol().map(Box::from),
    }
}

fn version_name(version: ProtocolVersion) -> Cow<'static, str> {
    match version {
        ProtocolVersion::TLSv1_3 => Cow::Borrowed("TLSv1.3"),
        ProtocolVersion::TLSv1_2 => Cow::Borrowed("TLSv1.2"),
        other => Cow::Owned(format!("{other:?}")),
    }
}

fn cipher_name(suite: CipherSuite) -> Cow<'static, str> {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => Cow::Borrowed("TLS_AES_128_GCM_SHA256"),
        CipherSuite::TLS13_AES_256_GCM_SHA384 => Cow::Borrowed("TLS_AES_256_GCM_SHA384"),
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => {
            Cow::Borrowed("TLS_CHACHA20_POLY1305_SHA256")
        }
        other => match other.as_str() {
            Some(name) => Cow::Borrowed(name),
            None => Cow::Owned(format!("{other:?}")),
        },
    }
}
