//! The bans in force, without locks and metrics.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    time::Instant,
};

use super::{
    ban::{Ban, BanInForce, BanTarget, compared},
    networks::NetworkMap,
};
use crate::labels::{BanKind, BanReason};

/// Bans, found by what they apply to, in the order of their numbers, and in the order of their ends.
pub(super) struct BanTable {
    /// By their numbers, which rise.
    bans: BTreeMap<u64, Ban>,
    networks: NetworkMap,
    client_ids: HashMap<Box<str>, u64>,
    usernames: HashMap<Box<str>, u64>,
    ends: BTreeSet<(Instant, u64)>,
    /// The ends of the bans that were not imposed by the operator.
    automatic_ends: BTreeSet<(Instant, u64)>,
    next_number: u64,
    capacity: usize,
}

/// The table has as many bans of the operator as `limits.max_bans` allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("as many bans as limits.max_bans allows are in force; remove some, or raise it")]
pub(crate) struct TooManyBans;

impl BanTable {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            bans: BTreeMap::new(),
            networks: NetworkMap::default(),
            client_ids: HashMap::new(),
            usernames: HashMap::new(),
            ends: BTreeSet::new(),
            automatic_ends: BTreeSet::new(),
            next_number: 0,
            capacity,
        }
    }

    pub(super) fn count(&self, kind: BanKind) -> usize {
        match kind {
            BanKind::Ip => self.bans.len() - self.client_ids.len() - self.usernames.len(),
            BanKind::ClientId => self.client_ids.len(),
            BanKind::Username => self.usernames.len(),
        }
    }

    pub(super) fn find_ip(&self, ip: IpAddr, now: Instant) -> Option<BanInForce> {
        self.networks.containing(ip.to_canonical()).find_map(|number| self.in_force(number, now))
    }

    pub(super) fn find_client_id(&self, id: &str, now: Instant) -> Option<BanInForce> {
        self.client_ids.get(compared(id)).and_then(|number| self.in_force(*number, now))
    }

    pub(super) fn find_username(&self, name: &str, now: Instant) -> Option<BanInForce> {
        self.usernames.get(compared(name)).and_then(|number| self.in_force(*number, now))
    }

    fn in_force(&self, number: u64, now: Instant) -> Option<BanInForce> {
        let ban = self.bans.get(&number).filter(|ban| ban.until > now)?;
        Some(BanInForce { kind: ban.target.kind(), reason: ban.reason, until: ban.until })
    }

    /// Adds a ban; false if there is one of the same target that an automatic one does not replace.
    /// In a full table, it replaces the automatic ban that ends first.
    ///
    /// # Errors
    /// If the table is full of bans by the operator.
    pub(super) fn add(&mut self, ban: Ban) -> Result<bool, TooManyBans> {
        if let Some(number) = self.number_of(&ban.target)
            && let Some(known) = self.bans.get(&number)
        {
            let is_by_operator = ban.reason == BanReason::Operator;
            let stays = known.reason == BanReason::Operator || known.until >= ban.until;
            if !is_by_operator && stays && known.until > ban.since {
                return Ok(false);
            }
            self.remove_number(number);
        }
        while self.bans.len() >= self.capacity {
            let (_, first) = *self.automatic_ends.first().ok_or(TooManyBans)?;
            self.remove_number(first);
        }
        let number = self.next_number;
        self.next_number += 1;
        match &ban.target {
            BanTarget::Ip(network) => self.networks.insert(*network, number),
            BanTarget::ClientId(id) => drop(self.client_ids.insert(id.clone(), number)),
            BanTarget::Username(name) => drop(self.usernames.insert(name.clone(), number)),
        }
        self.ends.insert((ban.until, number));
        if ban.reason != BanReason::Operator {
            self.automatic_ends.insert((ban.until, number));
        }
        self.bans.insert(number, ban);
        Ok(true)
    }

    /// Removes the ban of exactly this target.
    pub(super) fn remove(&mut self, target: &BanTarget) -> Option<Ban> {
        let number = self.number_of(target)?;
        self.remove_number(number)
    }

    pub(super) fn clear(&mut self) {
        let next_number = self.next_number;
        *self = Self { next_number, ..Self::new(self.capacity) };
    }

    /// Removes the bans that have ended.
    pub(super) fn remove_ended(&mut self, now: Instant) {
        while let Some((_, number)) = self.ends.first().copied().filter(|(end, _)| *end <= now) {
            self.remove_number(number);
        }
    }

    /// Changes the end of each automatic ban to what `end` returns, or removes it.
    pub(super) fn change_ends(&mut self, end: impl Fn(&Ban) -> Option<Instant>) {
        let automatic: Vec<_> = self.automatic_ends.iter().map(|(_, number)| *number).collect();
        for number in automatic {
            let Some(ban) = self.bans.get(&number) else { continue };
            match end(ban) {
                Some(until) if until == ban.until => {}
                Some(until) => {
                    if let Some(ban) = self.remove_number(number) {
                        // There is room for it.
                        let _ = self.add(Ban { until, ..ban });
                    }
                }
                None => drop(self.remove_number(number)),
            }
        }
    }

    /// Applies another limit. Automatic bans beyond it are removed, those of the operator stay.
    pub(super) fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity;
        while self.bans.len() > capacity
            && let Some((_, first)) = self.automatic_ends.first().copied()
        {
            self.remove_number(first);
        }
    }

    /// The bans with lower numbers than `before`, the highest first.
    pub(super) fn newest_before(&self, before: u64) -> impl Iterator<Item = (u64, &Ban)> {
        self.bans.range(..before).rev().map(|(number, ban)| (*number, ban))
    }

    fn number_of(&self, target: &BanTarget) -> Option<u64> {
        match target {
            BanTarget::Ip(network) => self.networks.get(network),
            BanTarget::ClientId(id) => self.client_ids.get(id).copied(),
            BanTarget::Username(name) => self.usernames.get(name).copied(),
        }
    }

    fn remove_number(&mut self, number: u64) -> Option<Ban> {
        let ban = self.bans.remove(&number)?;
        match &ban.target {
            BanTarget::Ip(network) => self.networks.remove(network),
            BanTarget::ClientId(id) => drop(self.client_ids.remove(id)),
            BanTarget::Username(name) => drop(self.usernames.remove(name)),
        }
        self.ends.remove(&(ban.until, number));
        self.automatic_ends.remove(&(ban.until, number));
        Some(ban)
    }
}
