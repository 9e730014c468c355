//! A record layer as it is passed on to another process.

use std::rc::Rc;

use rustls::{Error, Side};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    budgets::Budgets,
    fragment::HandshakeFragment,
    layer::{RecordLayer, Sending},
    protection::{MAX_PLAINTEXT_BYTES, Protection},
    traffic_key::{TrafficKey, unusable},
};
use crate::{net::aead_keys::AeadKeys, secret_bytes::SecretBytes, tls::TlsVersion};

/// All that a [`RecordLayer`] consists of. Only one layer may go on with it: two would encrypt
/// different records with the same nonce, which reveals their plaintexts and the key of GHASH.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::net::stream::tls) struct RecordState {
    protection: Protection,
    is_server: bool,
    sender: KeyState,
    receiver: KeyState,
    key_limit: u64,
    max_plaintext_bytes: u16,
    budgets: Budgets,
    /// An incomplete handshake message, and the length of its records.
    fragment: Option<(SecretBytes, usize)>,
    owes_key_update: bool,
    peer_has_closed: bool,
    sending: Sending,
}

/// A [`TrafficKey`].
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct KeyState {
    /// In TLS 1.3 the traffic secret, in TLS 1.2 the key and the IV.
    secret: SecretBytes,
    /// The sequence number of the next record.
    next: u64,
}

impl RecordLayer {
    /// The state of this layer, which must not be used until it is known that no other layer will
    /// use the state.
    pub(in crate::net::stream::tls) fn state(&self) -> RecordState {
        let Self {
            keys: _,
            protection,
            side,
            sender,
            receiver,
            key_limit,
            max_plaintext_bytes,
            budgets,
            fragment,
            // The process that made the handshake keeps them with its configuration.
            tickets: _,
            owes_key_update,
            peer_has_closed,
            sending,
        } = self;
        let fragment = fragment.as_ref();
        RecordState {
            protection: *protection,
            is_server: *side == Side::Server,
            sender: KeyState::new(*protection, sender),
            receiver: KeyState::new(*protection, receiver),
            key_limit: key_limit.records(),
            max_plaintext_bytes: *max_plaintext_bytes,
            budgets: *budgets,
            fragment: fragment.map(|it| (it.bytes().into(), it.wire_bytes())),
            owes_key_update: *owes_key_update,
            peer_has_closed: *peer_has_closed,
            sending: *sending,
        }
    }

    /// Goes on with a state.
    ///
    /// # Errors
    /// The state cannot have come from [`Self::state`].
    pub(in crate::net::stream::tls) fn from_state(
        state: RecordState,
        keys: Rc<AeadKeys>,
    ) -> Result<Self, Error> {
        let RecordState {
            protection,
            is_server,
            sender,
            receiver,
            key_limit,
            max_plaintext_bytes,
            budgets,
            fragment,
            owes_key_update,
            peer_has_closed,
            sending,
        } = state;
        let is_12 = protection.version == TlsVersion::Tls12;
        if !(1..=MAX_PLAINTEXT_BYTES).contains(&usize::from(max_plaintext_bytes))
            || (is_12 && owes_key_update)
        {
            return Err(unusable());
        }
        Ok(Self {
            keys,
            protection,
            side: if is_server { Side::Server } else { Side::Client },
            sender: sender.key(protection)?,
            receiver: receiver.key(protection)?,
            key_limit: key_limit.into(),
            max_plaintext_bytes,
            budgets,
            fragment: fragment
                .map(|(bytes, wire_bytes)| Box::new(HandshakeFragment::new(bytes.0, wire_bytes))),
            tickets: None,
            owes_key_update,
            peer_has_closed,
            sending,
        })
    }
}

impl KeyState {
    fn new(Protection { version, cipher }: Protection, key: &TrafficKey) -> Self {
        let secret = match version {
            TlsVersion::Tls13 => key.secret(cipher).into(),
            TlsVersion::Tls12 => {
                let (key, iv) = key.key_and_iv(cipher);
                // In one step: a growing vector would leave a copy behind.
                SecretBytes(Zeroizing::new([key, &iv].concat()))
            }
        };
        Self { secret, next: key.next() }
    }

    fn key(&self, Protection { version, cipher }: Protection) -> Result<TrafficKey, Error> {
        let secret = &self.secret.0[..];
        match version {
            TlsVersion::Tls12 => {
                let parts = secret.split_at_checked(cipher.key_bytes());
                let (key, iv) = parts.ok_or_else(unusable)?;
                TrafficKey::fixed(cipher, key, iv.try_into().map_err(|_| unusable())?, self.next)
            }
            TlsVersion::Tls13 => TrafficKey::derived(cipher, secret, self.next),
        }
    }
}
