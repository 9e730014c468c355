//! Session tickets with keys from a file, which proxies of one fleet share (RFC 8446, section
//! 4.6.1; RFC 5077).

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    aead::{AES_256_GCM_SIV, Aad, Nonce, RandomizedNonceKey},
    error::Unspecified,
    hkdf::{HKDF_SHA256, KeyType, Salt},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::{pki_types::UnixTime, server::ProducesTickets};

/// The file allowed for ticket keys.
pub(crate) const TICKET_KEYS: &str = "a readable file of up to 16 keys, one a line, each of 32 \
                                      random bytes in Base64, as `openssl rand -base64 32` prints";

/// The length of a line's secret in bytes.
pub(super) const SECRET_BYTES: usize = 32;
/// The most keys in a file: with a new one each hour, more than a ticket's lifetime needs.
const MAX_KEYS: usize = 16;

/// How long a ticket can be used, in seconds: as long as one of a generated key.
const LIFETIME_SECONDS: u32 = 12 * 60 * 60;
/// How far the clock of a proxy may be ahead of another's, in seconds.
const MAX_CLOCK_SKEW_SECONDS: u64 = 5 * 60;

const NAME_BYTES: usize = 16;
const NONCE_BYTES: usize = 12;
const TIME_BYTES: usize = 8;
const KEY_BYTES: usize = 32;

/// Separates these keys from others that may be derived from the same secret.
const SALT: &[u8] = b"mqtt-lb session tickets v1";

/// The hash of the settings that a ticket is bound to.
pub(super) type Identity = [u8; 32];

/// The keys of a file, or generated ones. Clones share them.
#[derive(Clone)]
pub(crate) struct TicketKeys {
    /// Not empty. The first encrypts, all decrypt.
    keys: Arc<[TicketKey]>,
    /// The first line with the key of an earlier one, counted from 1.
    pub(crate) repeated_line: Option<usize>,
}

struct TicketKey {
    /// Sent in front of a ticket, so that its key is found without trying all.
    name: [u8; NAME_BYTES],
    /// AES-256-GCM-SIV (RFC 8452): AES-GCM with random nonces is safe for 2^32 tickets of a key (NIST
    /// SP 800-38D, section 8.3), which a fleet can issue in days; here a repeated nonce reveals only
    /// whether two tickets are equal.
    aead: RandomizedNonceKey,
}

impl TicketKey {
    /// Derives the key and its name (RFC 5869).
    fn derive(secret: &[u8]) -> Result<Self, Unspecified> {
        let secret = Salt::new(HKDF_SHA256, SALT).extract(secret);
        let (mut name, mut key) = ([0; NAME_BYTES], [0; KEY_BYTES]);
        secret.expand(&[b"name"], Length(NAME_BYTES))?.fill(&mut name)?;
        secret.expand(&[b"key"], Length(KEY_BYTES))?.fill(&mut key)?;
        Ok(Self { name, aead: RandomizedNonceKey::new(&AES_256_GCM_SIV, &key)? })
    }
}

impl TicketKeys {
    /// The keys of these secrets, of which there is one at least.
    pub(super) fn derive<'a>(secrets: impl Iterator<Item = &'a [u8]>) -> Result<Self, Unspecified> {
        let keys = secrets.map(TicketKey::derive).collect::<Result<_, _>>()?;
        Ok(Self { keys, repeated_line: None })
    }
}

/// The length in bytes of what is derived.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// Reads the keys of a file. Blank lines and lines that begin with `#` are ignored.
///
/// # Errors
/// What is wrong with the file, as the predicate of a sentence about it, without its contents.
pub(crate) fn ticket_keys(text: &[u8]) -> Result<TicketKeys, String> {
    let text = str::from_utf8(text).map_err(|_| "is not text".to_owned())?;
    let lines = text.lines().map(str::trim).enumerate();
    let (mut keys, mut repeated_line) = (Vec::<TicketKey>::new(), None);
    for (index, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let number = index + 1;
        let secret = STANDARD.decode(line).map_err(|_| format!("line {number}: is not Base64"))?;
        if secret.len() != SECRET_BYTES {
            return Err(format!("line {number}: is a key of {} bytes", secret.len()));
        }
        let key = TicketKey::derive(&secret).map_err(|_| "cannot be used".to_owned())?;
        if keys.iter().any(|earlier| earlier.name == key.name) {
            repeated_line = repeated_line.or(Some(number));
        } else if keys.len() == MAX_KEYS {
            return Err(format!("has more than {MAX_KEYS} keys"));
        } else {
            keys.push(key);
        }
    }
    if keys.is_empty() {
        return Err("holds no key".to_owned());
    }
    Ok(TicketKeys { keys: keys.into(), repeated_line })
}

/// Encrypts and decrypts the tickets of one listener.
///
/// A ticket is the key's name, the nonce, the time of issue in Unix seconds, the ciphertext and its
/// tag. The listener's identity and the time are authenticated with it.
pub(super) struct SharedTicketer {
    keys: TicketKeys,
    identity: Identity,
}

impl SharedTicketer {
    pub(super) fn new(keys: TicketKeys, identity: Identity) -> Self {
        Self { keys, identity }
    }

    fn authenticated(&self, time: [u8; TIME_BYTES]) -> Aad<Vec<u8>> {
        Aad::from([&self.identity[..], &time].concat())
    }

