//! Alerts that rustls has no call for.

use rustls::{
    ConnectionTrafficSecrets, ContentType, ProtocolVersion, SupportedCipherSuite,
    crypto::cipher::{AeadKey, Iv, OutboundChunks, OutboundPlainMessage},
    server::UnbufferedServerConnection,
};

/// A fatal certificate_expired (RFC 8446, section 6).
const CERTIFICATE_EXPIRED: [u8; 2] = [2, 45];

/// A fatal unexpected_message in a plaintext record, as sent before there are keys (RFC 8446,
/// sections 5.1 and 6.2).
pub(super) const UNEXPECTED_MESSAGE: [u8; 7] = [21, 3, 3, 0, 2, 2, 10];

/// The record that tells a client after the handshake that its certificate has expired. It follows
/// all records that the connection has written. `None` if rustls does not export the keys, which
/// requires `enable_secret_extraction`.
pub(super) fn certificate_expired(connection: UnbufferedServerConnection) -> Option<Vec<u8>> {
    let suite = connection.negotiated_cipher_suite()?;
    let (secrets, _) = connection.dangerous_into_kernel_connection().ok()?;
    let (number, secrets) = secrets.tx;
    let (key, iv) = key(secrets)?;
    let (mut encrypter, version) = match suite {
        SupportedCipherSuite::Tls13(suite) => {
            (suite.aead_alg.encrypter(key, iv), ProtocolVersion::TLSv1_3)
        }
        SupportedCipherSuite::Tls12(suite) => {
            let shape = suite.aead_alg.key_block_shape();
            let (fixed, explicit) = iv.as_ref().split_at_checked(shape.fixed_iv_len)?;
            let explicit = explicit.get(..shape.explicit_nonce_len)?;
            (suite.aead_alg.encrypter(key, fixed, explicit), ProtocolVersion::TLSv1_2)
        }
    };
    let payload = OutboundChunks::Single(&CERTIFICATE_EXPIRED);
    let alert = OutboundPlainMessage { typ: ContentType::Alert, version, payload };
    Some(encrypter.encrypt(alert, number).ok()?.encode())
}

fn key(secrets: ConnectionTrafficSecrets) -> Option<(AeadKey, Iv)> {
    match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => Some((key, iv)),
        _ => None,
    }
}
