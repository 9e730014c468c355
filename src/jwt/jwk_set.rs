//! Keys of a JWK set (RFC 7517).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    algorithm::{Algorithm, KeyType},
    key::{Key, MIN_RSA_BYTES},
};

/// The longest RSA key, in bytes: what the library verifies by, too.
const MAX_RSA_BYTES: usize = 1024;

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<Map<String, Value>>,
}

/// The keys for signatures of a set, or the key of a single JWK.
///
/// # Errors
/// What is wrong with the file, as the predicate of a sentence about it.
pub(super) fn keys(json: &[u8]) -> Result<Vec<Key>, String> {
    let value: Value =
        serde_json::from_slice(json).map_err(|error| format!("is not a JWK set: {error}"))?;
    let set = match value.get("kty") {
        Some(_) => serde_json::from_value(value).map(|key| JwkSet { keys: vec![key] }),
        None => serde_json::from_value(value),
    };
    let set = set.map_err(|error| format!("is not a JWK set: {error}"))?;
    let mut keys = Vec::new();
    for (index, jwk) in set.keys.iter().enumerate() {
        let id = text(jwk, "kid").unwrap_or("none");
        let named =
            |wrong| format!("has an invalid key, number {} (kid {id:?}): {wrong}", index + 1);
        keys.extend(key(jwk).map_err(named)?);
    }
    Ok(keys)
}

fn text<'a>(jwk: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    jwk.get(name)?.as_str()
}

/// `None`: it is not for signatures, or not of a type that is supported.
fn key(jwk: &Map<String, Value>) -> Result<Option<Key>, String> {
    let kty = text(jwk, "kty").ok_or("it has no kty")?;
    if jwk.contains_key("d") {
        return Err("it is a private key".to_owned());
    }
    let algorithm = text(jwk, "alg").map(Algorithm::named);
    if text(jwk, "use").is_some_and(|used| used != "sig") || algorithm == Some(None) {
        return Ok(None);
    }
    let bytes = |name| {
        let value = text(jwk, name).ok_or_else(|| format!("it has no {name}"))?;
        URL_SAFE_NO_PAD.decode(value).map_err(|_| format!("its {name} is not Base64url"))
    };
    let (kind, public) = match (kty, text(jwk, "crv")) {
        ("RSA", _) => {
            let (modulus, exponent) = (bytes("n")?, bytes("e")?);
            let significant = modulus.iter().skip_while(|byte| **byte == 0).count();
            if significant < MIN_RSA_BYTES {
                return Err("an RSA key of less than 2048 bits".to_owned());
            }
            let exponent_value =
                exponent.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
            let is_odd = |number: &[u8]| number.last().is_some_and(|byte| byte & 1 == 1);
            if significant > MAX_RSA_BYTES || exponent.len() > 8 || exponent_value < 3 {
                return Err(
                    "an RSA key of more than 8192 bits, or with an exponent below 3".to_owned()
                );
            }
            if !is_odd(&modulus) || !is_odd(&exponent) {
                return Err("its n or e is even".to_owned());
            }
            (KeyType::Rsa, DecodingKey::from_rsa_raw_components(&modulus, &exponent))
        }
        ("EC", Some("P-256")) => {
            (KeyType::P256, point(KeyType::P256, &bytes("x")?, &bytes("y")?, 32)?)
        }
        ("EC", Some("P-384")) => {
            (KeyType::P384, point(KeyType::P384, &bytes("x")?, &bytes("y")?, 48)?)
        }
        ("OKP", Some("Ed25519")) => match bytes("x")? {
            key if key.len() == 32 => (KeyType::Ed25519, DecodingKey::from_ed_der(&key)),
            _ => return Err("its x is not 32 bytes long".to_owned()),
        },
        _ => return Ok(None),
    };
    let algorithm = algorithm.flatten();
    if algorithm.is_some_and(|algorithm| algorithm.key_type() != kind) {
        return Err("its alg is not one of its kty".to_owned());
    }
    Ok(Some(Key { id: text(jwk, "kid").map(Box::from), kind, algorithm, public }))
}

/// A point on a curve whose coordinates have `len` bytes (RFC 7518, section 6.2.1).
fn point(key_type: KeyType, x: &[u8], y: &[u8], len: usize) -> Result<DecodingKey, String> {
    if x.len() != len || y.len() != len {
        return Err(format!("its x and y are not {len} bytes long"));
    }
    // Uncompressed (SEC 1, section 2.3.3).
    let point = [&[4], x, y].concat();
    if !key_type.is_valid(&point) {
        return Err("its x and y are not a point on the curve".to_owned());
    }
    Ok(DecodingKey::from_ec_der(&point))
}
