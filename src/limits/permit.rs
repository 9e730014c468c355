//! A connection's place within the limits, from accept to its end.

use std::{cell::Cell, net::IpAddr, num::NonZeroU32, sync::Arc};

use super::{
    address::CountedAddress,
    connect_rate::RateCheck,
    connections::{ConnectionLimiter, tenth},
    quotas::{QuotaLeases, ReachedQuota},
};
use crate::{proto::mqtt::RejectReason, template::ClientFields};

/// A counted connection. Dropping the permit ends the count.
pub(crate) struct ConnectionPermit {
    limiter: Arc<ConnectionLimiter>,
    /// `None` until it is known, and for a unix peer, which is not limited per address.
    ip: Option<IpAddr>,
    /// The prefix length with which its address is counted; 0 if it is not counted.
    prefix: Cell<u8>,
    identified: bool,
    /// Whether its address exceeded `max_connections_per_ip` when it connected.
    over_address_limit: bool,
    /// Any other limit that it exceeds.
    over: Option<ConnectionLimit>,
    /// `None` if no quota counts it. Boxed, as few configurations have quotas.
    quotas: Cell<Option<Box<QuotaLeases>>>,
}

/// A limit on connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionLimit {
    Connections,
    ConnectionsPerIp,
    ConnectsPerIp,
}

/// So far over a limit that the connection is closed without an answer.
#[derive(Debug)]
pub(crate) struct FarOverLimit(pub(crate) ConnectionLimit);

impl ConnectionLimit {
    /// The answer to a client that is over the limit.
    pub(crate) fn refusal(self) -> RejectReason {
        match self {
            Self::Connections | Self::ConnectionsPerIp => RejectReason::QuotaExceeded,
            Self::ConnectsPerIp => RejectReason::ConnectionRateExceeded,
        }
    }

    pub(crate) fn exceeded(self) -> &'static str {
        match self {
            Self::Connections => "more than max_connections",
            Self::ConnectionsPerIp => "more than max_connections_per_ip",
            Self::ConnectsPerIp => "faster than connects_per_ip",
        }
    }

    pub(crate) fn far_exceeded(self) -> &'static str {
        match self {
            Self::Connections => "far more than max_connections; no CONNECT was waited for",
            Self::ConnectionsPerIp => {
                "far more than max_connections_per_ip; no CONNECT was waited for"
            }
            Self::ConnectsPerIp => "far faster than connects_per_ip; no CONNECT was waited for",
        }
    }
}

impl ConnectionPermit {
    /// Counts a new connection. If it is over the limit, it is refused once its CONNECT shows the
    /// protocol version.
    ///
    /// # Errors
    /// If the limit is exceeded by more than a tenth: the connection is then closed without an
    /// answer.
    pub(crate) fn enter(limiter: &Arc<ConnectionLimiter>) -> Result<Self, FarOverLimit> {
        let over_address_limit =
            limiter.count_in().ok_or(FarOverLimit(ConnectionLimit::Connections))?;
        Ok(Self {
            limiter: limiter.clone(),
            ip: None,
            prefix: Cell::new(0),
            identified: false,
            over_address_limit: false,
            over: over_address_limit.then_some(ConnectionLimit::Connections),
            quotas: Cell::default(),
        })
    }

    /// Counts a session that has moved here from another process, beyond the limits as well: a
    /// connection that exists stays. `None`: the peer of a unix socket.
    pub(crate) fn of_moved(limiter: &Arc<ConnectionLimiter>, ip: Option<IpAddr>) -> Self {
        limiter.count_in_moved();
        let permit = Self {
            limiter: limiter.clone(),
            ip,
            prefix: Cell::new(0),
            identified: true,
            over_address_limit: false,
            over: None,
            quotas: Cell::default(),
        };
        permit.recount();
        permit
    }

