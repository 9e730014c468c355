//! Session tickets with keys that the proxy generates and replaces by itself, and that another
//! process takes over.

use std::{
    fmt,
    sync::{PoisonError, RwLock, RwLockReadGuard},
};

use aws_lc_rs::{error::Unspecified, rand};
use rustls::{pki_types::UnixTime, server::ProducesTickets};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::ticket_keys::{Identity, SECRET_BYTES, SharedTicketer, TicketKeys};
use crate::secret_bytes::SecretBytes;

/// How long a key encrypts, in seconds. It decrypts for as long again, as rustls' own do.
const ROTATION_SECONDS: u64 = 6 * 60 * 60;

/// The key that encrypts, and the one before it.
const MAX_KEYS: usize = 2;

/// Generated keys as another process takes them over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HandedTicketKeys {
    /// They serve only where clients and server are the same.
    identity: Identity,
    /// The newest first.
    keys: Vec<GeneratedKey>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct GeneratedKey {
    secret: SecretBytes,
    /// When it was generated, in Unix seconds.
    since: u64,
}

impl HandedTicketKeys {
    /// The most bytes of their serialized form.
    pub(crate) const MAX_BYTES: usize = 512;
}

impl GeneratedKey {
    fn new(since: u64) -> Result<Self, Unspecified> {
        let mut secret = SecretBytes(Zeroizing::new(vec![0; SECRET_BYTES]));
        rand::fill(&mut secret.0)?;
        Ok(Self { secret, since })
    }
}

/// Encrypts and decrypts the tickets of one listener.
pub(super) struct GeneratedTicketer {
    identity: Identity,
    current: RwLock<Generation>,
}

/// Keys until the next one is generated.
struct Generation {
    /// Not empty, the newest first.
    keys: Vec<GeneratedKey>,
    ticketer: SharedTicketer,
}

impl Generation {
    fn new(keys: Vec<GeneratedKey>, identity: Identity) -> Result<Self, Unspecified> {
        let shared = TicketKeys::derive(keys.iter().map(|key| &key.secret.0[..]))?;
        Ok(Self { keys, ticketer: SharedTicketer::new(shared, identity) })
    }

    fn is_over(&self, now: u64) -> bool {
        let since = self.keys.first().map_or(0, |key| key.since);
        now.saturating_sub(since) >= ROTATION_SECONDS
    }

    fn next(&self, identity: Identity, now: u64) -> Result<Self, Unspecified> {
        let before = self.keys.iter().take(MAX_KEYS - 1).cloned();
        let keys = [GeneratedKey::new(now)?].into_iter().chain(before).collect();
        Self::new(keys, identity)
    }
}

impl GeneratedTicketer {
    /// # Errors
    /// If there are no random bytes.
    pub(super) fn new(identity: Identity) -> Result<Self, Unspecified> {
        Self::at(UnixTime::now().as_secs(), identity)
    }

    fn at(now: u64, identity: Identity) -> Result<Self, Unspecified> {
        let first = Generation::new(vec![GeneratedKey::new(now)?], identity)?;
        Ok(Self { identity, current: RwLock::new(first) })
    }

    /// The keys, for another process.
    pub(super) fn hand_over(&self) -> HandedTicketKeys {
        HandedTicketKeys { identity: self.identity, keys: self.read().keys.clone() }
    }

    /// Goes on with the keys of another process, if they are those of this listener.
    pub(super) fn take_over(&self, handed: &HandedTicketKeys) {
        let HandedTicketKeys { identity, keys } = handed;
        let is_usable = (1..=MAX_KEYS).contains(&keys.len())
            && keys.iter().all(|key| key.secret.0.len() == SECRET_BYTES);
        if *identity == self.identity
            && is_usable
            && let Ok(taken) = Generation::new(keys.clone(), self.identity)
        {
            *self.current.write().unwrap_or_else(PoisonError::into_inner) = taken;
        }
    }

    /// The keys of this moment.
    fn at_time(&self, now: u64) -> RwLockReadGuard<'_, Generation> {
        if self.read().is_over(now) {
            let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
            // Another thread may have been first. Without random bytes the key encrypts on.
            if current.is_over(now)
                && let Ok(next) = current.next(self.identity, now)
            {
                *current = next;
            }
        }
        self.read()
    }

    fn read(&self) -> RwLockReadGuard<'_, Generation> {
        self.current.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn encrypt_at(&self, now: u64, session: &[u8]) -> Option<Vec<u8>> {
        self.at_time(now).ticketer.encrypt_at(now, session)
    }

    fn decrypt_at(&self, now: u64, ticket: &[u8]) -> Option<Vec<u8>> {
        self.at_time(now).ticketer.decrypt_at(now, ticket)
    }
}

