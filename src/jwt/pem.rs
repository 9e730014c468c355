//! Keys in PEM (RFC 7468).

use jsonwebtoken::DecodingKey;
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer,
    pem::{self, PemObject},
};
use x509_parser::{
    oid_registry::{
        OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION,
        OID_SIG_ED25519,
    },
    prelude::{FromDer, X509Certificate},
    public_key::PublicKey,
    x509::SubjectPublicKeyInfo,
};

use super::{
    algorithm::KeyType,
    key::{Key, MIN_RSA_BYTES},
};

/// The public keys of a file, and those of its certificates.
///
/// # Errors
/// What is wrong with the file, as the predicate of a sentence about it.
pub(super) fn keys(pem: &[u8]) -> Result<Vec<Key>, String> {
    let damaged = |error: pem::Error| format!("is neither a JWK set nor PEM: {error}");
    let invalid = |index: usize| format!("has an invalid key, number {}", index + 1);
    let mut keys = Vec::new();
    for (index, der) in SubjectPublicKeyInfoDer::pem_slice_iter(pem).enumerate() {
        let der = der.map_err(damaged)?;
        let (_, info) = SubjectPublicKeyInfo::from_der(&der).map_err(|_| invalid(index))?;
        keys.push(key(&info).map_err(|wrong| format!("{}: {wrong}", invalid(index)))?);
    }
    for (index, der) in CertificateDer::pem_slice_iter(pem).enumerate() {
        let der = der.map_err(damaged)?;
        let (_, certificate) = X509Certificate::from_der(&der).map_err(|_| invalid(index))?;
        let wrong = |wrong| format!("has an invalid certificate, number {}: {wrong}", index + 1);
        keys.push(key(certificate.public_key()).map_err(wrong)?);
    }
    if keys.is_empty() && PrivateKeyDer::from_pem_slice(pem).is_ok() {
        return Err("holds a private key; name the file of its public key".to_owned());
    }
    Ok(keys)
}

fn key(info: &SubjectPublicKeyInfo<'_>) -> Result<Key, &'static str> {
    let bytes = &*info.subject_public_key.data;
    let algorithm = &info.algorithm.algorithm;
    let curve = info.algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok());
    let (kind, public) = if *algorithm == OID_PKCS1_RSAENCRYPTION {
        (KeyType::Rsa, DecodingKey::from_rsa_der(bytes))
    } else if *algorithm == OID_SIG_ED25519 {
        (KeyType::Ed25519, DecodingKey::from_ed_der(bytes))
    } else if *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY && curve == Some(OID_EC_P256) {
        (KeyType::P256, DecodingKey::from_ec_der(bytes))
    } else if *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY && curve == Some(OID_NIST_EC_P384) {
        (KeyType::P384, DecodingKey::from_ec_der(bytes))
    } else {
        return Err("it is not an RSA, P-256, P-384 or Ed25519 key");
    };
    if kind == KeyType::Rsa && !is_long_enough(info) {
        return Err("an RSA key of less than 2048 bits");
    }
    if !kind.is_valid(bytes) {
        return Err("it is damaged");
    }
    Ok(Key { id: None, kind, algorithm: None, public })
}

fn is_long_enough(info: &SubjectPublicKeyInfo<'_>) -> bool {
    matches!(info.parsed(), Ok(PublicKey::RSA(key)) if key.key_size() >= 8 * MIN_RSA_BYTES)
}