    /// Counts the connection by its client's address once that is known; `None` for a unix peer.
    ///
    /// # Errors
    /// If the address is so far over a limit that it gets no answer.
    pub(crate) fn identify(&mut self, ip: Option<IpAddr>) -> Result<(), FarOverLimit> {
        self.identified = true;
        let Some(address) = ip else { return Ok(()) };
        self.ip = ip;
        let limits = self.limiter.limits();
        let counted = CountedAddress::new(address, limits.ipv6_prefix);
        let check = limits.connects_per_ip.as_ref().map(|rate| rate.count(counted));
        if let Some(most) = limits.max_connections_per_ip.map(NonZeroU32::get) {
            let count = self.limiter.enter_from(counted, most.saturating_add(tenth(most)));
            let count = count.ok_or(FarOverLimit(ConnectionLimit::ConnectionsPerIp))?;
            self.prefix.set(limits.ipv6_prefix);
            self.over_address_limit = count > most;
        }
        match check {
            None | Some(RateCheck::Within) => Ok(()),
            Some(RateCheck::FarBeyond) => Err(FarOverLimit(ConnectionLimit::ConnectsPerIp)),
            Some(RateCheck::Beyond) => {
                self.over.get_or_insert(ConnectionLimit::ConnectsPerIp);
                Ok(())
            }
        }
    }

    /// Whether its address is known, or it has none.
    pub(crate) fn is_identified(&self) -> bool {
        self.identified
    }

    /// Counts the connection again by the current limits, which may have changed since accept.
    pub(crate) fn recount(&self) {
        let Some(ip) = self.ip else { return };
        let limits = self.limiter.limits();
        let wanted = limits.max_connections_per_ip.map_or(0, |_| limits.ipv6_prefix);
        let before = self.prefix.replace(wanted);
        if before == wanted {
            return;
        }
        let counted = |prefix| Some(CountedAddress::new(ip, prefix)).filter(|_| prefix > 0);
        let (left, entered) = (counted(before), counted(wanted));
        if left != entered {
            entered.map(|address| self.limiter.enter_from(address, u32::MAX));
            left.inspect(|address| self.limiter.leave_from(*address));
        }
    }

    /// Checks the limits once the CONNECT has been read.
    ///
    /// # Errors
    /// The limit that the connection exceeds.
    pub(crate) fn check(&self) -> Result<(), ConnectionLimit> {
        match self.over {
            Some(over) => Err(over),
            None if self.over_address_limit && self.is_still_over() => {
                Err(ConnectionLimit::ConnectionsPerIp)
            }
            None => Ok(()),
        }
    }

    /// Whether any quota is configured.
    pub(crate) fn has_quotas(&self) -> bool {
        !self.limiter.quotas.current().is_empty()
    }

    /// Counts the client in the quotas, once its CONNECT and its identity are known. Returns the
    /// quotas that are full, in which it is not counted.
    pub(crate) fn enter_quotas(&self, client: &ClientFields<'_>) -> Vec<ReachedQuota> {
        let (leases, reached) = QuotaLeases::enter(&self.limiter.quotas.current(), client);
        self.quotas.set(Some(Box::new(leases)).filter(|leases| !leases.is_empty()));
        reached
    }

    /// Counts the client in a quota that was full, if it has room now.
    pub(crate) fn retry_quota(&self, reached: &ReachedQuota) -> bool {
        self.with_quotas(|leases| leases.retry(reached))
    }

    /// Counts the client in a full quota, because an older session of its own ends for it.
    pub(crate) fn exceed_quota(&self, reached: &ReachedQuota) {
        self.with_quotas(|leases| leases.exceed(reached));
    }

    /// Whether the connection counts in this quota, with the same key.
    pub(crate) fn counts_in(&self, reached: &ReachedQuota) -> bool {
        self.with_quotas(|leases| leases.counts_in(reached))
    }

