//! The rates that tell a flood or a flapping device from other clients, and the bans that follow.

use std::{
    hash::Hash,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;

use super::{
    address::CountedAddress,
    bans::{Ban, BanInForce, BanTarget, Bans},
    rate_table::RateTable,
    token_bucket::{BucketSize, TokenBucket},
};
use crate::{
    config::{self, Limits},
    labels::{BanReason, EndCause},
    metrics::LimitMetrics,
};

/// The rates of `limits` that may ban, and the bans in force. All workers share them.
pub(crate) struct ClientRates {
    current: ArcSwap<CurrentRates>,
    pub(crate) bans: Bans,
    metrics: LimitMetrics,
}

struct CurrentRates {
    ipv6_prefix: u8,
    handshakes_per_ip: Option<BanRate>,
    connects_per_client_id: Option<BanRate>,
    connects_per_username: Option<BanRate>,
    bad_credentials_per_ip: Option<BanRate>,
}

/// A rate with its buckets, which are kept over a reload that does not change it.
#[derive(Clone)]
struct BanRate {
    rate: config::Rate,
    size: BucketSize,
    ban_for: Option<Duration>,
    reason: BanReason,
    buckets: Arc<RateTable<TokenBucket>>,
}

/// Why a connection is closed without an answer.
#[derive(Debug)]
pub(crate) enum AddressRefusal {
    Banned(BanInForce),
    /// Faster than `handshakes_per_ip`, with the ban that follows.
    Handshakes(Option<Box<Ban>>),
    /// More failed logins than `bad_credentials_per_ip`.
    BadCredentials,
}

/// A CONNECT beyond a rate.
#[derive(Debug)]
pub(crate) struct ConnectTooFast {
    /// [`BanReason::ConnectsPerClientId`] or [`BanReason::ConnectsPerUsername`].
    pub(crate) rate: BanReason,
    /// The ban that follows.
    pub(crate) ban: Option<Box<Ban>>,
}

impl AddressRefusal {
    pub(crate) fn cause(&self) -> EndCause {
        match self {
            Self::Banned(_) => EndCause::Banned,
            Self::Handshakes(_) | Self::BadCredentials => EndCause::Limit,
        }
    }
}

impl ClientRates {
    pub(super) fn new(limits: &Limits, metrics: LimitMetrics) -> Self {
        Self {
            current: ArcSwap::from_pointee(CurrentRates::new(limits, None, &metrics)),
            bans: Bans::new(limits.max_bans, metrics.clone()),
            metrics,
        }
    }

    /// Applies other limits: bans of a rate that no longer bans end.
    pub(super) fn reconfigure(&self, limits: &Limits) {
        let before = self.current.load();
        let current = CurrentRates::new(limits, Some(&before), &self.metrics);
        let current = Arc::new(current);
        self.current.store(current.clone());
        self.bans.reconfigure(limits.max_bans, |reason| current.ban_for(reason));
    }

    /// Counts a new connection of an address.
    ///
    /// # Errors
    /// If it has to be closed at once.
    pub(crate) fn admit(&self, ip: IpAddr, now: Instant) -> Result<(), AddressRefusal> {
        if let Some(ban) = self.bans.find_ip(ip, now) {
            self.metrics.count_refused(ban.kind);
            return Err(AddressRefusal::Banned(ban));
        }
        let current = self.current.load();
        let counted = || CountedAddress::new(ip, current.ipv6_prefix);
        if let Some(rate) = &current.bad_credentials_per_ip
            && rate.is_used_up(&counted(), now)
        {
            return Err(AddressRefusal::BadCredentials);
        }
        if let Some(rate) = &current.handshakes_per_ip
            && !rate.take(&counted(), now)
        {
            let target = || BanTarget::address(counted(), current.ipv6_prefix);
            return Err(AddressRefusal::Handshakes(self.ban(rate, target, now)));
        }
        Ok(())
    }

    /// Counts a CONNECT with a client ID and a username.
    ///
    /// # Errors
    /// If one of them exceeds its rate.
    pub(crate) fn count_connect(
        &self,
        client_id: Option<&str>,
        username: Option<&str>,
        now: Instant,
    ) -> Result<(), ConnectTooFast> {
        let current = self.current.load();
        if let (Some(rate), Some(id)) = (&current.connects_per_client_id, client_id)
            && !rate.take(id, now)
        {
            let ban = self.ban(rate, || BanTarget::client_id(id), now);
            return Err(ConnectTooFast { rate: rate.reason, ban });
        }
        if let (Some(rate), Some(name)) = (&current.connects_per_username, username)
            && !rate.take(name, now)
        {
            let ban = self.ban(rate, || BanTarget::username(name), now);
            return Err(ConnectTooFast { rate: rate.reason, ban });
        }
        Ok(())
    }

    /// Counts a failed login of an address. Returns the ban that follows.
    pub(crate) fn count_bad_credentials(&self, ip: IpAddr, now: Instant) -> Option<Box<Ban>> {
        let current = self.current.load();
        let rate = current.bad_credentials_per_ip.as_ref()?;
        let counted = CountedAddress::new(ip, current.ipv6_prefix);
        rate.take(&counted, now);
        let target = || BanTarget::address(counted, current.ipv6_prefix);
        rate.is_used_up(&counted, now).then(|| self.ban(rate, target, now))?
    }

    /// Removes bans that have ended, for their memory and the metrics.
    pub(super) fn remove_ended_bans(&self) {
        self.bans.remove_ended(Instant::now());
    }

    /// Forgets addresses, client IDs and usernames whose buckets are full again.
    pub(super) fn forget_idle(&self) {
        let now = Instant::now();
        for rate in self.current.load().all() {
            rate.buckets.retain(|bucket| !bucket.is_full(now));
        }
    }

    /// Bans what has exceeded a rate. `None` if the rate does not ban, or the ban is not new.
    fn ban(
        &self,
        rate: &BanRate,
        target: impl FnOnce() -> BanTarget,
        now: Instant,
    ) -> Option<Box<Ban>> {
        let ban = Ban::new(target(), rate.reason, now, rate.ban_for?);
        // A table full of the operator's bans has no room for this one; the rate still applies.
        let is_new = self.bans.add(ban.clone()).unwrap_or(false);
        is_new.then(|| Box::new(ban))
    }
}

impl CurrentRates {
    /// Keeps the buckets of `before` whose rate is unchanged.
    fn new(limits: &Limits, before: Option<&Self>, metrics: &LimitMetrics) -> Self {
        let same_prefix = before.filter(|before| before.ipv6_prefix == limits.ipv6_prefix);
        let rate = |config: Option<config::BanRate>, reason, before: Option<&Option<BanRate>>| {
            let before = before.and_then(Option::as_ref);
            config.map(|config| BanRate::new(config, reason, before, metrics))
        };
        Self {
            ipv6_prefix: limits.ipv6_prefix,
            handshakes_per_ip: rate(
                limits.handshakes_per_ip,
                BanReason::HandshakesPerIp,
                same_prefix.map(|before| &before.handshakes_per_ip),
            ),
            connects_per_client_id: rate(
                limits.connects_per_client_id,
                BanReason::ConnectsPerClientId,
                before.map(|before| &before.connects_per_client_id),
            ),
            connects_per_username: rate(
                limits.connects_per_username,
                BanReason::ConnectsPerUsername,
                before.map(|before| &before.connects_per_username),
            ),
            bad_credentials_per_ip: rate(
                limits.bad_credentials_per_ip,
                BanReason::BadCredentialsPerIp,
                same_prefix.map(|before| &before.bad_credentials_per_ip),
            ),
        }
    }

    fn all(&self) -> impl Iterator<Item = &BanRate> {
        [
            &self.handshakes_per_ip,
            &self.connects_per_client_id,
            &self.connects_per_username,
            &self.bad_credentials_per_ip,
        ]
        .into_iter()
        .flatten()
    }

    fn ban_for(&self, reason: BanReason) -> Option<Duration> {
        self.all().find(|rate| rate.reason == reason)?.ban_for
    }
}

impl BanRate {
    fn new(
        config: config::BanRate,
        reason: BanReason,
        before: Option<&Self>,
        metrics: &LimitMetrics,
    ) -> Self {
        let config::BanRate { rate, ban_for } = config;
        let buckets = match before {
            Some(before) if before.rate == rate => before.buckets.clone(),
            _ => Arc::new(RateTable::new(metrics.evicted(reason.as_str()))),
        };
        Self { rate, size: rate.into(), ban_for, reason, buckets }
    }

    /// Takes a token; false if the bucket is empty.
    fn take(&self, key: &(impl Hash + ?Sized), now: Instant) -> bool {
        let full = || TokenBucket::full(now);
        self.buckets.with(key, full, |bucket| bucket.take(self.size, now))
    }

    /// Whether there is no token left.
    fn is_used_up(&self, key: &(impl Hash + ?Sized), now: Instant) -> bool {
        self.buckets.is(key, |bucket| bucket.is_empty(self.size, now))
    }
}

#[cfg(test)]
mod tests;
