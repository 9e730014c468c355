//! Pools.

use std::{collections::HashSet, net::IpAddr};

use super::{
    Checker, DeclaredNames, Valid, addresses::broker_address, checker::given, health::health,
    proxy_protocol, tls,
};
use crate::{
    balance::{Algorithm, KETAMA_MAX_TOTAL_WEIGHT},
    config::{
        Address, Admission, Balance, Discover, Health, Pool, Probe, Rate, Records, RetryOn,
        Upstream,
        at::{At, Place},
        raw::{self, DiscoverType, Reason},
        values::{ADDRESS, DNS_NAME, SourceAddress},
    },
};

/// The most local addresses of a pool: ports for 28 million sessions on each broker.
const MAX_SOURCES: usize = 1000;

pub(super) fn pool(checker: &Checker<'_>, raw: &At<raw::Pool>) -> Valid<Pool> {
    let (raw, section) = (raw.get()?, raw.place());
    let name = checker.required(&section, "name", &raw.name, "a name");
    let balance = raw.balance.get().and_then(balance);
    let discover = given(raw.discover.as_ref(), |raw| discover(checker, raw));
    let algorithm = balance.as_ref().ok().map(|balance| balance.algorithm);
    let upstreams = match (&raw.upstreams, &raw.discover) {
        (Some(list), discover) => upstreams(checker, list, algorithm, discover.is_some()),
        (None, Some(_)) => Ok(Vec::new()),
        (None, None) => {
            Err(checker.missing(&section, "upstreams", "a list of upstreams, or discover"))
        }
    };
    let listed = upstreams.as_deref().unwrap_or_default();
    let health = raw.health.get().and_then(|health_raw| health(checker, health_raw));
    let rebalance = given(raw.rebalance.as_ref(), |raw| rebalance(checker, raw));
    let admission = given(raw.admission.as_ref(), |raw| admission(checker, raw));
    let tls = given(raw.tls.as_ref(), |raw| tls::pool(checker, raw, listed));
    let sources = source_addresses(checker, &raw.source_addresses);
    if let (Ok(upstreams), Ok(health)) = (&upstreams, &health) {
        can_be_probed(checker, &raw.health.place(), upstreams, health)?;
    }
    if let (Ok(upstreams), None, Ok(sources)) = (&upstreams, &raw.discover, &sources) {
        can_be_dialled_from(checker, &raw.source_addresses.place(), upstreams, sources)?;
    }
    let send_proxy_protocol = proxy_protocol::sent(checker, &raw.send_proxy_protocol);
    let slow_start = given(raw.slow_start.as_ref(), |time| Ok(time.get()?.0));
    Ok(Pool {
        name: name?.0.clone(),
        balance: balance?,
        upstreams: upstreams?,
        discover: discover?,
        connect_timeout: raw.connect_timeout.get()?.0,
        connack_timeout: raw.connack_timeout.get()?.0,
        tries: raw.tries.get()?.0,
        retry_on: retry_on(&raw.retry_on)?,
        health: health?,
        on_down: *raw.on_down.get()?,
        rebalance: rebalance?,
        slow_start: slow_start?,
        admission: admission?,
        tls: tls?,
        send_proxy_protocol: send_proxy_protocol?,
        source_addresses: sources?,
    })
}

fn balance(raw: &raw::Balance) -> Valid<Balance> {
    let bounded_load = given(raw.bounded_load.as_ref(), |factor| Ok(factor.get()?.0))?;
    Ok(Balance {
        algorithm: *raw.algorithm.get()?,
        key: raw.key.get()?.0.clone(),
        empty_client_id: *raw.empty_client_id.get()?,
        bounded_load,
    })
}

fn upstreams(
    checker: &Checker<'_>,
    raw: &At<raw::List<raw::Upstream>>,
    algorithm: Option<Algorithm>,
    discovers: bool,
) -> Valid<Vec<Upstream>> {
    let list = raw.get()?;
    DeclaredNames::of(
        checker,
        list.iter().map(|entry| entry.value.as_ref().map(|entry| &entry.name)),
    );
    let upstreams = checker.some(raw, |entry| upstream(checker, entry))?;
    if !discovers && upstreams.iter().all(|upstream| upstream.backup) {
        return Err(checker.fault(&raw.place(), "at least one upstream must not be a backup"));
    }
    let weight: u64 = upstreams.iter().map(|upstream| u64::from(upstream.weight.get())).sum();
    if algorithm == Some(Algorithm::Ketama) && weight > KETAMA_MAX_TOTAL_WEIGHT {
        return Err(checker.fault(
            &raw.place(),
            format!(
                "the weights add up to {weight}; allowed for ketama, which has 160 points for each \
                 unit: up to {KETAMA_MAX_TOTAL_WEIGHT}"
            ),
        ));
    }
    Ok(upstreams)
}

