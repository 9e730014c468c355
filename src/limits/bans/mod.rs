//! Bans of addresses, client IDs and usernames, shared by all workers.

mod ban;
mod handed;
mod networks;
mod table;
#[cfg(test)]
mod tests;

use std::{
    net::IpAddr,
    sync::{
        PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

pub(crate) use ban::{Ban, BanInForce, BanTarget, wall_time};
use table::BanTable;
pub(crate) use table::TooManyBans;

use crate::{
    labels::{BanKind, BanReason},
    metrics::LimitMetrics,
};

/// Bytes of client IDs, usernames and comments after which a page ends early.
const MAX_PAGE_TEXT_BYTES: usize = 64 << 10;

/// The bans in force. They survive reloads, and end by themselves.
pub(crate) struct Bans {
    /// Read for each connection, written for each ban: locked for one lookup, one change or one
    /// page at a time.
    table: RwLock<BanTable>,
    /// The number of bans by kind: without bans, no connection takes the lock.
    counts: [AtomicUsize; BanKind::ALL.len()],
    /// The number of times that bans were added.
    additions: AtomicU64,
    metrics: LimitMetrics,
}

/// Bans in the order in which they were imposed, the latest first.
#[derive(Debug, Default)]
pub(crate) struct BanPage {
    pub(crate) bans: Vec<Ban>,
    /// Where the next page begins; `None` if there are no more bans.
    pub(crate) next: Option<u64>,
    /// The number of all bans.
    pub(crate) total: usize,
}

impl Bans {
    pub(crate) fn new(max_bans: u32, metrics: LimitMetrics) -> Self {
        let table = RwLock::new(BanTable::new(max_bans as usize));
        Self { table, counts: Default::default(), additions: AtomicU64::new(0), metrics }
    }

    pub(crate) fn find_ip(&self, ip: IpAddr, now: Instant) -> Option<BanInForce> {
        self.has(BanKind::Ip).then(|| self.read().find_ip(ip, now))?
    }

    pub(crate) fn find_client_id(&self, id: &str, now: Instant) -> Option<BanInForce> {
        self.has(BanKind::ClientId).then(|| self.read().find_client_id(id, now))?
    }

    pub(crate) fn find_username(&self, name: &str, now: Instant) -> Option<BanInForce> {
        self.has(BanKind::Username).then(|| self.read().find_username(name, now))?
    }

    /// Rises when bans are added, after they are in force.
    pub(crate) fn additions(&self) -> u64 {
        self.additions.load(Ordering::Acquire)
    }

    /// Adds a ban; false if the target is banned at least as long already. A ban by the operator
    /// replaces any other.
    ///
    /// # Errors
    /// If there are as many bans by the operator as `limits.max_bans`.
    pub(crate) fn add(&self, ban: Ban) -> Result<bool, TooManyBans> {
        let (kind, reason) = (ban.target.kind(), ban.reason);
        let added = self.change(|table| table.add(ban))?;
        if added {
            self.metrics.count_ban(kind, reason);
            self.additions.fetch_add(1, Ordering::Release);
        }
        Ok(added)
    }

    /// Ends the ban of exactly this target; `None` if it is not banned.
    pub(crate) fn remove(&self, target: &BanTarget) -> Option<Ban> {
        self.change(|table| table.remove(target))
    }

    /// Ends all bans.
    pub(crate) fn clear(&self) {
        self.change(BanTable::clear);
    }

    /// Removes the bans that have ended.
    pub(crate) fn remove_ended(&self, now: Instant) {
        if BanKind::ALL.iter().any(|kind| self.has(*kind)) {
            self.change(|table| table.remove_ended(now));
        }
    }

    /// Applies another configuration: automatic bans last as long as `ban_for` says for their
    /// reason, and end if it says nothing.
    pub(super) fn reconfigure(
        &self,
        max_bans: u32,
        ban_for: impl Fn(BanReason) -> Option<Duration>,
    ) {
        self.change(|table| {
            table.set_capacity(max_bans as usize);
            table.change_ends(|ban| Some(ban.since + ban_for(ban.reason)?));
        });
    }

    /// At most `max` bans, from a page's [`next`](BanPage::next) on.
    pub(crate) fn page(&self, from: Option<u64>, max: usize) -> BanPage {
        let table = self.read();
        let total = BanKind::ALL.iter().map(|kind| table.count(*kind)).sum();
        let mut page = BanPage { total, ..BanPage::default() };
        let mut text_bytes = 0;
        let mut last = 0;
        for (number, ban) in table.newest_before(from.unwrap_or(u64::MAX)) {
            if page.bans.len() == max || text_bytes >= MAX_PAGE_TEXT_BYTES {
                page.next = Some(last);
                break;
            }
            last = number;
            text_bytes += ban.text_bytes();
            page.bans.push(ban.clone());
        }
        page
    }

    fn has(&self, kind: BanKind) -> bool {
        self.counts[kind as usize].load(Ordering::Relaxed) > 0
    }

    fn read(&self) -> RwLockReadGuard<'_, BanTable> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut BanTable) -> T) -> T {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut table);
        // Under the lock, so that the last change sets the last count.
        for &kind in BanKind::ALL {
            let count = table.count(kind);
            self.counts[kind as usize].store(count, Ordering::Relaxed);
            self.metrics.set_active(kind, count);
        }
        changed
    }
}
