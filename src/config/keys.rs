//! Every key of the file: what it holds, and the only place that says what its absence means.

use std::{num::NonZeroUsize, ops::RangeInclusive, time::Duration};

use super::{
    Admin, Bind, Config, Dns, Drain, Idle, Limits, Listener, Log, LogLevel, ProgramLogFormat, Rate,
    Runtime, TcpKeepalive, TcpUserTimeout, Timeouts, Workers,
    access_log_keys::{Targets, access_log},
    cross::{Binds, Names},
    pool_keys::pool,
    proxy_protocol_keys,
    quantities::{self, ABOVE_ZERO, ZERO_TOO},
    secret,
    section::{Item, Read, Section},
    tls,
    units::{BIND, DURATION},
    values, websocket_keys,
};

/// TCP_KEEPIDLE and TCP_KEEPINTVL take 1 to 32,767 seconds: tcp(7), MAX_TCP_KEEPIDLE.
const TCP_KEEPALIVE: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(32_767);
/// TCP_KEEPCNT: MAX_TCP_KEEPCNT.
const TCP_KEEPCNT: RangeInclusive<u8> = 1..=127;
/// TCP_USER_TIMEOUT is a signed 32-bit number of milliseconds in the kernel, 0 meaning "unset".
const TCP_USER_TIMEOUT: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_hours(596);
/// From what holds any client ID of 23 bytes, which every server takes (MQTT 3.1.1, 3.1.3.1), to
/// the longest packet there is: 5 bytes of fixed header and 268,435,455 more (MQTT 5.0, 2.1.4).
const PACKET: RangeInclusive<usize> = 64..=5 + 268_435_455;
/// The most CPUs that a glibc CPU set names (CPU_SETSIZE).
const WORKERS: RangeInclusive<NonZeroUsize> = NonZeroUsize::MIN..=NonZeroUsize::new(1024).unwrap();

pub(super) fn config(file: &mut Section<'_>) -> Read<Config> {
    let mut binds = Binds::default();
    let mut pool_names = Names::default();
    let mut listener_names = Names::default();

    let runtime = file.section("runtime", runtime);
    // Before the listeners, which name them.
    let pools = file
        .required("pools", "a list of pools", |item| item.some(|item| pool(item, &mut pool_names)));
    let listeners = file.required("listeners", "a list of listeners", |item| {
        item.some(|item| {
            let pool = |item: &Item<'_>| pool_names.find(item, pools.as_ref().err());
            listener(item, &mut listener_names, &mut binds, pool)
        })
    });
    let limits = file.section("limits", limits);
    let timeouts = file.section("timeouts", timeouts);
    let dns = file.section("dns", dns);
    let drain = file.section("drain", drain);
    let mut targets = Targets::default();
    let access_log =
        file.optional("access_log", |item| item.list(|item| access_log(item, &mut targets)));
    let log = file.section("log", log);
    let admin = file.optional("admin", |item| item.section(|section| admin(section, &mut binds)));
    Ok(Config {
        runtime: runtime?,
        listeners: listeners?,
        pools: pools?,
        limits: limits?,
        timeouts: timeouts?,
        dns: dns?,
        drain: drain?,
        access_log: access_log?.unwrap_or_default(),
        log: log?,
        admin: admin?,
    })
}

fn runtime(section: &mut Section<'_>) -> Read<Runtime> {
    let workers = section.or("workers", "auto", |item| {
        let auto = [("auto", Workers::Auto)];
        values::one_of_or(item, &auto, "a whole number from 1 to 1024", |item| {
            quantities::number(item, &WORKERS).map(Workers::Number)
        })
    });
    Ok(Runtime { workers: workers? })
}

