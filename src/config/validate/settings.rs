//! The sections whose values do not depend on others.

use super::{Checker, Valid, checker::given};
use crate::config::{Dns, Drain, Limits, Log, Rate, Runtime, TcpKeepalive, Timeouts, raw};

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
    let burst = rate.burst.get()?.0;
    Ok(Limits {
        max_connections: raw.max_connections.get()?.0,
        max_connections_per_ip: raw.max_connections_per_ip.get()?.0,
        connects_per_ip: rate.rate.get()?.0.map(|rate| Rate { rate, burst: burst.unwrap_or(rate) }),
        ipv6_prefix: raw.ipv6_prefix.get()?.0,
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
        tcp_keepalive: TcpKeepalive { interval, count: keepalive.count.get()?.0, ..short },
        tcp_user_timeout: *raw.tcp_user_timeout.get()?,
    })
}
