//! Keys that no token may be verified with.

use serde_json::json;

use super::issuer::{Issuer, base64url, jwk_set};
use crate::jwt::Keys;

/// A P-256 key whose point is not on the curve.
#[test]
fn points_are_on_their_curve() {
    let mut jwk = Issuer::new("P-256", "e").jwk();
    jwk["y"] = json!(base64url(&[1; 32]));
    let wrong = Keys::parse(jwk_set(&[jwk]).as_bytes()).err().unwrap_or_default();
    assert!(wrong.contains("(kid \"e\")"), "{wrong}");
}

/// RSA of 1,024 bits, made by OpenSSL.
#[test]
fn rsa_keys_in_pem_are_long_enough() {
    let wrong = Keys::parse(RSA_1024.as_bytes()).err().unwrap_or_default();
    assert!(wrong.contains("less than 2048 bits"), "{wrong}");
}

const RSA_1024: &str = "\
-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCl6ulrrv5fy2CHbEkza1r1j9dI
EiEXLvdXMmnbHrLzb6owR+sVOJyZCxjeOwpRijpb1qASkUQFnn7K0F51cDrKBfG/
u7qe6Ok7hgBqLes+II/uQ0eWdzD8sqJ0yG3J4H5PEYEq5+SPL5tG/ewvaMbSTEvH
lL33wo7TkuWcqAA6MQIDAQAB
-----END PUBLIC KEY-----
";
