//! The directory of the clients of all workers and their sessions. It ensures that a device that
//! has moved to another broker, because its own failed, is not online at both.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{
    arrivals::Arrivals,
    duplicates::Duplicates,
    entry::{ClientIdentity, DirectoryEntry},
    replacements::{ReplacedSession, Replacements},
    tenant::TenantHash,
};
use crate::{
    balance::TenantFields,
    session::session_id::{run_of, worker_of},
    upstream::WorkerSignal,
};

/// The number of stripes of the directory, each with its own lock, so that workers seldom contend.
const STRIPES: usize = 64;

/// The accepted sessions of clients with an ID: one entry of 32 bytes each, kept until the session
/// ends.
pub struct ClientDirectory {
    /// Each is locked for the lookup of one client.
    stripes: Box<[Mutex<Stripe>]>,
    /// The notices that each worker has not handled yet.
    notices: Box<[Mutex<Vec<TakeoverNotice>>]>,
    pub(crate) replacements: Arc<Replacements>,
    pub(crate) arrivals: Arrivals,
    pub(crate) duplicates: Duplicates,
    signal: Arc<WorkerSignal>,
}

#[derive(Default)]
struct Stripe {
    /// The newest session of each client ID of a pool.
    newest: HashMap<u64, DirectoryEntry>,
    /// The other sessions of a client ID, oldest first: of tenants that share an ID, and of devices
    /// whose broker has not ended an older session yet.
    older: HashMap<u64, Vec<DirectoryEntry>>,
}

/// Tells a worker that a newer session may end one of its sessions.
pub(crate) struct TakeoverNotice {
    pub(crate) session_id: u64,
    pub(crate) slot: u32,
    pub(crate) reason: TakeoverReason,
}

/// Why a newer session ends an older one.
pub(crate) enum TakeoverReason {
    /// The newer session is on another broker. Applies if the older session is this client's.
    OnOtherBroker(Arc<ClientIdentity>),
    /// The session that is told is the newer one, on another broker: the older one has moved here
    /// from another process. Applies if both are this client's.
    OlderMoved(DirectoryEntry, Arc<ClientIdentity>),
    /// The newer session is in another pool of the same listener. Applies if the older session is
    /// this client's, and the rules now send it elsewhere.
    InOtherPool(Arc<ClientIdentity>),
    /// The newer session was admitted at a limit because it replaces the older one. Held until the
    /// older session has ended, so that it is not replaced twice.
    Replaced { _session: ReplacedSession },
}

/// The hash of a client ID in a pool. A collision only costs a full comparison.
#[derive(Clone, Copy)]
pub(crate) struct ClientHash(u64);

impl ClientHash {
    /// `pool` is the pool's [`id`](crate::upstream::Pool::id).
    pub(crate) fn new(pool: u64, client_id: &str) -> Self {
        Self(xxh3_64_with_seed(client_id.as_bytes(), pool))
    }
}

impl ClientDirectory {
    pub fn new(workers: usize, signal: Arc<WorkerSignal>) -> Self {
        Self {
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            notices: (0..workers).map(|_| Mutex::default()).collect(),
            replacements: Arc::new(Replacements::new(workers, signal.clone())),
            arrivals: Arrivals::new(),
            duplicates: Duplicates::new(),
            signal,
        }
    }

    /// Enters an accepted session as the newest of its client ID. Returns the older sessions on
    /// other brokers that may belong to the same client, by these fields.
    pub(crate) fn claim(
        &self,
        client: ClientHash,
        entry: DirectoryEntry,
        fields: &TenantFields,
    ) -> Vec<DirectoryEntry> {
        let stripe = &mut *self.stripe(client);
        let Some(before) = stripe.newest.insert(client.0, entry) else { return Vec::new() };
        let older = stripe.older.entry(client.0).or_default();
        older.push(before);
        let is_elsewhere = |older: &&DirectoryEntry| {
            older.broker != entry.broker && older.tenant.may_be(entry.tenant, fields)
        };
        older.iter().filter(is_elsewhere).copied().collect()
    }

    /// Enters an accepted session that has moved here from another process. It counts as older than
    /// the sessions that are here, and the workers of those of them that began in the same `run` on
    /// other brokers are asked whether they are of its client, and so replace it: the other process
    /// did not know of them.
    pub(crate) fn enter_moved(
        &self,
        client: ClientHash,
        entry: DirectoryEntry,
        identity: ClientIdentity,
        run: u16,
        fields: &TenantFields,
    ) {
        let stripe = &mut *self.stripe(client);
        let Some(newest) = stripe.newest.get(&client.0).copied() else {
            stripe.newest.insert(client.0, entry);
            return;
        };
        let older = stripe.older.entry(client.0).or_default();
        older.insert(0, entry);
        let identity = Arc::new(identity);
        let newer = older.iter().skip(1).chain([&newest]);
        for newer in newer.filter(|newer| run_of(newer.session_id) == run) {
            if newer.broker != entry.broker && newer.tenant.may_be(entry.tenant, fields) {
                let DirectoryEntry { session_id, slot, .. } = *newer;
                let reason = TakeoverReason::OlderMoved(entry, identity.clone());
                self.notify(TakeoverNotice { session_id, slot, reason });
            }
        }
        self.signal.raise();
    }

