//! A connection's part in the limits, from accept to its end.

use std::{cell::Cell, net::IpAddr, num::NonZeroU32, sync::Arc};

use super::{
    address::CountedAddress,
    connect_rate::Speed,
    connections::{ConnectionLimiter, tenth},
};
use crate::proto::mqtt::RejectReason;

/// A connection counted in; dropped, it is counted out.
pub struct ConnectionPermit {
    limiter: Arc<ConnectionLimiter>,
    /// `None` before it is known, and for a unix peer, which no limit by address concerns.
    ip: Option<IpAddr>,
    /// The prefix by which its address is counted; 0: it is not.
    prefix: Cell<u8>,
    identified: bool,
    /// Whether there were too many from its address when it came.
    too_many: bool,
    /// Another limit that it is over.
    over: Option<Limit>,
}

/// A limit that a connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    Connections,
    ConnectionsPerIp,
    ConnectsPerIp,
}

/// Over a limit by so much that it is closed without an answer.
#[derive(Debug)]
pub(crate) struct FarOverLimit(pub(crate) Limit);

impl Limit {
    /// What a client that is over it is told.
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
    /// Counts a connection in. Where it is one too many, it is told so once its CONNECT shows in
    /// which version; but past a tenth more than the limit there is no answer.
    pub(crate) fn enter(limiter: &Arc<ConnectionLimiter>) -> Result<Self, FarOverLimit> {
        let too_many = limiter.count_in().ok_or(FarOverLimit(Limit::Connections))?;
        Ok(Self {
            limiter: limiter.clone(),
            ip: None,
            prefix: Cell::new(0),
            identified: false,
            too_many: false,
            over: too_many.then_some(Limit::Connections),
        })
    }

    /// Counts the client by its address, once that is known; `None` is a unix peer's.
    pub(crate) fn identify(&mut self, ip: Option<IpAddr>) -> Result<(), FarOverLimit> {
        self.identified = true;
        let Some(address) = ip else { return Ok(()) };
        self.ip = ip;
        let terms = self.limiter.terms();
        let counted = CountedAddress::new(address, terms.ipv6_prefix);
        let speed = terms.connects_per_ip.as_ref().map(|rate| rate.count(counted));
        if let Some(most) = terms.max_connections_per_ip.map(NonZeroU32::get) {
            let count = self.limiter.enter_from(counted, most.saturating_add(tenth(most)));
            let count = count.ok_or(FarOverLimit(Limit::ConnectionsPerIp))?;
            self.prefix.set(terms.ipv6_prefix);
            self.too_many = count > most;
        }
        match speed {
            None | Some(Speed::Within) => Ok(()),
            Some(Speed::FarBeyond) => Err(FarOverLimit(Limit::ConnectsPerIp)),
            Some(Speed::Beyond) => {
                self.over.get_or_insert(Limit::ConnectsPerIp);
                Ok(())
            }
        }
    }

    /// Whether its address has been counted, or it has none.
    pub(crate) fn is_identified(&self) -> bool {
        self.identified
    }

