//! The cryptography and the protocol versions of all TLS connections.

use std::sync::Arc;

use rustls::{
    SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    version::{TLS12, TLS13},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The lowest version of TLS that is spoken. 1.0 and 1.1 are deprecated (RFC 8996).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[schemars(rename = "TlsVersion")]
pub(crate) enum MinVersion {
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    #[serde(rename = "1.3")]
    Tls13,
}

impl MinVersion {
    pub(super) fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        const FROM_1_2: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
        const FROM_1_3: &[&SupportedProtocolVersion] = &[&TLS13];
        match self {
            Self::Tls12 => FROM_1_2,
            Self::Tls13 => FROM_1_3,
        }
    }
}

/// The only place that chooses a cryptographic library. It prefers X25519MLKEM768, and does not
/// depend on a default provider of the process.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