    /// Tells the worker of an older session that a newer one is of the same client.
    pub(crate) fn take_over_one(&self, older: DirectoryEntry, newer: Arc<ClientIdentity>) {
        let DirectoryEntry { session_id, slot, .. } = older;
        let reason = TakeoverReason::OnOtherBroker(newer);
        self.notify(TakeoverNotice { session_id, slot, reason });
        self.signal.raise();
    }

    /// Tells the workers of older sessions about a newer one on another broker.
    pub(crate) fn take_over(&self, older: &[DirectoryEntry], newer: ClientIdentity) {
        self.notify_all(older, newer, TakeoverReason::OnOtherBroker);
    }

    /// Tells the workers of older sessions about a newer one in another pool of the listener.
    pub(crate) fn take_over_if_moved(&self, older: &[DirectoryEntry], newer: ClientIdentity) {
        self.notify_all(older, newer, TakeoverReason::InOtherPool);
    }

    fn notify_all(
        &self,
        older: &[DirectoryEntry],
        newer: ClientIdentity,
        reason: fn(Arc<ClientIdentity>) -> TakeoverReason,
    ) {
        let newer = Arc::new(newer);
        for &DirectoryEntry { session_id, slot, .. } in older {
            self.notify(TakeoverNotice { session_id, slot, reason: reason(newer.clone()) });
        }
        self.signal.raise();
    }

    /// Tells the workers of replaced sessions to end them.
    pub(crate) fn end_replaced(&self, replaced: Vec<ReplacedSession>) {
        for session in replaced {
            let DirectoryEntry { session_id, slot, .. } = session.older;
            let reason = TakeoverReason::Replaced { _session: session };
            self.notify(TakeoverNotice { session_id, slot, reason });
        }
        self.signal.raise();
    }

    fn notify(&self, notice: TakeoverNotice) {
        if let Some(notices) = self.notices.get(worker_of(notice.session_id, self.notices.len())) {
            notices.lock().unwrap_or_else(PoisonError::into_inner).push(notice);
        }
    }

    /// Takes the notices that `worker` has not handled yet.
    pub(crate) fn take_notices(&self, worker: u16) -> Vec<TakeoverNotice> {
        self.notices.get(usize::from(worker)).map_or_else(Vec::new, |notices| {
            std::mem::take(&mut *notices.lock().unwrap_or_else(PoisonError::into_inner))
        })
    }

    /// Removes a session that has ended.
    pub(crate) fn release(&self, client: ClientHash, session_id: u64) {
        let stripe = &mut *self.stripe(client);
        let older = stripe.older.get_mut(&client.0);
        if stripe.newest.get(&client.0).is_some_and(|newest| newest.session_id == session_id) {
            match older.and_then(Vec::pop) {
                Some(newest) => stripe.newest.insert(client.0, newest),
                None => stripe.newest.remove(&client.0),
            };
        } else if let Some(older) = older {
            older.retain(|entry| entry.session_id != session_id);
        }
        if stripe.older.get(&client.0).is_some_and(Vec::is_empty) {
            stripe.older.remove(&client.0);
        }
        shrink(&mut stripe.newest);
        shrink(&mut stripe.older);
    }

    /// The sessions of a client ID, of all tenants, newest first; `None` if there are more than
    /// `max`.
    pub(crate) fn find(&self, client: ClientHash, max: usize) -> Option<Vec<DirectoryEntry>> {
        let stripe = self.stripe(client);
        let older = stripe.older.get(&client.0).map_or(&[][..], Vec::as_slice);
        let newest = stripe.newest.get(&client.0);
        let all = newest.into_iter().chain(older.iter().rev());
        (older.len() < max).then(|| all.copied().collect())
    }

    /// The newest accepted sessions that may belong to this client, by these fields; at most `max`.
    pub(crate) fn may_be_of(
        &self,
        client: ClientHash,
        tenant: TenantHash,
        fields: &TenantFields,
        max: usize,
    ) -> Vec<DirectoryEntry> {
        let stripe = self.stripe(client);
        let older = stripe.older.get(&client.0).map_or(&[][..], Vec::as_slice);
        let all = stripe.newest.get(&client.0).into_iter().chain(older.iter().rev());
        all.filter(|entry| entry.tenant.may_be(tenant, fields)).take(max).copied().collect()
    }

    fn stripe(&self, client: ClientHash) -> MutexGuard<'_, Stripe> {
        let stripe = &self.stripes[client.0 as usize % STRIPES];
        stripe.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Frees the capacity left over from a reconnect storm.
fn shrink<T>(map: &mut HashMap<u64, T>) {
    if map.capacity() > 1024 && map.len() < map.capacity() / 8 {
        map.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests;
