//! Every key of a pool.

use std::{collections::HashSet, net::IpAddr, num::NonZeroU32, ops::RangeInclusive};

use crate::balance::{Algorithm, EmptyClientId, KETAMA_MAX_TOTAL_WEIGHT, KeyTemplate};

use super::{
    Address, Admission, Balance, Discover, Health, OnDown, Pool, Probe, Rate, Records, RetryOn,
    Upstream,
    cross::Names,
    health_keys::health,
    proxy_protocol_keys,
    quantities::{self, ABOVE_ZERO, INTERVAL, ZERO_TOO},
    section::{Item, Read, Section},
    tls,
    units::{ADDRESS, DNS_NAME, PORT},
    values,
};

/// Up to the width of a weight in a DNS SRV record (RFC 2782), where discovered weights come from.
const WEIGHTS: RangeInclusive<NonZeroU32> =
    NonZeroU32::MIN..=NonZeroU32::new(u16::MAX as u32).unwrap();
/// Below 1.01 a broker is full before the last of the others has its share; at 100 nothing is bound.
const BOUNDED_LOAD: RangeInclusive<f64> = 1.01..=100.0;

/// The most local addresses of a pool: ports for 28 million sessions on each broker.
const SOURCES: usize = 1000;

pub(super) fn pool(item: &Item<'_>, names: &mut Names) -> Read<Pool> {
    names.listed += 1;
    item.section(|section| {
        let name = section.required("name", "a name", |item| names.add(item));
        let balance = section.section("balance", balance);
        let algorithm = balance.as_ref().ok().map(|balance| balance.algorithm);
        let discover = section.optional("discover", |item| item.section(discover));
        let upstreams = if matches!(discover, Ok(None)) {
            section.required("upstreams", "a list of upstreams, or discover", |item| {
                upstreams(item, algorithm, false)
            })
        } else {
            let listed = section.optional("upstreams", |item| upstreams(item, algorithm, true));
            listed.map(Option::unwrap_or_default)
        };
        let connect_timeout =
            section.or("connect_timeout", "1s", |item| quantities::duration(item, &ABOVE_ZERO));
        let connack_timeout =
            section.or("connack_timeout", "10s", |item| quantities::duration(item, &ABOVE_ZERO));
        let tries = section.or("tries", "3", quantities::positive);
        let reasons = section.optional("retry_on", reasons);
        let health = section.section("health", health);
        let on_down = section.or("on_down", "close", |item| {
            values::one_of(item, &[("close", OnDown::Close), ("keep", OnDown::Keep)])
        });
        let rebalance = section.optional("rebalance", |item| item.section(rebalance));
        let slow_start =
            section.optional("slow_start", |item| quantities::duration(item, &ABOVE_ZERO));
        let admission = section.optional("admission", |item| item.section(admission));
        let listed = upstreams.as_deref().unwrap_or_default();
        let tls =
            section.optional("tls", |item| item.section(|section| tls::pool(section, listed)));
        let source_addresses = section.optional("source_addresses", source_addresses);
        let send_proxy_protocol =
            section.or("send_proxy_protocol", "none", proxy_protocol_keys::send);
        if let (Ok(upstreams), Ok(health)) = (&upstreams, &health) {
            can_be_asked(section, upstreams, health)?;
        }
        if let (Ok(upstreams), Ok(None), Ok(Some(sources))) =
            (&upstreams, &discover, &source_addresses)
        {
            can_be_dialled_from(section, upstreams, sources)?;
        }
        Ok(Pool {
            name: name?,
            balance: balance?,
            upstreams: upstreams?,
            discover: discover?,
            connect_timeout: connect_timeout?,
            connack_timeout: connack_timeout?,
            tries: tries?,
            retry_on: retry_on(reasons?.as_deref().unwrap_or(&REASONS)),
            health: health?,
            on_down: on_down?,
            rebalance: rebalance?,
            slow_start: slow_start?,
            admission: admission?,
            tls: tls?,
            send_proxy_protocol: send_proxy_protocol?,
            source_addresses: source_addresses?.unwrap_or_default(),
        })
    })
}

fn balance(section: &mut Section<'_>) -> Read<Balance> {
    let algorithm = section.or("algorithm", "rendezvous", |item| {
        values::one_of(
            item,
            &[
                ("rendezvous", Algorithm::Rendezvous),
                ("maglev", Algorithm::Maglev),
                ("ketama", Algorithm::Ketama),
                ("least_connections", Algorithm::LeastConnections),
                ("round_robin", Algorithm::RoundRobin),
            ],
        )
    });
    let key = section.or("key", "client_id", |item| {
        values::parsed(
            item,
            "client_id, username, source_ip, tls_cn, sni or a template",
            str::parse::<KeyTemplate>,
        )
    });
    let empty_client_id = section.or("empty_client_id", "least_connections", |item| {
        const ALLOWED: &str = "least_connections, username, source_ip, reject";
        if item.text(ALLOWED)? == "assign" {
            let message = "\"assign\" is not available yet in this version; allowed: ";
            return Err(item.fault(format!("{message}{ALLOWED}")));
        }
        values::one_of(
            item,
            &[
                ("least_connections", EmptyClientId::LeastConnections),
                ("username", EmptyClientId::Username),
                ("source_ip", EmptyClientId::SourceIp),
                ("reject", EmptyClientId::Reject),
            ],
        )
    });
    let bounded_load =
        section.optional("bounded_load", |item| quantities::decimal(item, &BOUNDED_LOAD));
    Ok(Balance {
        algorithm: algorithm?,
        key: key?,
        empty_client_id: empty_client_id?,
        bounded_load: bounded_load?,
    })
}

