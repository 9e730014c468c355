//! The expanded AEAD keys of a worker's connections.
//!
//! An expanded key (the round keys of AES, the table of GHASH) is several times as long as the key
//! itself. Idle connections keep only the latter; the expanded keys of busy ones are kept here.

use std::cell::RefCell;

use aws_lc_rs::{aead::LessSafeKey, error::Unspecified};

/// How many expanded keys a worker keeps: those of the 64 sessions with TLS on both sides that were
/// busy last. Each takes 650 bytes. To expand a key takes 150 ns (AES-GCM) or 35 ns (ChaCha20), as
/// much as encrypting a few hundred bytes: a percent of the round trip of a message.
pub(in crate::net) const MAX_KEYS: usize = 256;

/// Expanded keys; at most [`MAX_KEYS`], chosen by the clock algorithm. They are zeroized when they
/// are dropped (`OPENSSL_free` of AWS-LC).
#[derive(Default)]
pub(in crate::net) struct AeadKeys(RefCell<KeyTable>);

#[derive(Default)]
struct KeyTable {
    entries: Vec<CachedKey>,
    /// The slot that the next replacement looks at first.
    hand: usize,
    /// How many keys have been inserted.
    inserted: u64,
}

struct CachedKey {
    id: u64,
    /// Cleared when the hand passes.
    is_recent: bool,
    key: Option<LessSafeKey>,
}

/// Refers to one expanded key, if it is still kept. A copy refers to the same one.
#[derive(Clone, Copy, Default)]
pub(in crate::net) struct AeadKeyRef {
    /// The index of the key, plus a multiple of [`MAX_KEYS`] that is never given twice by one
    /// [`AeadKeys`]; 0 refers to no key.
    id: u64,
}

impl AeadKeyRef {
    fn index(self) -> usize {
        (self.id % MAX_KEYS as u64) as usize
    }
}

impl AeadKeys {
    /// Calls `use_key` with the key that `key_ref` refers to, which is expanded with `expand` if it
    /// is not kept. `use_key` must not use `self`.
    ///
    /// # Errors
    /// The error of `expand`.
    pub(in crate::net) fn with<R>(
        &self,
        key_ref: &mut AeadKeyRef,
        expand: impl FnOnce() -> Result<LessSafeKey, Unspecified>,
        use_key: impl FnOnce(&LessSafeKey) -> R,
    ) -> Result<R, Unspecified> {
        let slots = &mut *self.0.borrow_mut();
        if let Some(key) = slots.get(*key_ref) {
            return Ok(use_key(key));
        }
        let key = expand()?;
        let used = use_key(&key);
        *key_ref = slots.insert(key);
        Ok(used)
    }

    /// Drops the key that `key_ref` refers to.
    pub(in crate::net) fn remove(&self, key_ref: AeadKeyRef) {
        let slots = &mut *self.0.borrow_mut();
        if let Some(slot) =
            slots.entries.get_mut(key_ref.index()).filter(|slot| slot.id == key_ref.id)
        {
            *slot = CachedKey { id: 0, is_recent: false, key: None };
        }
    }
}

#[cfg(test)]
impl AeadKeys {
    /// How many keys are kept.
    pub(in crate::net) fn len(&self) -> usize {
        self.0.borrow().entries.iter().filter(|slot| slot.key.is_some()).count()
    }
}

impl KeyTable {
    fn get(&mut self, key_ref: AeadKeyRef) -> Option<&LessSafeKey> {
        let slot = self.entries.get_mut(key_ref.index()).filter(|slot| slot.id == key_ref.id)?;
        slot.is_recent = true;
        slot.key.as_ref()
    }

    fn insert(&mut self, key: LessSafeKey) -> AeadKeyRef {
        self.inserted += 1;
        let index = self.victim();
        let id = self.inserted * MAX_KEYS as u64 + index as u64;
        let new = CachedKey { id, is_recent: true, key: Some(key) };
        match self.entries.get_mut(index) {
            Some(old) => *old = new,
            None => self.entries.push(new),
        }
        AeadKeyRef { id }
    }

    /// The slot for a new key: a free one, or the next one that was not used since the hand passed.
    fn victim(&mut self) -> usize {
        if self.entries.len() < MAX_KEYS {
            return self.entries.len();
        }
        loop {
            let at = self.hand;
            self.hand = (at + 1) % MAX_KEYS;
            if !std::mem::take(&mut self.entries[at].is_recent) {
                return at;
            }
        }
    }
}