impl ProducesTickets for GeneratedTicketer {
    fn enabled(&self) -> bool {
        true
    }

    /// Of every ticket, also one that was issued just before the next key.
    fn lifetime(&self) -> u32 {
        ROTATION_SECONDS as u32
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        self.encrypt_at(UnixTime::now().as_secs(), session)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.decrypt_at(UnixTime::now().as_secs(), ticket)
    }
}

// Without the keys.
impl fmt::Debug for GeneratedTicketer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GeneratedTicketer").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;
    const BY: u64 = NOW + ROTATION_SECONDS;

    fn ticketer(now: u64, identity: u8) -> GeneratedTicketer {
        GeneratedTicketer::at(now, [identity; 32]).unwrap()
    }

    /// As it comes from the other process.
    fn handed(from: &GeneratedTicketer) -> HandedTicketKeys {
        let bytes = rmp_serde::to_vec_named(&from.hand_over()).unwrap();
        assert!(bytes.len() <= HandedTicketKeys::MAX_BYTES, "{}", bytes.len());
        rmp_serde::from_slice(&bytes).unwrap()
    }

    #[test]
    fn keys_are_replaced_in_time() {
        let ticketer = ticketer(NOW, 1);
        let session = Some(b"session".to_vec());
        let first = ticketer.encrypt_at(BY - 1, b"session").unwrap();
        assert_eq!(ticketer.read().keys.len(), 1);
        let second = ticketer.encrypt_at(BY, b"session").unwrap();
        assert_eq!(ticketer.read().keys.len(), 2);
        assert_ne!(first[..16], second[..16], "the names of two keys");
        assert_eq!(ticketer.decrypt_at(BY, &first), session);
        assert_eq!(ticketer.decrypt_at(BY + ROTATION_SECONDS - 1, &first), session);
        assert_eq!(ticketer.decrypt_at(BY + ROTATION_SECONDS, &first), None);
        assert_eq!(ticketer.decrypt_at(BY + ROTATION_SECONDS, &second), session);
        assert_eq!(ticketer.read().keys.len(), MAX_KEYS);
    }

    #[test]
    fn another_process_goes_on_with_the_keys_and_their_times() {
        let (before, after) = (ticketer(NOW, 1), ticketer(BY - 1, 1));
        let session = Some(b"session".to_vec());
        let ticket = before.encrypt_at(BY - 1, b"session").unwrap();
        assert_eq!(after.decrypt_at(BY - 1, &ticket), None);
        after.take_over(&handed(&before));
        assert_eq!(after.decrypt_at(BY - 1, &ticket), session);
        let other = after.encrypt_at(BY - 1, b"session").unwrap();
        assert_eq!(before.decrypt_at(BY - 1, &other), session, "the same key encrypts");
        // It has been in use for six hours, in both processes together.
        let next = after.encrypt_at(BY, b"session").unwrap();
        assert_ne!(next[..16], ticket[..16]);
        assert_eq!(after.decrypt_at(BY, &ticket), session);
        let third = ticketer(BY, 1);
        third.take_over(&handed(&after));
        assert_eq!(
            (third.decrypt_at(BY, &ticket), third.decrypt_at(BY, &next)),
            (session.clone(), session)
        );
    }

    #[test]
    fn keys_of_another_identity_and_unusable_ones_are_not_taken() {
        let (before, after) = (ticketer(NOW, 1), ticketer(NOW, 2));
        let own = after.hand_over();
        after.take_over(&handed(&before));
        assert_eq!(after.hand_over(), own);
        let keys = |keys| HandedTicketKeys { identity: [2; 32], keys };
        let key =
            |bytes| GeneratedKey { secret: SecretBytes::from(&vec![7; bytes][..]), since: NOW };
        for unusable in [vec![], vec![key(31)], vec![key(32), key(32), key(32)]] {
            after.take_over(&keys(unusable));
            assert_eq!(after.hand_over(), own);
        }
        after.take_over(&keys(vec![key(32)]));
        assert_ne!(after.hand_over(), own);
        let shown = format!("{:?} {after:?}", after.hand_over().keys);
        assert_eq!(
            shown,
            "[GeneratedKey { secret: 32 secret bytes, since: 1800000000 }] GeneratedTicketer { .. }"
        );
    }
}