    pub(super) fn encrypt_at(&self, now: u64, session: &[u8]) -> Option<Vec<u8>> {
        let key = self.keys.keys.first()?;
        let time = now.to_be_bytes();
        let mut sealed = session.to_vec();
        let nonce =
            key.aead.seal_in_place_append_tag(self.authenticated(time), &mut sealed).ok()?;
        Some([&key.name[..], nonce.as_ref(), &time, &sealed].concat())
    }

    pub(super) fn decrypt_at(&self, now: u64, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME_BYTES>()?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_BYTES>()?;
        let (time, sealed) = rest.split_first_chunk::<TIME_BYTES>()?;
        let key = self.keys.keys.iter().find(|key| key.name == *name)?;
        let mut session = sealed.to_vec();
        let nonce = Nonce::from(nonce);
        let len =
            key.aead.open_in_place(nonce, self.authenticated(*time), &mut session).ok()?.len();
        session.truncate(len);
        // rustls does not check the age of a ticket.
        let issued = u64::from_be_bytes(*time);
        let is_current = issued <= now.saturating_add(MAX_CLOCK_SKEW_SECONDS)
            && now.saturating_sub(issued) <= u64::from(LIFETIME_SECONDS);
        is_current.then_some(session)
    }
}

impl ProducesTickets for SharedTicketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME_SECONDS
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        self.encrypt_at(UnixTime::now().as_secs(), session)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.decrypt_at(UnixTime::now().as_secs(), ticket)
    }
}

// Without the keys.
impl fmt::Debug for SharedTicketer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedTicketer")
            .field("keys", &self.keys.keys.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn file(secrets: &[u8]) -> String {
        secrets.iter().map(|byte| STANDARD.encode([*byte; SECRET_BYTES]) + "\n").collect()
    }

    fn ticketer(secrets: &[u8], identity: u8) -> SharedTicketer {
        SharedTicketer::new(ticket_keys(file(secrets).as_bytes()).unwrap(), [identity; 32])
    }

    #[test]
    fn the_first_key_encrypts_and_all_decrypt() {
        let (old, both, new) = (ticketer(&[1], 0), ticketer(&[2, 1], 0), ticketer(&[2], 0));
        let session = Some(b"session".to_vec());
        let ticket = old.encrypt_at(NOW, b"session").unwrap();
        assert_eq!(old.decrypt_at(NOW, &ticket), session);
        assert_eq!(both.decrypt_at(NOW, &ticket), session);
        assert_eq!(new.decrypt_at(NOW, &ticket), None);
        let ticket = both.encrypt_at(NOW, b"session").unwrap();
        assert_eq!(new.decrypt_at(NOW, &ticket), session);
        assert_eq!(old.decrypt_at(NOW, &ticket), None);
        assert_ne!(both.encrypt_at(NOW, b"session").unwrap(), ticket, "the nonce is random");
    }

    #[test]
    fn tickets_are_bound_to_the_identity_and_end() {
        let [one, other] = [1, 2].map(|identity| ticketer(&[1], identity));
        let ticket = one.encrypt_at(NOW, b"session").unwrap();
        assert_eq!(other.decrypt_at(NOW, &ticket), None);
        for (now, is_current) in [
            (NOW - MAX_CLOCK_SKEW_SECONDS, true),
            (NOW - MAX_CLOCK_SKEW_SECONDS - 1, false),
            (NOW + u64::from(LIFETIME_SECONDS), true),
            (NOW + u64::from(LIFETIME_SECONDS) + 1, false),
            (0, false),
            (u64::MAX, false),
        ] {
            assert_eq!(one.decrypt_at(now, &ticket).is_some(), is_current, "{now}");
        }
    }

    #[test]
    fn changed_and_short_tickets() {
        let ticketer = ticketer(&[1], 0);
        let ticket = ticketer.encrypt_at(NOW, b"session").unwrap();
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(ticketer.decrypt_at(NOW, &changed), None, "{at}");
            assert_eq!(ticketer.decrypt_at(NOW, &ticket[..at]), None, "{at}");
        }
        assert_eq!(ticketer.decrypt_at(NOW, &[&ticket[..], b"x"].concat()), None);
        let debug = format!("{ticketer:?}");
        assert_eq!(debug, "SharedTicketer { keys: 1, .. }");
    }

    #[test]
    fn files() {
        let ones = STANDARD.encode([1; SECRET_BYTES]);
        let read = |text: &str| ticket_keys(text.as_bytes()).map(|keys| keys.keys.len());
        assert_eq!(read(&format!("# today\r\n{ones}\r\n\r\n  {ones}  ")), Ok(1));
        for (text, wrong) in [
            (String::new(), "holds no key"),
            ("# none\n\n".to_owned(), "holds no key"),
            (format!("{ones}\nx y\n"), "line 2: is not Base64"),
            (ones[..43].to_owned(), "line 1: is not Base64"),
            (STANDARD.encode([1; 31]), "line 1: is a key of 31 bytes"),
            (STANDARD.encode([1; 48]), "line 1: is a key of 48 bytes"),
            (file(&(0..17).collect::<Vec<_>>()), "has more than 16 keys"),
        ] {
            assert_eq!(read(&text), Err(wrong.to_owned()), "{text}");
        }
        assert_eq!(ticket_keys(b"\xFF").err(), Some("is not text".to_owned()));
        let repeated =
            |secrets: &[u8]| ticket_keys(file(secrets).as_bytes()).unwrap().repeated_line;
        assert_eq!((repeated(&[1, 2]), repeated(&[1, 2, 1, 2])), (None, Some(3)));
        assert_eq!(read(&file(&(0..16).collect::<Vec<_>>())), Ok(16));
    }
}
