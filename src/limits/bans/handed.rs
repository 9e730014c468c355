//! Bans as another process takes them over.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Ban, BanTarget, Bans};
use crate::labels::{BanKind, BanReason};

/// The bans that are read at a time, so that clients are not kept waiting for the lock.
const PAGE_BANS: usize = 1000;

/// A ban in force. Times are relative: monotonic clocks of two processes cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HandedBan {
    kind: String,
    value: String,
    reason: String,
    #[serde(default)]
    comment: Option<Box<str>>,
    /// Milliseconds since it was imposed.
    age_ms: u64,
    /// Milliseconds until it ends.
    left_ms: u64,
}

impl HandedBan {
    fn new(ban: Ban, now: Instant) -> Self {
        let millis = |time: Duration| time.as_millis() as u64;
        Self {
            kind: ban.target.kind().as_str().to_owned(),
            value: ban.target.value().into_owned(),
            reason: ban.reason.as_str().to_owned(),
            comment: ban.comment,
            age_ms: millis(now.saturating_duration_since(ban.since)),
            left_ms: millis(ban.until.saturating_duration_since(now)),
        }
    }

    /// `None` if this version does not know its kind or its reason, or if it has ended.
    fn ban(&self, now: Instant) -> Option<Ban> {
        let Self { kind, value, reason, comment, age_ms, left_ms } = self;
        let kind = BanKind::ALL.iter().find(|known| known.as_str() == kind)?;
        let reason = *BanReason::ALL.iter().find(|known| known.as_str() == reason)?;
        let target = match kind {
            BanKind::Ip => {
                let network = value.parse().or_else(|_| value.parse().map(std::net::IpAddr::into));
                BanTarget::network(network.ok()?)
            }
            BanKind::ClientId => BanTarget::client_id(value),
            BanKind::Username => BanTarget::username(value),
        };
        let since = now.checked_sub(Duration::from_millis(*age_ms)).unwrap_or(now);
        let until = now.checked_add(Duration::from_millis(*left_ms)).filter(|end| *end > now)?;
        Some(Ban { target, reason, comment: comment.clone(), since, until })
    }
}

impl Bans {
    /// The bans in force, for the process after an upgrade.
    pub(crate) fn hand_over(&self, now: Instant) -> Vec<HandedBan> {
        let (mut bans, mut from) = (Vec::new(), None);
        loop {
            let page = self.page(from, PAGE_BANS);
            bans.extend(page.bans.into_iter().map(|ban| HandedBan::new(ban, now)));
            from = page.next;
            if from.is_none() {
                // The earliest first, as they were imposed.
                bans.reverse();
                return bans;
            }
        }
    }

    /// Imposes the bans of the process before an upgrade. They were counted there.
    pub(crate) fn take_over(&self, bans: &[HandedBan], now: Instant) {
        for ban in bans.iter().filter_map(|ban| ban.ban(now)) {
            // Fails only if `limits.max_bans` is smaller now.
            let _ = self.change(|table| table.add(ban));
        }
        self.additions.fetch_add(1, std::sync::atomic::Ordering::Release);
    }
}