    /// Counts the client by its address as the limits are now: it may have come under others.
    pub(crate) fn recount(&self) {
        let Some(ip) = self.ip else { return };
        let terms = self.limiter.terms();
        let wanted = terms.max_connections_per_ip.map_or(0, |_| terms.ipv6_prefix);
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

    /// Whether this connection's CONNECT may go on.
    pub(crate) fn check(&self) -> Result<(), Limit> {
        match self.over {
            Some(over) => Err(over),
            None if self.too_many && self.is_one_too_many() => Err(Limit::ConnectionsPerIp),
            None => Ok(()),
        }
    }

    /// What it is counted as.
    pub(crate) fn counted(&self) -> Option<CountedAddress> {
        let prefix = self.prefix.get();
        self.ip.filter(|_| prefix > 0).map(|ip| CountedAddress::new(ip, prefix))
    }

    /// Whether that is so still: others may have left while its CONNECT came.
    fn is_one_too_many(&self) -> bool {
        let most = self.limiter.terms().max_connections_per_ip;
        let counted = self.counted();
        most.zip(counted)
            .is_some_and(|(most, counted)| self.limiter.open_from(counted) > most.get())
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.limiter.count_out();
        if let Some(address) = self.counted() {
            self.limiter.leave_from(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;

    fn limits(per_ip: u32, ipv6_prefix: u8) -> Limits {
        Limits {
            max_connections: None,
            max_connections_per_ip: NonZeroU32::new(per_ip),
            connects_per_ip: None,
            ipv6_prefix,
            connect_packet: 1024,
            connack_packet: 1024,
        }
    }

    fn come(limiter: &Arc<ConnectionLimiter>, ip: &str) -> Result<ConnectionPermit, FarOverLimit> {
        let mut pass = ConnectionPermit::enter(limiter)?;
        pass.identify(Some(ip.parse().unwrap()))?;
        Ok(pass)
    }

    fn count(limiter: &ConnectionLimiter, ip: &str, prefix: u8) -> u32 {
        limiter.open_from(CountedAddress::new(ip.parse().unwrap(), prefix))
    }

    #[test]
    fn a_tenth_beyond_the_limit_is_told_and_the_rest_is_not_counted() {
        for (limit, answered) in [(1, 1), (9, 1), (10, 1), (25, 2)] {
            let limiter = Arc::new(ConnectionLimiter::new(&limits(limit, 64), 1000));
            let passes: Vec<_> =
                (0..limit + answered).map(|_| come(&limiter, "10.0.0.1").unwrap()).collect();
            assert!(matches!(
                come(&limiter, "10.0.0.1"),
                Err(FarOverLimit(Limit::ConnectionsPerIp))
            ));
            assert!(come(&limiter, "10.0.0.2").is_ok());
            let (within, beyond) = passes.split_at(limit as usize);
            assert!(within.iter().all(|pass| pass.check().is_ok()));
            assert!(beyond.iter().all(|pass| pass.check() == Err(Limit::ConnectionsPerIp)));
            assert_eq!(limiter.open(), limit + answered);
            assert_eq!(count(&limiter, "10.0.0.1", 64), limit + answered);
        }
    }

    #[test]
    fn who_is_over_the_limit_may_go_on_once_others_have_left() {
        let limiter = Arc::new(ConnectionLimiter::new(&limits(2, 64), 1000));
        let mut passes: Vec<_> = (0..3).map(|_| come(&limiter, "10.0.0.1").unwrap()).collect();
        assert!(passes[2].check().is_err());
        passes.remove(0);
        assert!(passes[1].check().is_ok());
    }

    #[test]
    fn counts_follow_the_limits() {
        let limiter = Arc::new(ConnectionLimiter::new(&limits(0, 64), 1000));
        let ips = ["fd00:1::1:0:0:0:1", "fd00:1::2:0:0:0:1", "10.0.0.1"];
        let passes: Vec<_> = ips.iter().map(|ip| come(&limiter, ip).unwrap()).collect();
        for (per_ip, prefix, wanted) in [
            (0, 64, [0, 0, 0]),
            (5, 64, [1, 1, 1]),
            (5, 48, [2, 2, 1]),
            (5, 128, [1, 1, 1]),
            (0, 128, [0, 0, 0]),
            (1, 32, [2, 2, 1]),
        ] {
            limiter.reconfigure(&limits(per_ip, prefix), 1000);
            passes.iter().for_each(ConnectionPermit::recount);
            passes.iter().for_each(ConnectionPermit::recount);
            assert_eq!(ips.map(|ip| count(&limiter, ip, prefix)), wanted, "{per_ip} {prefix}");
        }
        drop(passes);
        assert_eq!(ips.map(|ip| count(&limiter, ip, 32)), [0, 0, 0]);
        assert_eq!(limiter.open(), 0);
    }
}
