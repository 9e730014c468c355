//! Warnings about rules that are likely a mistake, and about pools that no rule reaches.

use std::net::{IpAddr, SocketAddr};

use super::{Bind, Config, Listener};
use crate::{
    balance::EmptyClientId,
    rules::{Action, Percent, Rule, TextCondition},
};

/// Likely mistakes of the rules of a listener, a sentence each.
pub(super) fn of_listener(config: &Config, listener: &Listener) -> Vec<String> {
    let of_rule = |(at, rule): (usize, &Rule)| {
        let earlier = listener.rules.get(..at).unwrap_or_default();
        let never = absent_facts(listener, rule).or_else(|| shadowed(listener, rule, earlier));
        let of_target =
            [redirects_to_itself(config, listener, rule), late_id(config, listener, rule)];
        never.into_iter().chain(of_target.into_iter().flatten())
    };
    listener.rules.iter().enumerate().flat_map(of_rule).collect()
}

/// Pools that no listener and no rule names.
pub(super) fn pools_without_clients(config: &Config) -> impl Iterator<Item = String> {
    let reached: Vec<_> = config.listeners.iter().flat_map(Listener::pools).collect();
    let unreached = config.pools.iter().enumerate().filter(move |(at, _)| !reached.contains(at));
    unreached.map(|(_, pool)| {
        format!(
            "pool {0} gets no clients, as neither a listener nor a rule names it: write pool: {0} \
             there, or remove it",
            pool.name
        )
    })
}

/// A condition is about a fact that no client of the listener has.
fn absent_facts(listener: &Listener, rule: &Rule) -> Option<String> {
    let missing = |condition: &TextCondition| {
        let of_field = listener.lacks_field(&condition.field);
        of_field.or_else(|| {
            // Without any text, one of the patterns has to match, and each needs its variables.
            let matcher = &condition.matcher;
            let lacks = |variable| listener.lacks(variable);
            let mut patterns =
                matcher.patterns.iter().map(|pattern| pattern.variables().find_map(lacks));
            let first = patterns.next()?.filter(|_| matcher.listed.is_empty())?;
            patterns.all(|missing| missing.is_some()).then_some(first)
        })
    };
    let (condition, missing) =
        rule.when.texts.iter().find_map(|condition| Some((condition, missing(condition)?)))?;
    Some(format!(
        "rule {} of listener {} never holds: {} needs {}, which its clients do not have: give the \
         listener {}, or remove the condition",
        rule.name,
        listener.name,
        condition.field,
        missing.name(),
        missing.source(),
    ))
}

/// An earlier rule holds for all clients that this one would hold for.
fn shadowed(listener: &Listener, rule: &Rule, earlier: &[Rule]) -> Option<String> {
    // A share has all clients of a smaller one. One of 0 is meant to be raised.
    let takes_all = |other: &&Rule| {
        let has_share = other.percent == Percent::ALL
            || (other.percent >= rule.percent && rule.percent.hundredths() > 0);
        has_share && other.when.cover(&rule.when)
    };
    let other = earlier.iter().find(takes_all)?;
    let share = if other.percent == Percent::ALL {
        "all of its clients".to_owned()
    } else {
        format!("its {} % of the clients, as they are among {} %", rule.percent, other.percent)
    };
    Some(format!(
        "rule {} of listener {} never holds, because rule {} before it holds for {share}: put it \
         before that one, or remove it",
        rule.name, listener.name, other.name
    ))
}

/// A client that is sent to another server comes back here.
fn redirects_to_itself(config: &Config, listener: &Listener, rule: &Rule) -> Option<String> {
    let Action::Redirect(server) = &rule.action else { return None };
    let Bind::Tcp(own) = listener.bind else { return None };
    let server_address = address_of(server, own.port())?;
    let is_itself = |other: &&Listener| match other.bind {
        Bind::Tcp(bind) => is_at(bind, server_address),
        Bind::Unix(_) => false,
    };
    let target = config.listeners.iter().find(is_itself)?;
    Some(format!(
        "rule {} of listener {} sends clients to {server}, which is listener {} of this proxy: name \
         another server, or use pool",
        rule.name, listener.name, target.name
    ))
}

/// The address of a server, if it is known without DNS. Without a port it is that of the listener,
/// which the client keeps.
fn address_of(server: &str, own_port: u16) -> Option<SocketAddr> {
    if let Ok(address) = server.parse() {
        return Some(address);
    }
    let (host, port) = match server.rsplit_once(':') {
        Some((host, port)) if !server.ends_with(']') => (host, port.parse().ok()?),
        _ => (server, own_port),
    };
    let ip = match host {
        "localhost" => IpAddr::from([127, 0, 0, 1]),
        _ => host.trim_matches(['[', ']']).parse().ok()?,
    };
    Some(SocketAddr::new(ip, port))
}

/// Whether a listener accepts connections to this address. Of the addresses of the host, which a
/// wildcard stands for, only the loopback ones are known.
fn is_at(bind: SocketAddr, address: SocketAddr) -> bool {
    let (own, ip) = (bind.ip(), address.ip());
    let is_wildcard = own.is_unspecified() && own.is_ipv4() == ip.is_ipv4() && ip.is_loopback();
    bind.port() != 0 && bind.port() == address.port() && (own == ip || is_wildcard)
}

/// The pool of a rule assigns IDs, and that of the listener, which would have to, does not.
fn late_id(config: &Config, listener: &Listener, rule: &Rule) -> Option<String> {
    let Action::Pool(at) = rule.action else { return None };
    let (own, pool) = (config.pools.get(listener.pool)?, config.pools.get(at)?);
    let assigns = |policy| policy == EmptyClientId::Assign;
    let is_late = assigns(pool.balance.empty_client_id) && !assigns(own.balance.empty_client_id);
    is_late.then(|| {
        format!(
            "rule {} of listener {}: empty_client_id: assign of pool {} assigns no IDs there, \
             because they are assigned before the rules, as pool {} of the listener says: set it \
             there, too",
            rule.name, listener.name, pool.name, own.name
        )
    })
}