fn upstreams(
    item: &Item<'_>,
    algorithm: Option<Algorithm>,
    discovers: bool,
) -> Read<Vec<Upstream>> {
    let mut names = Names::default();
    let upstreams = item.some(|item| item.section(|section| upstream(section, &mut names)))?;
    if !discovers && upstreams.iter().all(|upstream| upstream.backup) {
        return Err(item.fault("are all backups; allowed: one upstream or more that is none"));
    }
    let weight: u64 = upstreams.iter().map(|upstream| u64::from(upstream.weight.get())).sum();
    if algorithm == Some(Algorithm::Ketama) && weight > KETAMA_MAX_TOTAL_WEIGHT {
        return Err(item.fault(format!(
            "weigh {weight} in sum; allowed for ketama, which has 160 points for each unit: up to \
             {KETAMA_MAX_TOTAL_WEIGHT}"
        )));
    }
    Ok(upstreams)
}

fn upstream(section: &mut Section<'_>, names: &mut Names) -> Read<Upstream> {
    let name = section.required("name", "a name", |item| names.add(item));
    let address = section.required("address", ADDRESS, values::address);
    let weight = section.or("weight", "1", |item| quantities::number(item, &WEIGHTS));
    let max_connections = section.or("max_connections", "0", quantities::limit);
    let backup = section.or("backup", "false", values::boolean);
    Ok(Upstream {
        name: name?,
        address: address?,
        weight: weight?,
        max_connections: max_connections?,
        backup: backup?,
    })
}

/// HTTP is asked at another port of the broker's host.
fn can_be_asked(section: &Section<'_>, upstreams: &[Upstream], health: &Health) -> Read<()> {
    let http =
        health.active.as_ref().is_some_and(|check| matches!(check.probe, Probe::Http { .. }));
    let is_unix = |upstream: &&Upstream| matches!(upstream.address, Address::Unix(_));
    match upstreams.iter().find(is_unix).filter(|_| http) {
        None => Ok(()),
        Some(upstream) => Err(section.fault(
            "health",
            &format!(
                "has checks of type http, and {} is a unix socket; allowed: tcp, mqtt",
                upstream.name
            ),
        )),
    }
}

fn source_addresses(item: &Item<'_>) -> Read<Vec<IpAddr>> {
    let mut listed = HashSet::new();
    let addresses = item.list(|item| {
        let address = values::source_address(item)?;
        if !listed.insert(address) {
            return Err(item.wrong(&format!("{address} is listed twice"), "each address once"));
        }
        Ok(address)
    })?;
    if addresses.len() > SOURCES {
        return Err(item.fault(format!("has {}; allowed: up to {SOURCES}", addresses.len())));
    }
    Ok(addresses)
}

/// Unix sockets are dialled from nowhere.
fn can_be_dialled_from(
    section: &Section<'_>,
    upstreams: &[Upstream],
    sources: &[IpAddr],
) -> Read<()> {
    let is_unix = |upstream: &Upstream| matches!(upstream.address, Address::Unix(_));
    if !sources.is_empty() && upstreams.iter().all(is_unix) {
        let message = "have no use, as every upstream is a unix socket; remove them";
        return Err(section.fault("source_addresses", message));
    }
    Ok(())
}

fn discover(section: &mut Section<'_>) -> Read<Discover> {
    let dns = section.required("dns", DNS_NAME, values::dns_name);
    let is_srv =
        section.or("type", "srv", |item| values::one_of(item, &[("srv", true), ("a", false)]));
    let port = section.optional("port", values::port);
    let interval = section.or("interval", "10s", |item| quantities::duration(item, &INTERVAL));
    let records = match (is_srv?, port?) {
        (true, port) => Records::Srv { port },
        (false, Some(port)) => Records::Addresses { port },
        (false, None) => return Err(section.missing("port", &format!("{PORT}, for type a"))),
    };
    Ok(Discover { dns: dns?, records, interval: interval? })
}

/// Why a CONNECT is offered to another broker.
const REASONS: [&str; 6] = [
    "connect_failure",
    "connect_timeout",
    "no_connack",
    "server_unavailable",
    "server_busy",
    "use_another_server",
];

/// Reads some of them, which need not be unlike each other.
fn reasons(item: &Item<'_>) -> Read<Vec<&'static str>> {
    let words = REASONS.map(|reason| (reason, reason));
    item.list(|item| values::one_of(item, &words))
}

fn retry_on(reasons: &[&str]) -> RetryOn {
    let on = |reason| reasons.contains(&reason);
    RetryOn {
        connect_failure: on("connect_failure"),
        connect_timeout: on("connect_timeout"),
        no_connack: on("no_connack"),
        server_unavailable: on("server_unavailable"),
        server_busy: on("server_busy"),
        use_another_server: on("use_another_server"),
    }
}

fn rebalance(section: &mut Section<'_>) -> Read<NonZeroU32> {
    section.required("rate", "sessions a second, from 1", quantities::positive)
}

fn admission(section: &mut Section<'_>) -> Read<Admission> {
    let rate = section.required("rate", "CONNECTs a second, from 1", quantities::positive);
    let burst = section.or("burst", "0", quantities::limit);
    let max_wait = section.or("max_wait", "5s", |item| quantities::duration(item, &ZERO_TOO));
    let rate = rate?;
    Ok(Admission { rate: Rate { rate, burst: burst?.unwrap_or(rate) }, max_wait: max_wait? })
}
