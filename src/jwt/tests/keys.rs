use serde_json::{Value, json};

use super::issuer::{Issuer, jwk_set};
use crate::jwt::Keys;

fn wrong(contents: &str) -> String {
    Keys::parse(contents.as_bytes()).err().unwrap_or_default()
}

fn without(mut jwk: Value, name: &str) -> Value {
    jwk.as_object_mut().unwrap().remove(name);
    jwk
}

fn with(mut jwk: Value, name: &str, value: &str) -> Value {
    jwk[name] = value.into();
    jwk
}

#[test]
fn a_file_with_a_fault_is_refused_with_its_reason() {
    let (rsa, ec, ed) = (
        Issuer::new("RSA", "r").jwk(),
        Issuer::new("P-256", "e").jwk(),
        Issuer::new("Ed25519", "o").jwk(),
    );
    let set = |bad: Value| jwk_set(&[rsa.clone(), bad]);
    for (contents, reason) in [
        (String::new(), "holds no public key for signatures"),
        ("{}".to_owned(), "is not a JWK set: missing field `keys`"),
        ("{".to_owned(), "is not a JWK set: EOF"),
        (jwk_set(&[]), "holds no public key for signatures"),
        (
            set(without(rsa.clone(), "kty")),
            "has an invalid key, number 2 (kid \"r\"): it has no kty",
        ),
        (set(without(rsa.clone(), "n")), "number 2 (kid \"r\"): it has no n"),
        (set(with(rsa.clone(), "n", "AQAB")), "an RSA key of less than 2048 bits"),
        (set(with(rsa.clone(), "n", "=")), "its n is not Base64url"),
        (set(with(rsa.clone(), "d", "AQAB")), "it is a private key"),
        (set(with(rsa.clone(), "alg", "ES256")), "its alg is not one of its kty"),
        (set(without(ec.clone(), "y")), "(kid \"e\"): it has no y"),
        (set(with(ec.clone(), "x", "AQAB")), "its x and y are not 32 bytes long"),
        (set(with(ed.clone(), "x", "AQAB")), "its x is not 32 bytes long"),
        ("-----BEGIN PUBLIC KEY-----\nAQAB\n".to_owned(), "is neither a JWK set nor PEM"),
        (
            "-----BEGIN PUBLIC KEY-----\nAQAB\n-----END PUBLIC KEY-----\n".to_owned(),
            "has an invalid key, number 1",
        ),
        ("AQAB".to_owned(), "holds no public key for signatures"),
    ] {
        assert!(wrong(&contents).contains(reason), "{contents}: {}", wrong(&contents));
    }
}

/// RFC 7517, section 5: keys that are not understood are ignored.
#[test]
fn keys_for_other_purposes_are_skipped() {
    let good = Issuer::new("P-256", "e").jwk();
    for other in [
        json!({ "kty": "oct", "k": "c2VjcmV0" }),
        json!({ "kty": "EC", "crv": "P-521", "x": "AQAB", "y": "AQAB" }),
        json!({ "kty": "unheard of" }),
        with(good.clone(), "use", "enc"),
        with(good.clone(), "alg", "ECDH-ES"),
    ] {
        assert!(Keys::parse(jwk_set(&[other.clone(), good.clone()]).as_bytes()).is_ok(), "{other}");
        assert_eq!(
            wrong(&jwk_set(std::slice::from_ref(&other))),
            "holds no public key for signatures"
        );
    }
    assert!(Keys::parse(good.to_string().as_bytes()).is_ok());
}
