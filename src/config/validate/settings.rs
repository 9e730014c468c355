//! The sections whose values do not depend on others.

use super::{Checker, Valid, checker::given};
use crate::config::{
    BanRate, Dns, Drain, Limits, Log, Rate, Runtime, TcpKeepalive, Timeouts, Upgrade, at::At, raw,
    values::Limit,
};

type Settings = (Runtime, Limits, Timeouts, Dns, Drain, Upgrade, Log);

pub(super) fn settings(checker: &Checker<'_>, raw: &raw::Config) -> Valid<Settings> {
    let servers = raw.dns.get().and_then(|dns| {
        given(dns.servers.as_ref(), |list| checker.some(list, |at| Ok(at.get()?.0)))
    });
    let log = raw.log.get()?;
    let log = Log { level: *log.level.get()?, format: *log.format.get()? };
    let drain = Drain { timeout: raw.drain.get()?.timeout.get()?.0 };
    let upgrade = Upgrade { timeout: raw.upgrade.get()?.timeout.get()?.0 };
    let (limits, timeouts) = (limits(raw.limits.get()?)?, timeouts(raw.timeouts.get()?)?);
    let dns = Dns { servers: servers?.unwrap_or_default() };
    let runtime = Runtime { workers: *raw.runtime.get()?.workers.get()? };
    Ok((runtime, limits, timeouts, dns, drain, upgrade, log))
}

fn limits(raw: &raw::Limits) -> Valid<Limits> {
    let connects = raw.connects_per_ip.get()?;
    Ok(Limits {
        max_connections: raw.max_connections.get()?.0,
        max_connections_per_ip: raw.max_connections_per_ip.get()?.0,
        connects_per_ip: rate(&connects.rate, &connects.burst)?,
        handshakes_per_ip: ban_rate(&raw.handshakes_per_ip)?,
        connects_per_client_id: ban_rate(&raw.connects_per_client_id)?,
        connects_per_username: ban_rate(&raw.connects_per_username)?,
        bad_credentials_per_ip: ban_rate(&raw.bad_credentials_per_ip)?,
        max_bans: raw.max_bans.get()?.0,
        ipv6_prefix: raw.ipv6_prefix.get()?.0,
        connect_packet: raw.connect_packet.get()?.0 as usize,
        connack_packet: raw.connack_packet.get()?.0 as usize,
    })
}

/// The keys of `limits` that have `ban_for` and no rate.
pub(super) fn bans_without_rate(raw: &At<raw::Limits>) -> Vec<&'static str> {
    let Some(limits) = &raw.value else { return Vec::new() };
    let rates = [
        ("handshakes_per_ip", &limits.handshakes_per_ip),
        ("connects_per_client_id", &limits.connects_per_client_id),
        ("connects_per_username", &limits.connects_per_username),
        ("bad_credentials_per_ip", &limits.bad_credentials_per_ip),
    ];
    let has_no_effect = |rate: &raw::BanRate| {
        rate.ban_for.is_some() && rate.rate.value.as_ref().is_some_and(|rate| rate.0.is_none())
    };
    let without =
        rates.into_iter().filter(|(_, rate)| rate.value.as_ref().is_some_and(has_no_effect));
    without.map(|(key, _)| key).collect()
}

/// `None` without a rate: then there is no limit.
fn ban_rate(raw: &At<raw::BanRate>) -> Valid<Option<BanRate>> {
    let raw = raw.get()?;
    let ban_for = given(raw.ban_for.as_ref(), |time| Ok(time.get()?.0))?;
    Ok(rate(&raw.rate, &raw.burst)?.map(|rate| BanRate { rate, ban_for }))
}

fn rate(rate: &At<Limit>, burst: &At<Limit>) -> Valid<Option<Rate>> {
    let burst = burst.get()?.0;
    Ok(rate.get()?.0.map(|rate| Rate { rate, burst: burst.unwrap_or(rate) }))
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
