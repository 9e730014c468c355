//! Every key of a pool.

use std::{num::NonZeroU32, ops::RangeInclusive, time::Duration};

use crate::route::{Algorithm, EmptyClientId, KETAMA_MAX_TOTAL_WEIGHT, KeyTemplate};

use super::{
    ActiveCheck, Admission, Balance, Discover, Health, OnDown, Passive, Pool, Probe, Rate, Records,
    RetryOn, Secret, Upstream,
    cross::Names,
    keys::ABOVE_ZERO,
    section::{Item, Read, Section},
    units::ADDRESS,
    values,
};

/// The width of a weight in a DNS SRV record (RFC 2782), where discovered weights come from.
const MAX_WEIGHT: u32 = u16::MAX as u32;
/// Below 1.01 a broker is full before the last of the others has its share; at 100 nothing is bound.
const BOUNDED_LOAD: RangeInclusive<f64> = 1.01..=100.0;
/// A look-up or a probe more often than ten times a second is an attack on what it asks.
const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_hours(24);

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
            section.or("connect_timeout", "1s", |item| values::duration(item, &ABOVE_ZERO));
        let connack_timeout =
            section.or("connack_timeout", "10s", |item| values::duration(item, &ABOVE_ZERO));
        let tries = section.or("tries", "3", |item| values::positive(item, u32::MAX));
        let retry_on = section.optional("retry_on", retry_on);
        let health = section.section("health", health);
        let on_down = section.or("on_down", "close", |item| {
            values::one_of(item, &[("close", OnDown::Close), ("keep", OnDown::Keep)])
        });
        let rebalance = section.optional("rebalance", |item| item.section(rebalance));
        let slow_start = section.optional("slow_start", |item| values::duration(item, &ABOVE_ZERO));
        let admission = section.optional("admission", |item| item.section(admission));
        section.not_available_yet(&["tls", "send_proxy_protocol", "source_addresses"]);
        Ok(Pool {
            name: name?,
            balance: balance?,
            upstreams: upstreams?,
            discover: discover?,
            connect_timeout: connect_timeout?,
            connack_timeout: connack_timeout?,
            tries: tries?,
            retry_on: retry_on?.unwrap_or(EVERY_RETRY),
            health: health?,
            on_down: on_down?,
            rebalance: rebalance?,
            slow_start: slow_start?,
            admission: admission?,
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
            "client_id, username, source_ip or a template",
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
        section.optional("bounded_load", |item| values::decimal(item, &BOUNDED_LOAD));
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
    let weight = section.or("weight", "1", |item| values::positive(item, MAX_WEIGHT));
    let max_connections = section.or("max_connections", "0", values::limit);
    let backup = section.or("backup", "false", values::boolean);
    Ok(Upstream {
        name: name?,
        address: address?,
        weight: weight?,
        max_connections: max_connections?,
        backup: backup?,
    })
}

fn discover(section: &mut Section<'_>) -> Read<Discover> {
    let dns = section.required("dns", "a host name", values::host_name);
    let is_srv =
        section.or("type", "srv", |item| values::one_of(item, &[("srv", true), ("a", false)]));
    let port = section.optional("port", values::port);
    let interval = section.or("interval", "10s", |item| values::duration(item, &INTERVAL));
    let records = match (is_srv?, port?) {
        (true, None) => Records::Srv,
        (true, Some(_)) => {
            let message = "has no use with type srv, whose records name the ports; remove it";
            return Err(section.fault("port", message));
        }
        (false, Some(port)) => Records::Addresses { port },
        (false, None) => return Err(section.missing("port", "a port from 1 to 65535, for type a")),
    };
    Ok(Discover { dns: dns?, records, interval: interval? })
}

const EVERY_RETRY: RetryOn = RetryOn {
    connect_failure: true,
    connect_timeout: true,
    no_connack: true,
    server_unavailable: true,
    server_busy: true,
    use_another_server: true,
};

fn retry_on(item: &Item<'_>) -> Read<RetryOn> {
    type Reason = fn(&mut RetryOn) -> &mut bool;
    let reasons: &[(&str, Reason)] = &[
        ("connect_failure", |on| &mut on.connect_failure),
        ("connect_timeout", |on| &mut on.connect_timeout),
        ("no_connack", |on| &mut on.no_connack),
        ("server_unavailable", |on| &mut on.server_unavailable),
        ("server_busy", |on| &mut on.server_busy),
        ("use_another_server", |on| &mut on.use_another_server),
    ];
    let mut on = RetryOn {
        connect_failure: false,
        connect_timeout: false,
        no_connack: false,
        server_unavailable: false,
        server_busy: false,
        use_another_server: false,
    };
    for reason in item.list(|item| values::one_of(item, reasons))? {
        *reason(&mut on) = true;
    }
    Ok(on)
}

fn health(section: &mut Section<'_>) -> Read<Health> {
    let active = section.optional("active", |item| item.section(active));
    let passive = section.section("passive", passive);
    let fail_open_percent = section.or("fail_open_percent", "90", values::percent);
    Ok(Health {
        active: active?,
        passive: passive?,
        fail_open_percent: NonZeroU32::new(fail_open_percent?),
    })
}

#[derive(Clone, Copy)]
enum Kind {
    Tcp,
    Mqtt,
    Http,
}

fn active(section: &mut Section<'_>) -> Read<ActiveCheck> {
    let kinds = [("tcp", Kind::Tcp), ("mqtt", Kind::Mqtt), ("http", Kind::Http)];
    let kind = section.required("type", "tcp, mqtt, http", |item| values::one_of(item, &kinds));
    let interval = section.or("interval", "5s", |item| values::duration(item, &INTERVAL));
    let timeout = section.or("timeout", "2s", |item| values::duration(item, &ABOVE_ZERO));
    let rise = section.or("rise", "2", |item| values::positive(item, u32::MAX));
    let fall = section.or("fall", "3", |item| values::positive(item, u32::MAX));
    let probe = match kind {
        Ok(Kind::Tcp) => Ok(Probe::Tcp),
        Ok(Kind::Mqtt) => mqtt(section),
        Ok(Kind::Http) => http(section),
        // Which other keys there are depends on it.
        Err(reported) => {
            section.ignore_others();
            Err(reported)
        }
    };
    Ok(ActiveCheck {
        probe: probe?,
        interval: interval?,
        timeout: timeout?,
        rise: rise?,
        fall: fall?,
    })
}

fn mqtt(section: &mut Section<'_>) -> Read<Probe> {
    let username = section.optional("username", values::mqtt_text);
    let password = section.optional("password_file", password);
    let expect =
        section.optional("expect", |item| item.some(|item| values::integer(item, 0..=255)));
    let (username, password) = (username?, password?);
    if username.is_none() && password.is_some() {
        let message = "is there without a username; allowed: both, or a username alone";
        return Err(section.fault("password_file", message));
    }
    let expect = expect?.map_or_else(|| vec![0], |codes| codes.iter().map(|&c| c as u8).collect());
    Ok(Probe::Mqtt { username, password, expect })
}

fn http(section: &mut Section<'_>) -> Read<Probe> {
    let port = section.required("port", "a port from 1 to 65535", values::port);
    let path = section.or("path", "/", values::http_path);
    let username = section.optional("username", values::http_username);
    let password = section.optional("password_file", password);
    let expect =
        section.optional("expect", |item| item.some(|item| values::integer(item, 100..=599)));
    let login = match (username?, password?) {
        (None, None) => None,
        (Some(username), Some(password)) => Some((username, password)),
        (None, Some(_)) => {
            let message = "is there without a username; allowed: both, or neither";
            return Err(section.fault("password_file", message));
        }
        (Some(_), None) => {
            return Err(section.missing("password_file", "a file with the password of username"));
        }
    };
    let expect =
        expect?.map_or_else(|| vec![200], |codes| codes.iter().map(|&c| c as u16).collect());
    Ok(Probe::Http { port: port?, path: path?, expect, login })
}

fn password(item: &Item<'_>) -> Read<Secret> {
    values::secret_file(item).map(Secret::new)
}

fn passive(section: &mut Section<'_>) -> Read<Option<Passive>> {
    let failures = section.or("failures", "5", values::limit);
    let window = section.or("window", "30s", |item| values::duration(item, &ABOVE_ZERO));
    let eject_for = section.or("eject_for", "30s", |item| values::duration(item, &ABOVE_ZERO));
    let max_ejected_percent = section.or("max_ejected_percent", "50", values::percent);
    let (window, eject_for, max_ejected_percent) = (window?, eject_for?, max_ejected_percent?);
    let passive = |failures| Passive { failures, window, eject_for, max_ejected_percent };
    Ok(failures?.map(passive))
}

fn rebalance(section: &mut Section<'_>) -> Read<NonZeroU32> {
    section.required("rate", "sessions a second, from 1", |item| values::positive(item, u32::MAX))
}

fn admission(section: &mut Section<'_>) -> Read<Admission> {
    let rate = section
        .required("rate", "CONNECTs a second, from 1", |item| values::positive(item, u32::MAX));
    let burst = section.or("burst", "0", values::limit);
    let max_wait = section.or("max_wait", "5s", |item| values::duration(item, &ABOVE_ZERO));
    let rate = rate?;
    Ok(Admission { rate: Rate { rate, burst: burst?.unwrap_or(rate) }, max_wait: max_wait? })
}