fn listener(
    item: &Item<'_>,
    names: &mut Names,
    binds: &mut Binds,
    pool: impl FnOnce(&Item<'_>) -> Read<usize>,
) -> Read<Listener> {
    names.listed += 1;
    item.section(|section| {
        let name = section.required("name", "a name", |item| names.add(item));
        let bind = section.required("bind", BIND, |item| binds.add(item));
        let pool = section.required("pool", "the name of a pool", pool);
        let websocket =
            section.optional("websocket", |item| item.section(websocket_keys::websocket));
        let over_websocket = section.has("websocket");
        let tls = section
            .optional("tls", |item| item.section(|section| tls::listener(section, over_websocket)));
        let proxy_protocol = section.optional("accept_proxy_protocol", |item| {
            item.section(|section| proxy_protocol_keys::accept(section, bind.as_ref().ok()))
        });
        Ok(Listener {
            name: name?,
            bind: bind?,
            pool: pool?,
            proxy_protocol: proxy_protocol?,
            tls: tls?,
            websocket: websocket?,
        })
    })
}

fn limits(section: &mut Section<'_>) -> Read<Limits> {
    let max_connections = section.or("max_connections", "0", quantities::limit);
    let max_connections_per_ip = section.or("max_connections_per_ip", "0", quantities::limit);
    let connects_per_ip = section.section("connects_per_ip", rate);
    let ipv6_prefix = section.or("ipv6_prefix", "64", |item| quantities::number(item, &(1..=128)));
    let connect_packet =
        section.or("connect_packet", "64KiB", |item| quantities::size(item, &PACKET));
    let connack_packet =
        section.or("connack_packet", "256KiB", |item| quantities::size(item, &PACKET));
    Ok(Limits {
        max_connections: max_connections?,
        max_connections_per_ip: max_connections_per_ip?,
        connects_per_ip: connects_per_ip?,
        ipv6_prefix: ipv6_prefix?,
        connect_packet: connect_packet?,
        connack_packet: connack_packet?,
    })
}

fn rate(section: &mut Section<'_>) -> Read<Option<Rate>> {
    let rate = section.or("rate", "0", quantities::limit);
    let burst = section.or("burst", "0", quantities::limit);
    let (rate, burst) = (rate?, burst?);
    Ok(rate.map(|rate| Rate { rate, burst: burst.unwrap_or(rate) }))
}

fn timeouts(section: &mut Section<'_>) -> Read<Timeouts> {
    let connect_packet =
        section.or("connect_packet", "10s", |item| quantities::duration(item, &ABOVE_ZERO));
    let idle = section.or("idle", "keepalive", |item| {
        let words = [("keepalive", Idle::KeepAlive), ("none", Idle::Never)];
        values::one_of_or(item, &words, DURATION, |item| {
            quantities::duration(item, &ABOVE_ZERO).map(Idle::After)
        })
    });
    let half_close = section.or("half_close", "30s", |item| quantities::duration(item, &ZERO_TOO));
    let tcp_keepalive = section.or("tcp_keepalive", "60s", tcp_keepalive);
    let tcp_user_timeout = section.or("tcp_user_timeout", "auto", |item| {
        values::one_of_or(item, &[("auto", TcpUserTimeout::Auto)], DURATION, |item| {
            quantities::duration(item, &TCP_USER_TIMEOUT).map(TcpUserTimeout::After)
        })
    });
    Ok(Timeouts {
        connect_packet: connect_packet?,
        idle: idle?,
        half_close: half_close?,
        tcp_keepalive: tcp_keepalive?,
        tcp_user_timeout: tcp_user_timeout?,
    })
}

/// The time to the first probe alone, or all that there is to say.
fn tcp_keepalive(item: &Item<'_>) -> Read<TcpKeepalive> {
    if !item.is_mapping() {
        return seconds(item).map(TcpKeepalive::new);
    }
    item.section(|section| {
        let idle = section.or("idle", "60s", seconds);
        let interval = section.optional("interval", seconds);
        let count = section.optional("count", |item| quantities::number(item, &TCP_KEEPCNT));
        let short = TcpKeepalive::new(idle?);
        Ok(TcpKeepalive {
            interval: interval?.unwrap_or(short.interval),
            count: count?.unwrap_or(short.count),
            ..short
        })
    })
}

/// TCP takes whole seconds, and more rather than less.
fn seconds(item: &Item<'_>) -> Read<Duration> {
    quantities::duration(item, &TCP_KEEPALIVE)
}

fn dns(section: &mut Section<'_>) -> Read<Dns> {
    let servers = section.optional("servers", |item| item.some(values::ip_and_port));
    Ok(Dns { servers: servers?.unwrap_or_default() })
}

fn drain(section: &mut Section<'_>) -> Read<Drain> {
    let timeout = section.or("timeout", "30s", |item| quantities::duration(item, &ZERO_TOO));
    Ok(Drain { timeout: timeout? })
}

fn log(section: &mut Section<'_>) -> Read<Log> {
    let level = section.or("level", "info", |item| {
        values::one_of(
            item,
            &[
                ("error", LogLevel::Error),
                ("warn", LogLevel::Warn),
                ("info", LogLevel::Info),
                ("debug", LogLevel::Debug),
                ("trace", LogLevel::Trace),
            ],
        )
    });
    let format = section.or("format", "text", |item| {
        values::one_of(item, &[("text", ProgramLogFormat::Text), ("json", ProgramLogFormat::Json)])
    });
    Ok(Log { level: level?, format: format? })
}

/// Of the whole file, only what a client of the admin listener has to know.
pub(super) fn admin_alone(file: &mut Section<'_>, with_token: bool) -> Read<Option<Admin>> {
    file.ignore_others();
    file.optional("admin", |item| {
        item.section(|section| {
            if with_token {
                return admin(section, &mut Binds::default());
            }
            section.ignore_others();
            Ok(Admin { bind: section.required("bind", BIND, values::bind)?, token: None })
        })
    })
}

fn admin(section: &mut Section<'_>, binds: &mut Binds) -> Read<Admin> {
    let token = section.optional("token_file", secret::token_file);
    let bind = section.required("bind", BIND, |item| {
        let bind = binds.add(item)?;
        match (&bind, &token) {
            (Bind::Tcp(address), Ok(None)) if !address.ip().is_loopback() => Err(item.fault(
                "can be reached from other hosts and has no token_file; allowed: \
                 a loopback address, unix:/PATH, or a token_file",
            )),
            _ => Ok(bind),
        }
    });
    Ok(Admin { bind: bind?, token: token? })
}
