//! The cryptography and the protocol versions of all TLS connections.

use std::sync::Arc;

use rustls::{
    SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    version::{TLS12, TLS13},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A version of TLS that is spoken. 1.0 and 1.1 are deprecated (RFC 8996).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub(crate) enum TlsVersion {
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    #[serde(rename = "1.3")]
    Tls13,
}

/// The versions from one to another, the newest first. `from` must not be the newer one.
pub(super) fn versions(
    from: TlsVersion,
    to: TlsVersion,
) -> &'static [&'static SupportedProtocolVersion] {
    const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
    const ONLY_1_2: &[&SupportedProtocolVersion] = &[&TLS12];
    const ONLY_1_3: &[&SupportedProtocolVersion] = &[&TLS13];
    match (from, to) {
        (TlsVersion::Tls12, TlsVersion::Tls13) => BOTH,
        (TlsVersion::Tls12, TlsVersion::Tls12) => ONLY_1_2,
        (TlsVersion::Tls13, _) => ONLY_1_3,
    }
}

/// The only place that chooses a cryptographic library. It prefers X25519MLKEM768, and does not
/// depend on a default provider of the process.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