fn upstream(checker: &Checker<'_>, raw: &At<raw::Upstream>) -> Valid<Upstream> {
    let (raw, section) = (raw.get()?, raw.place());
    let name = checker.required(&section, "name", &raw.name, "a name");
    let address = checker
        .required(&section, "address", &raw.address, ADDRESS)
        .and_then(|_| broker_address(checker, &raw.address));
    Ok(Upstream {
        name: name?.0.clone(),
        address: address?,
        weight: raw.weight.get()?.0,
        max_connections: raw.max_connections.get()?.0,
        backup: *raw.backup.get()?,
    })
}

/// Probes over HTTP need another port of the broker's host.
fn can_be_probed(
    checker: &Checker<'_>,
    at: &Place,
    upstreams: &[Upstream],
    health: &Health,
) -> Valid<()> {
    let http =
        health.active.as_ref().is_some_and(|check| matches!(check.probe, Probe::Http { .. }));
    let is_unix = |upstream: &&Upstream| matches!(upstream.address, Address::Unix(_));
    match upstreams.iter().find(is_unix).filter(|_| http) {
        None => Ok(()),
        Some(upstream) => {
            let name = &upstream.name;
            let what = format!("has checks of type http, and {name} is a unix socket");
            Err(checker.wrong(at, what, "tcp, mqtt"))
        }
    }
}

fn source_addresses(
    checker: &Checker<'_>,
    raw: &At<raw::List<SourceAddress>>,
) -> Valid<Vec<IpAddr>> {
    let mut listed = HashSet::new();
    let addresses = raw.each(|at| {
        let SourceAddress(address) = *at.get()?;
        if !listed.insert(address) {
            let what = format!("{address} is listed twice");
            return Err(checker.wrong(&at.place(), what, "each address once"));
        }
        Ok(address)
    })?;
    if addresses.len() > MAX_SOURCES {
        let what = format!("has {} entries", addresses.len());
        return Err(checker.wrong(&raw.place(), what, &format!("up to {MAX_SOURCES}")));
    }
    Ok(addresses)
}

/// Unix sockets have no local address.
fn can_be_dialled_from(
    checker: &Checker<'_>,
    at: &Place,
    upstreams: &[Upstream],
    sources: &[IpAddr],
) -> Valid<()> {
    let is_unix = |upstream: &Upstream| matches!(upstream.address, Address::Unix(_));
    if !sources.is_empty() && upstreams.iter().all(is_unix) {
        let message = "has no effect, as every upstream is a unix socket; remove it";
        return Err(checker.fault(at, message));
    }
    Ok(())
}

fn discover(checker: &Checker<'_>, raw: &At<raw::Discover>) -> Valid<Discover> {
    let (raw, section) = (raw.get()?, raw.place());
    let dns = checker.required(&section, "dns", &raw.dns, DNS_NAME);
    let port = given(raw.port.as_ref(), |port| Ok(port.get()?.0))?;
    let records = match (raw.kind.get()?, port) {
        (DiscoverType::Srv, port) => Records::Srv { port },
        (DiscoverType::A, Some(port)) => Records::Addresses { port },
        (DiscoverType::A, None) => {
            let allowed = "a port from 1 to 65535, for type a";
            return Err(checker.missing(&section, "port", allowed));
        }
    };
    Ok(Discover { dns: dns?.0.clone(), records, interval: raw.interval.get()?.0 })
}

fn retry_on(raw: &At<raw::List<Reason>>) -> Valid<RetryOn> {
    let reasons = raw.each(|reason| reason.get().copied())?;
    let on = |reason| reasons.contains(&reason);
    Ok(RetryOn {
        connect_failure: on(Reason::ConnectFailure),
        connect_timeout: on(Reason::ConnectTimeout),
        no_connack: on(Reason::NoConnack),
        server_unavailable: on(Reason::ServerUnavailable),
        server_busy: on(Reason::ServerBusy),
        use_another_server: on(Reason::UseAnotherServer),
    })
}

fn rebalance(checker: &Checker<'_>, raw: &At<raw::Rebalance>) -> Valid<std::num::NonZeroU32> {
    let (raw, section) = (raw.get()?, raw.place());
    checker.required(&section, "rate", &raw.rate, "sessions a second, from 1")?;
    raw.rate.get().map(|rate| rate.0)
}

fn admission(checker: &Checker<'_>, raw: &At<raw::Admission>) -> Valid<Admission> {
    let (raw, section) = (raw.get()?, raw.place());
    checker.required(&section, "rate", &raw.rate, "CONNECTs a second, from 1")?;
    let rate = raw.rate.get()?.0;
    let burst = raw.burst.get()?.0.unwrap_or(rate);
    Ok(Admission { rate: Rate { rate, burst }, max_wait: raw.max_wait.get()?.0 })
}