    /// Counts the client again by the current quotas, which may have changed since its CONNECT.
    pub(crate) fn recount_quotas<'a>(&self, client: impl FnOnce() -> ClientFields<'a>) {
        let set = self.limiter.quotas.current();
        let before = self.quotas.take();
        if before.is_none() && set.is_empty() {
            return;
        }
        self.quotas.set(before);
        self.with_quotas(|leases| leases.recount(&set, &client()));
    }

    /// Ends its count in the quotas: a refused client takes no place while it reads the answer.
    pub(crate) fn leave_quotas(&self) {
        self.quotas.take();
    }

    fn with_quotas<T>(&self, act: impl FnOnce(&mut QuotaLeases) -> T) -> T {
        let mut leases = self.quotas.take().unwrap_or_default();
        let done = act(&mut leases);
        self.quotas.set(Some(leases).filter(|leases| !leases.is_empty()));
        done
    }

    /// The address that it is counted under; `None` if it is not counted per address.
    pub(crate) fn counted_address(&self) -> Option<CountedAddress> {
        let prefix = self.prefix.get();
        self.ip.filter(|_| prefix > 0).map(|ip| CountedAddress::new(ip, prefix))
    }

    /// Whether its address is still over the limit: other connections may have ended since.
    fn is_still_over(&self) -> bool {
        let most = self.limiter.limits().max_connections_per_ip;
        let counted = self.counted_address();
        most.zip(counted)
            .is_some_and(|(most, counted)| self.limiter.open_from(counted) > most.get())
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.limiter.count_out();
        if let Some(address) = self.counted_address() {
            self.limiter.leave_from(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Limits, metrics::Metrics};

    fn limits(per_ip: u32, ipv6_prefix: u8) -> Limits {
        Limits { max_connections_per_ip: NonZeroU32::new(per_ip), ipv6_prefix, ..Limits::NONE }
    }

    fn connect(
        limiter: &Arc<ConnectionLimiter>,
        ip: &str,
    ) -> Result<ConnectionPermit, FarOverLimit> {
        let mut permit = ConnectionPermit::enter(limiter)?;
        permit.identify(Some(ip.parse().unwrap()))?;
        Ok(permit)
    }

    fn count(limiter: &ConnectionLimiter, ip: &str, prefix: u8) -> u32 {
        limiter.open_from(CountedAddress::new(ip.parse().unwrap(), prefix))
    }

    #[test]
    fn a_tenth_beyond_the_limit_is_answered_and_the_rest_is_not_counted() {
        for (limit, answered) in [(1, 1), (9, 1), (10, 1), (25, 2)] {
            let limiter =
                Arc::new(ConnectionLimiter::new(&limits(limit, 64), 1000, &Metrics::new()));
            let permits: Vec<_> =
                (0..limit + answered).map(|_| connect(&limiter, "10.0.0.1").unwrap()).collect();
            assert!(matches!(
                connect(&limiter, "10.0.0.1"),
                Err(FarOverLimit(ConnectionLimit::ConnectionsPerIp))
            ));
            assert!(connect(&limiter, "10.0.0.2").is_ok());
            let (within, beyond) = permits.split_at(limit as usize);
            assert!(within.iter().all(|permit| permit.check().is_ok()));
            assert!(
                beyond
                    .iter()
                    .all(|permit| permit.check() == Err(ConnectionLimit::ConnectionsPerIp))
            );
            assert_eq!(limiter.open(), limit + answered);
            assert_eq!(count(&limiter, "10.0.0.1", 64), limit + answered);
        }
    }

    #[test]
    fn a_connection_over_the_limit_may_go_on_once_others_have_ended() {
        let limiter = Arc::new(ConnectionLimiter::new(&limits(2, 64), 1000, &Metrics::new()));
        let mut permits: Vec<_> = (0..3).map(|_| connect(&limiter, "10.0.0.1").unwrap()).collect();
        assert!(permits[2].check().is_err());
        permits.remove(0);
        assert!(permits[1].check().is_ok());
    }

    #[test]
    fn counts_follow_the_limits() {
        let limiter = Arc::new(ConnectionLimiter::new(&limits(0, 64), 1000, &Metrics::new()));
        let ips = ["fd00:1::1:0:0:0:1", "fd00:1::2:0:0:0:1", "10.0.0.1"];
        let permits: Vec<_> = ips.iter().map(|ip| connect(&limiter, ip).unwrap()).collect();
        for (per_ip, prefix, wanted) in [
            (0, 64, [0, 0, 0]),
            (5, 64, [1, 1, 1]),
            (5, 48, [2, 2, 1]),
            (5, 128, [1, 1, 1]),
            (0, 128, [0, 0, 0]),
            (1, 32, [2, 2, 1]),
        ] {
            limiter.reconfigure(&limits(per_ip, prefix), 1000);
            permits.iter().for_each(ConnectionPermit::recount);
            permits.iter().for_each(ConnectionPermit::recount);
            assert_eq!(ips.map(|ip| count(&limiter, ip, prefix)), wanted, "{per_ip} {prefix}");
        }
        drop(permits);
        assert_eq!(ips.map(|ip| count(&limiter, ip, 32)), [0, 0, 0]);
        assert_eq!(limiter.open(), 0);
    }
}
