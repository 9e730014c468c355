//! From a finished handshake to its record layer.

use std::rc::Rc;

use rustls::{
    CipherSuite, ConnectionTrafficSecrets, Error, ExtractedSecrets, Side, SupportedCipherSuite,
    client::UnbufferedClientConnection, server::UnbufferedServerConnection,
};

use super::{
    budgets::Budgets,
    layer::{RecordLayer, Sending},
    protection::{Cipher, Iv, MAX_PLAINTEXT_BYTES, Protection},
    tickets::TicketStore,
    traffic_key::{TrafficKey, unusable},
};
use crate::{
    net::aead_keys::AeadKeys,
    tls::{TlsVersion, TrafficSecret, TrafficSecrets},
};

impl RecordLayer {
    /// The records of a client's connection. `max_plaintext_bytes`: the most that we put into a
    /// record.
    ///
    /// # Errors
    /// The handshake is not over, rustls does not hand out its keys, or they are not `secrets`.
    pub(in crate::net::stream::tls) fn of_server(
        connection: UnbufferedServerConnection,
        secrets: TrafficSecrets,
        max_plaintext_bytes: usize,
        keys: Rc<AeadKeys>,
    ) -> Result<Self, Error> {
        let (extracted, connection) = connection.dangerous_into_kernel_connection()?;
        let suite = connection.negotiated_cipher_suite();
        let secrets = (secrets.server, secrets.client);
        let mut layer = Self::new(Side::Server, suite, extracted, secrets, keys)?;
        let max_plaintext_bytes = max_plaintext_bytes.clamp(1, MAX_PLAINTEXT_BYTES);
        layer.max_plaintext_bytes = max_plaintext_bytes as u16;
        Ok(layer)
    }

    /// The records of a connection to a broker. Its tickets are kept until
    /// [`Self::ignore_tickets`].
    ///
    /// # Errors
    /// As [`Self::of_server`].
    pub(in crate::net::stream::tls) fn of_client(
        connection: UnbufferedClientConnection,
        secrets: TrafficSecrets,
        keys: Rc<AeadKeys>,
    ) -> Result<Self, Error> {
        let (extracted, connection) = connection.dangerous_into_kernel_connection()?;
        let suite = connection.negotiated_cipher_suite();
        let secrets = (secrets.client, secrets.server);
        let mut layer = Self::new(Side::Client, suite, extracted, secrets, keys)?;
        if layer.protection.version == TlsVersion::Tls13 {
            layer.tickets = Some(TicketStore::new(connection));
        }
        Ok(layer)
    }

    /// `secrets`: the sender's and the receiver's.
    fn new(
        side: Side,
        suite: SupportedCipherSuite,
        extracted: ExtractedSecrets,
        secrets: (Option<TrafficSecret>, Option<TrafficSecret>),
        keys: Rc<AeadKeys>,
    ) -> Result<Self, Error> {
        let protection = protection(suite)?;
        let (limit, secrets) = match suite {
            SupportedCipherSuite::Tls13(suite) => (suite.common.confidentiality_limit, secrets),
            SupportedCipherSuite::Tls12(suite) => {
                (suite.common.confidentiality_limit, (None, None))
            }
        };
        Ok(Self {
            keys,
            protection,
            side,
            sender: traffic_key(protection, extracted.tx, secrets.0)?,
            receiver: traffic_key(protection, extracted.rx, secrets.1)?,
            key_limit: limit.into(),
            max_plaintext_bytes: MAX_PLAINTEXT_BYTES as u16,
            budgets: Budgets::default(),
            fragment: None,
            tickets: None,
            owes_key_update: false,
            peer_has_closed: false,
            sending: Sending::All,
        })
    }
}

fn protection(suite: SupportedCipherSuite) -> Result<Protection, Error> {
    let version = match suite {
        SupportedCipherSuite::Tls13(_) => TlsVersion::Tls13,
        SupportedCipherSuite::Tls12(_) => TlsVersion::Tls12,
    };
    let cipher = match suite.suite() {
        CipherSuite::TLS13_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => Cipher::Aes128Gcm,
        CipherSuite::TLS13_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => Cipher::Aes256Gcm,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => Cipher::Chacha20Poly1305,
        _ => return Err(unusable()),
    };
    Ok(Protection { version, cipher })
}

/// The key that rustls has used, from its next record on.
///
/// In TLS 1.3, the key that is derived from `secret` must be the same: otherwise a key update would
/// end the session long after this, with keys that the peer does not have.
fn traffic_key(
    protection: Protection,
    (next, extracted): (u64, ConnectionTrafficSecrets),
    secret: Option<TrafficSecret>,
) -> Result<TrafficKey, Error> {
    let (ConnectionTrafficSecrets::Aes128Gcm { key, iv }
    | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
    | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv }) = extracted
    else {
        return Err(unusable());
    };
    let iv: Iv = iv.as_ref().try_into().map_err(|_| unusable())?;
    match (protection.version, secret) {
        (TlsVersion::Tls12, _) => TrafficKey::fixed(protection.cipher, key.as_ref(), iv, next),
        (TlsVersion::Tls13, None) => Err(unusable()),
        (TlsVersion::Tls13, Some(padded)) => {
            let secret = &padded[..protection.cipher.secret_bytes()];
            let derived = TrafficKey::derived(protection.cipher, secret, next)?;
            if derived.key_and_iv(protection.cipher) != (key.as_ref(), iv) {
                return Err(unusable());
            }
            Ok(derived)
        }
    }
}
