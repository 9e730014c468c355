//! The sections whose values do not depend on others.

use std::num::NonZeroU32;

use super::{Checker, Valid, checker::given};
use crate::config::{
    Dns, Drain, Limits, Log, Rate, Runtime, TcpKeepalive, Timeouts, at::At, raw, values::Number,
};

type Settings = (Runtime, Limits, Timeouts, Dns, Drain, Log);

pub(super) fn settings(checker: &Checker<'_>, raw: &raw::Config) -> Valid<Settings> {
    let servers = raw.dns.get().and_then(|dns| {
        given(dns.servers.as_ref(), |list| checker.some(list, |at| Ok(at.get()?.0)))
    });
    let log = raw.log.get()?;
    let log = Log { level: *log.level.get()?, format: *log.format.get()? };
    let drain = Drain { timeout: raw.drain.get()?.timeout.get()?.0 };
    let (limits, timeouts) = (limits(raw.limits.get()?)?, timeouts(raw.timeouts.get()?)?);
    let dns = Dns { servers: servers?.unwrap_or_default() };
    let runtime = Runtime { workers: *raw.runtime.get()?.workers.get()? };
    Ok((runtime, limits, timeouts, dns, drain, log))
}

fn limits(raw: &raw::Limits) -> Valid<Limits> {
    let rate = raw.connects_per_ip.get()?;
    let burst = limit(&rate.burst)?;
    Ok(Limits {
        max_connections: limit(&raw.max_connections)?,
        max_connections_per_ip: limit(&raw.max_connections_per_ip)?,
        connects_per_ip: limit(&rate.rate)?.map(|rate| Rate { rate, burst: burst.unwrap_or(rate) }),
        ipv6_prefix: raw.ipv6_prefix.get()?.0 as u8,
        connect_packet: raw.connect_packet.get()?.0 as usize,
        connack_packet: raw.connack_packet.get()?.0 as usize,
    })
}

fn timeouts(raw: &raw::Timeouts) -> Valid<Timeouts> {
    let keepalive = raw.tcp_keepalive.get()?;
    let short = TcpKeepalive::new(keepalive.idle.get()?.0);
    let interval = match &keepalive.interval {
        Some(interval) => interval.get()?.0,
        None => short.interval,
    };
    Ok(Timeouts {
        connect_packet: raw.connect_packet.get()?.0,
        idle: *raw.idle.get()?,
        half_close: raw.half_close.get()?.0,
        tcp_keepalive: TcpKeepalive { interval, count: keepalive.count.get()?.0 as u8, ..short },
        tcp_user_timeout: *raw.tcp_user_timeout.get()?,
    })
}

/// A limit; 0 is no limit.
pub(super) fn limit(at: &At<raw::Limit>) -> Valid<Option<NonZeroU32>> {
    at.get().map(|limit| NonZeroU32::new(limit.0 as u32))
}

/// A number from 1.
pub(super) fn positive<const MAX: u64>(at: &At<Number<1, MAX>>) -> Valid<NonZeroU32> {
    at.get().map(|number| NonZeroU32::new(number.0 as u32).unwrap_or(NonZeroU32::MIN))
}
