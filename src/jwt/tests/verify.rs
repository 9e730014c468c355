use std::borrow::Cow;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::issuer::{Issuer, base64url, jwk_set};
use crate::jwt::{Algorithm, JwtError, Keys, Verifier};

const NOW: u64 = 1_700_000_000;

fn verifier(keys: &str, algorithms: &[Algorithm]) -> Verifier {
    let keys = Keys::parse(keys.as_bytes()).unwrap();
    Verifier { keys, algorithms: algorithms.to_vec(), issuer: None, audience: None, leeway: 0 }
}

fn issuers() -> [Issuer; 4] {
    [
        Issuer::new("RSA", "rsa"),
        Issuer::new("P-256", "p256"),
        Issuer::new("P-384", "p384"),
        Issuer::new("Ed25519", "ed"),
    ]
}

const EACH: [Algorithm; 4] =
    [Algorithm::RS256, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDsa];

#[test]
fn tokens_of_every_key_are_verified() {
    let issuers = issuers();
    let set = jwk_set(&issuers.each_ref().map(Issuer::jwk));
    let pem: String = issuers.iter().map(Issuer::pem).collect();
    for keys in [set, pem] {
        let verifier = verifier(&keys, &[&EACH[..], &[Algorithm::PS256]].concat());
        for issuer in &issuers {
            let claims =
                json!({ "sub": "alice", "n": 7, "admin": true, "a": { "b": "c" }, "a.x": "y" });
            let claims = verifier.verify(issuer.token(&claims).as_bytes(), NOW).unwrap();
            let text = |name| claims.text(name).map(Cow::into_owned);
            assert_eq!(text("sub").as_deref(), Some("alice"));
            assert_eq!((text("n").as_deref(), text("admin").as_deref()), (Some("7"), Some("true")));
            assert_eq!((text("a.b").as_deref(), text("a.x").as_deref()), (Some("c"), Some("y")));
            assert_eq!((text("a"), text("none"), text("a.b.c")), (None, None, None));
        }
        let pss = issuers[0].signed(&json!({ "alg": "PS256" }), &json!({}));
        assert!(verifier.verify(pss.as_bytes(), NOW).is_ok());
    }
}

#[test]
fn a_token_counts_within_its_times() {
    let issuer = Issuer::new("P-256", "e");
    let mut verifier = verifier(&jwk_set(&[issuer.jwk()]), &[Algorithm::ES256]);
    for (leeway, claims, expected) in [
        (0, json!({ "exp": NOW + 1 }), Ok(())),
        // "on or after which the JWT MUST NOT be accepted": RFC 7519, section 4.1.4.
        (0, json!({ "exp": NOW }), Err(JwtError::Expired(0))),
        (0, json!({ "exp": NOW - 1 }), Err(JwtError::Expired(1))),
        (30, json!({ "exp": NOW - 29 }), Ok(())),
        (30, json!({ "exp": NOW - 30 }), Err(JwtError::Expired(30))),
        (0, json!({ "exp": 1.5 }), Err(JwtError::Expired(NOW - 1))),
        (0, json!({ "exp": "soon" }), Err(JwtError::Time("exp"))),
        (0, json!({ "exp": u64::MAX }), Ok(())),
        (u64::MAX, json!({ "exp": u64::MAX, "nbf": u64::MAX }), Ok(())),
        (0, json!({ "nbf": NOW }), Ok(())),
        (0, json!({ "nbf": NOW + 1 }), Err(JwtError::NotYetValid(1))),
        (30, json!({ "nbf": NOW + 30 }), Ok(())),
        (0, json!({ "nbf": [] }), Err(JwtError::Time("nbf"))),
        (0, json!({ "exp": null }), Err(JwtError::Time("exp"))),
        (0, json!({}), Ok(())),
    ] {
        verifier.leeway = leeway;
        let result = verifier.verify(issuer.token(&claims).as_bytes(), NOW).map(drop);
        assert_eq!(result, expected, "{leeway} {claims}");
    }
}

#[test]
fn a_token_is_for_its_audience() {
    let issuer = Issuer::new("Ed25519", "e");
    let mut verifier = verifier(&issuer.pem(), &[Algorithm::EdDsa]);
    (verifier.issuer, verifier.audience) = (Some("https://id.example".into()), Some("mqtt".into()));
    for (iss, aud, expected) in [
        (json!("https://id.example"), json!("mqtt"), Ok(())),
        (json!("https://id.example"), json!(["web", "mqtt"]), Ok(())),
        (json!("https://id.example/"), json!("mqtt"), Err(JwtError::Issuer)),
        (json!(["https://id.example"]), json!("mqtt"), Err(JwtError::Issuer)),
        (Value::Null, json!("mqtt"), Err(JwtError::Issuer)),
        (json!("https://id.example"), json!("MQTT"), Err(JwtError::Audience)),
        (json!("https://id.example"), json!(["web"]), Err(JwtError::Audience)),
        (json!("https://id.example"), Value::Null, Err(JwtError::Audience)),
    ] {
        let token = issuer.token(&json!({ "iss": iss, "aud": aud }));
        assert_eq!(verifier.verify(token.as_bytes(), NOW).map(drop), expected, "{iss} {aud}");
    }
}

