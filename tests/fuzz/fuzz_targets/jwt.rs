//! No bytes but an issuer's own token are verified, and any bytes may be given as a file of keys.
//!
//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz jwt`

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mqtt_lb::testing::jwt::{Algorithm, JwtError, Keys, Verifier};

/// RSA, P-256 and Ed25519, without an ID (RFC 7515, appendix A.2 and A.3; RFC 8037, appendix A.2):
/// their tokens are in no input, and nobody makes others by chance.
const KEYS: &[u8] = br#"{"keys":[
{"kty":"RSA","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"},
{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

const NOW: u64 = 1_700_000_000;

static VERIFIER: LazyLock<Verifier> =
    LazyLock::new(|| verifier(Keys::parse(KEYS).expect("the keys of the standards")));

fn verifier(keys: Keys) -> Verifier {
    Verifier { keys, algorithms: Algorithm::ALL.to_vec(), issuer: None, audience: None, leeway: 30 }
}

fuzz_target!(|input: (&[u8], &[u8])| {
    let (token, file) = input;
    let refused = VERIFIER.verify(token, NOW).map(drop).expect_err("nobody has signed it");
    check(&refused);
    // The same with a header that is in order, so that the claims and the signature are read.
    for header in ["eyJhbGciOiJSUzI1NiJ9", "eyJhbGciOiJFUzI1NiJ9", "eyJhbGciOiJFZERTQSJ9"] {
        let token = [header.as_bytes(), b".", token].concat();
        let refused = VERIFIER.verify(&token, NOW).map(drop).expect_err("nobody has signed it");
        assert!(!matches!(refused, JwtError::Algorithm(_) | JwtError::UnknownKey { .. }));
        check(&refused);
    }
    match Keys::parse(file) {
        // With keys of the input, the input may have a token of theirs; it must not panic.
        Ok(keys) => drop(verifier(keys).verify(token, NOW)),
        Err(reason) => assert!(!reason.is_empty()),
    }
});

/// Why it was refused is one short line.
fn check(refused: &JwtError) {
    let text = refused.to_string();
    assert!(text.len() < 1024 && !text.contains(char::is_control), "{text}");
}
