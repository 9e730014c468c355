//! A ban: what it applies to, why, and until when.

use std::{
    borrow::Cow,
    net::IpAddr,
    time::{Duration, Instant, SystemTime},
};

use ipnet::IpNet;

use crate::{
    labels::{BanKind, BanReason},
    limits::CountedAddress,
};

/// The length of a client ID or username that a ban compares: longer ones are banned by their first
/// 1,024 bytes, so that peers do not choose how much memory a ban takes.
const MAX_NAME_BYTES: usize = 1024;

/// What a ban applies to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum BanTarget {
    /// Without bits after its prefix.
    Ip(IpNet),
    ClientId(Box<str>),
    Username(Box<str>),
}

/// A ban. Times are monotonic: a step of the wall clock neither ends nor prolongs it.
#[derive(Clone, Debug)]
pub(crate) struct Ban {
    pub(crate) target: BanTarget,
    pub(crate) reason: BanReason,
    /// The operator's comment.
    pub(crate) comment: Option<Box<str>>,
    pub(crate) since: Instant,
    pub(crate) until: Instant,
}

/// The ban that refuses a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BanInForce {
    pub(crate) kind: BanKind,
    pub(crate) reason: BanReason,
    pub(crate) until: Instant,
}

impl BanTarget {
    /// An address as the limits count it.
    pub(crate) fn address(address: CountedAddress, ipv6_prefix: u8) -> Self {
        let ip = address.ip();
        let prefix = if ip.is_ipv6() { ipv6_prefix } else { 32 };
        Self::Ip(IpNet::new(ip, prefix).map_or(ip.into(), |network| network.trunc()))
    }

    /// A network. IPv4 addresses that are written as IPv6 are IPv4.
    pub(crate) fn network(network: IpNet) -> Self {
        const MAPPED_PREFIX: u8 = 96;
        let network = match (network.addr().to_canonical(), network.prefix_len()) {
            (IpAddr::V4(ip), prefix @ MAPPED_PREFIX..) if network.addr().is_ipv6() => {
                IpNet::new(ip.into(), prefix - MAPPED_PREFIX).unwrap_or(network)
            }
            _ => network,
        };
        Self::Ip(network.trunc())
    }

    pub(crate) fn client_id(id: &str) -> Self {
        Self::ClientId(compared(id).into())
    }

    pub(crate) fn username(name: &str) -> Self {
        Self::Username(compared(name).into())
    }

    pub(crate) fn kind(&self) -> BanKind {
        match self {
            Self::Ip(_) => BanKind::Ip,
            Self::ClientId(_) => BanKind::ClientId,
            Self::Username(_) => BanKind::Username,
        }
    }

    /// The address, the network with its prefix length, the client ID or the username.
    pub(crate) fn value(&self) -> Cow<'_, str> {
        match self {
            Self::Ip(network) if network.prefix_len() == network.max_prefix_len() => {
                network.addr().to_string().into()
            }
            Self::Ip(network) => network.to_string().into(),
            Self::ClientId(name) | Self::Username(name) => (&**name).into(),
        }
    }
}

impl Ban {
    pub(crate) fn new(target: BanTarget, reason: BanReason, now: Instant, time: Duration) -> Self {
        Self { target, reason, comment: None, since: now, until: now + time }
    }

    /// Bytes of its texts.
    pub(super) fn text_bytes(&self) -> usize {
        let comment = self.comment.as_ref().map_or(0, |comment| comment.len());
        comment + self.target.value().len()
    }
}

/// The part of a client ID or username that bans compare.
pub(super) fn compared(name: &str) -> &str {
    &name[..name.floor_char_boundary(MAX_NAME_BYTES)]
}

/// A time of the monotonic clock by the wall clock as it is now.
pub(crate) fn wall_time(at: Instant) -> SystemTime {
    let (now, wall) = (Instant::now(), SystemTime::now());
    let ahead = wall.checked_add(at.saturating_duration_since(now));
    let behind = now.saturating_duration_since(at);
    ahead.and_then(|ahead| ahead.checked_sub(behind)).unwrap_or(wall)
}
