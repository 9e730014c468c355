//! TLS 1.2 whose keys are used up after few records, for tests: rustls enforces the limit itself.

use std::sync::Arc;

use rustls::{
    CipherSuiteCommon, SupportedCipherSuite, Tls12CipherSuite,
    crypto::{
        CryptoProvider,
        aws_lc_rs::{
            cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 as AES_128_GCM, default_provider,
        },
    },
};

/// A provider of one suite, AES-128-GCM, which encrypts at most `limit` records with one key.
pub(crate) fn provider(limit: u64) -> Arc<CryptoProvider> {
    let SupportedCipherSuite::Tls12(suite) = AES_128_GCM else {
        panic!("{AES_128_GCM:?} is not of TLS 1.2")
    };
    let CipherSuiteCommon { suite: id, hash_provider, .. } = suite.common;
    let limited = Tls12CipherSuite {
        common: CipherSuiteCommon { suite: id, hash_provider, confidentiality_limit: limit },
        prf_provider: suite.prf_provider,
        kx: suite.kx,
        sign: suite.sign,
        aead_alg: suite.aead_alg,
    };
    // rustls takes suites that are never freed.
    let suites = vec![SupportedCipherSuite::Tls12(Box::leak(Box::new(limited)))];
    Arc::new(CryptoProvider { cipher_suites: suites, ..default_provider() })
}