/// A public key must not be taken for a secret, nor one kind of key for another.
#[test]
fn the_algorithm_is_one_of_the_list_and_of_the_key() {
    let [rsa, p256, p384, ed] = issuers();
    let set = jwk_set(&[rsa.jwk(), p256.jwk(), p384.jwk(), ed.jwk()]);
    let verifier = verifier(&set, &[&EACH[..], &[Algorithm::PS256]].concat());
    let claims = json!({ "sub": "alice" });
    let refused = |token: &str| verifier.verify(token.as_bytes(), NOW).unwrap_err();
    for algorithm in ["none", "HS256", "HS512", "RS384", "ES512", "", "rs256"] {
        let token = rsa.signed(&json!({ "alg": algorithm, "kid": "rsa" }), &claims);
        assert_eq!(refused(&token), JwtError::Algorithm(format!("{algorithm:?}")));
        let unsigned = format!("{}.", token.rsplit_once('.').unwrap().0);
        assert_eq!(refused(&unsigned), JwtError::Algorithm(format!("{algorithm:?}")));
    }
    // HMAC with the public key as its secret.
    let header = base64url(br#"{"alg":"HS256"}"#);
    let message = format!("{header}.{}", base64url(b"{}"));
    let secret = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, rsa.pem().as_bytes());
    let tag = aws_lc_rs::hmac::sign(&secret, message.as_bytes());
    let token = format!("{message}.{}", base64url(tag.as_ref()));
    assert_eq!(refused(&token), JwtError::Algorithm("\"HS256\"".to_owned()));

    let swapped = rsa.signed(&json!({ "alg": "PS256", "kid": "rsa" }), &claims);
    let swapped = swapped.replacen(
        &base64url(json!({ "alg": "PS256", "kid": "rsa" }).to_string().as_bytes()),
        &base64url(json!({ "alg": "RS256", "kid": "rsa" }).to_string().as_bytes()),
        1,
    );
    assert_eq!(refused(&swapped), JwtError::Signature);
    let other_key = p256.signed(&json!({ "alg": "ES256", "kid": "ed" }), &claims);
    assert_eq!(
        refused(&other_key),
        JwtError::UnknownKey { algorithm: "ES256", key_id: Some("\"ed\"".to_owned()) }
    );
    let critical = ed.signed(&json!({ "alg": "EdDSA", "crit": ["b64"], "b64": false }), &claims);
    assert_eq!(refused(&critical), JwtError::Critical);
    let null = ed.signed(&json!({ "alg": "EdDSA", "crit": null }), &claims);
    assert_eq!(refused(&null), JwtError::Critical);
    let strange = Issuer::new("P-256", "p256").token(&claims);
    assert_eq!(refused(&strange), JwtError::Signature);
    let long = p256.signed(&json!({ "alg": "x".repeat(5000) }), &claims);
    assert!(refused(&long).to_string().len() < 200);
}

#[test]
fn a_damaged_token_is_refused() {
    let issuer = Issuer::new("P-256", "e");
    let verifier = verifier(&jwk_set(&[issuer.jwk()]), &[Algorithm::ES256]);
    let token = issuer.token(&json!({ "sub": "alice" }));
    for len in 0..token.len() {
        assert!(verifier.verify(&token.as_bytes()[..len], NOW).is_err(), "{len}");
    }
    for at in 0..token.len() {
        let mut damaged = token.clone().into_bytes();
        damaged[at] = if damaged[at] == b'A' { b'B' } else { b'A' };
        // The last character of a part has bits that do not count.
        let kept = [Some(at + 1), None].contains(&token[at..].find('.').map(|dot| at + dot));
        assert!(verifier.verify(&damaged, NOW).is_err() || kept, "{at}");
    }
    assert_eq!(verifier.verify(b"", NOW), Err(JwtError::Absent));
    assert_eq!(verifier.verify(&vec![b'a'; 65_535], NOW), Err(JwtError::TooLong(65_535)));
    assert_eq!(verifier.verify(b"a.b.c", NOW), Err(JwtError::Malformed));
    let text = issuer.signed(&json!({ "alg": "ES256" }), &json!("no object"));
    assert_eq!(verifier.verify(text.as_bytes(), NOW), Err(JwtError::Malformed));
}

proptest! {
    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let issuer = Issuer::new("Ed25519", "e");
        let verifier = verifier(&issuer.pem(), &[Algorithm::EdDsa]);
        prop_assert!(verifier.verify(&bytes, NOW).is_err());
    }
}

/// What a CONNECT with a token costs.
#[test]
#[ignore = "a measurement"]
fn verification_cost() {
    for (kind, algorithm) in [("RSA", Algorithm::RS256), ("P-256", Algorithm::ES256)] {
        let issuer = Issuer::new(kind, "k");
        let verifier = verifier(&jwk_set(&[issuer.jwk()]), &[algorithm]);
        let token = issuer.token(&json!({ "sub": "alice", "exp": NOW + 60, "aud": ["mqtt"] }));
        let start = std::time::Instant::now();
        for _ in 0..2000 {
            assert!(verifier.verify(token.as_bytes(), NOW).is_ok());
        }
        println!("{algorithm}: {:?} a token", start.elapsed() / 2000);
    }
}
