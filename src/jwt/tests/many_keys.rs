//! Files with many keys: what they cost to read, and what a token may cost to verify.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::issuer::{Issuer, jwk_set};
use crate::jwt::{Algorithm, JwtError, Keys, Verifier};

const NOW: u64 = 1_700_000_000;

fn verifier(keys: &str) -> Verifier {
    let keys = Keys::parse(keys.as_bytes()).unwrap();
    Verifier { keys, algorithms: vec![Algorithm::ES256], issuer: None, audience: None, leeway: 0 }
}

fn nameless(issuer: &Issuer) -> Value {
    let mut jwk = issuer.jwk();
    jwk.as_object_mut().unwrap().remove("kid");
    jwk
}

fn p256(id: &'static str) -> Issuer {
    Issuer::new("P-256", id)
}

/// Eight signatures at most, whatever the number of keys.
#[test]
fn eight_keys_are_tried() {
    let issuers: Vec<_> = (0..9).map(|_| p256("key")).collect();
    let pem: String = issuers.iter().map(Issuer::pem).collect();
    let without_ids: Vec<_> = issuers.iter().map(nameless).collect();
    let with_one_id: Vec<_> = issuers.iter().map(Issuer::jwk).collect();
    for keys in [pem, jwk_set(&without_ids), jwk_set(&with_one_id)] {
        let verifier = verifier(&keys);
        for (n, issuer) in issuers.iter().enumerate() {
            let expected = if n < 8 { Ok(()) } else { Err(JwtError::Signature) };
            for header in [json!({ "alg": "ES256" }), json!({ "alg": "ES256", "kid": "key" })] {
                let token = issuer.signed(&header, &json!({}));
                assert_eq!(verifier.verify(token.as_bytes(), NOW).map(drop), expected, "{n}");
            }
        }
    }
}

/// A key that the token names is found behind any number of keys without an ID, which count last.
#[test]
fn the_named_key_is_tried_first() {
    let (named, last) = (p256("named"), p256("last"));
    let mut keys: Vec<_> = (0..20).map(|_| nameless(&p256(""))).collect();
    keys[7] = nameless(&last);
    keys.push(named.jwk());
    let verifier = verifier(&jwk_set(&keys));
    let token = named.token(&json!({}));
    assert!(verifier.verify(token.as_bytes(), NOW).is_ok());
    let header = json!({ "alg": "ES256", "kid": "unknown" });
    assert!(verifier.verify(last.signed(&header, &json!({})).as_bytes(), NOW).is_ok());
    // The named key takes one of the eight tries.
    let header = json!({ "alg": "ES256", "kid": "named" });
    let token = last.signed(&header, &json!({}));
    assert_eq!(verifier.verify(token.as_bytes(), NOW), Err(JwtError::Signature));
}

/// 10,000 keys in 1.4 MiB, and one key in a file of 1 MiB.
#[test]
fn large_files() {
    // A key pair is slower to make than a key is to read, so that they repeat.
    let jwks: Vec<_> = (0..100).map(|_| nameless(&p256(""))).collect();
    let mut keys: Vec<_> = jwks.iter().cycle().take(9_999).cloned().collect();
    for (n, key) in keys.iter_mut().enumerate() {
        key["kid"] = format!("key-{n}").into();
    }
    let last = p256("last");
    keys.push(last.jwk());
    let set = jwk_set(&keys);
    assert!(set.len() > 1 << 20);
    let start = Instant::now();
    let verifier = verifier(&set);
    let read = start.elapsed();
    let token = last.token(&json!({}));
    let strange = last.signed(&json!({ "alg": "ES256", "kid": "unknown" }), &json!({}));
    let any = last.signed(&json!({ "alg": "ES256" }), &json!({}));
    let cost = |token: &str, expected: &Result<(), JwtError>| {
        let start = Instant::now();
        for _ in 0..20 {
            assert_eq!(&verifier.verify(token.as_bytes(), NOW).map(drop), expected);
        }
        start.elapsed() / 20
    };
    let found = cost(&token, &Ok(()));
    let unknown = JwtError::UnknownKey { algorithm: "ES256", key_id: Some("\"unknown\"".into()) };
    let not_found = cost(&strange, &Err(unknown));
    let tried = cost(&any, &Err(JwtError::Signature));
    println!("{} bytes: {read:?}; found {found:?}, not {not_found:?}, tried {tried:?}", set.len());
    // Far more than a loaded machine needs, far less than 10,000 signatures take.
    assert!([found, not_found, tried].into_iter().all(|cost| cost < Duration::from_millis(100)));

    let padded = format!("{}{}", " ".repeat(1 << 20), jwk_set(&[last.jwk()]));
    let commented = format!("{}{}", "# a comment\n".repeat(100_000), last.pem());
    for file in [padded, commented] {
        let verifier = self::verifier(&file);
        assert!(verifier.verify(token.as_bytes(), NOW).is_ok());
    }
    // Not a key in it.
    for file in ["{".repeat(1 << 20), "A".repeat(1 << 20), "-----BEGIN ".repeat(100_000)] {
        assert!(Keys::parse(file.as_bytes()).is_err());
    }
}
