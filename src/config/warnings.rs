//! Warnings about a valid configuration that is likely a mistake.

use super::{
    Config, Listener, PassedTlvs, Pool, ProxyProtocolOut, TcpKeepalive, TcpUserTimeout, Timeouts,
    limit_warnings, passthrough, rule_warnings, tls_warnings,
};
use crate::{
    balance::EmptyClientId,
    template::{Template, Variable},
};

impl Config {
    /// Likely mistakes, a sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let listeners = self.listeners.iter();
        let of_listener = |listener: &Listener| {
            let keys = listener.pools().into_iter().filter_map(|at| {
                let pool = &self.pools[at];
                absent_key(listener, pool)
            });
            let mut warnings: Vec<_> = keys.collect();
            warnings.extend(tls_warnings::of_listener(listener));
            warnings.extend(refuses_all(listener));
            warnings.extend(likely_mistakes(listener));
            warnings.extend(passthrough::warnings(self, listener));
            warnings.extend(rule_warnings::of_listener(self, listener));
            warnings
        };
        let mut warnings: Vec<_> = listeners.flat_map(of_listener).collect();
        warnings.extend(rule_warnings::pools_without_clients(self));
        warnings.extend(tls_warnings::of_pools(self));
        warnings.extend(self.pools.iter().filter_map(assigned_without_key));
        warnings.extend(self.pools.iter().filter_map(|pool| self.absent_tlvs(pool)));
        warnings.extend(count_without_effect(&self.timeouts));
        warnings.extend(limit_warnings::warnings(self));
        warnings
    }
}

impl Config {
    /// TLVs that a pool passes on, and that no listener keeps.
    fn absent_tlvs(&self, pool: &Pool) -> Option<String> {
        let Some(ProxyProtocolOut::V2 { tlvs, .. }) = &pool.send_proxy_protocol else {
            return None;
        };
        let rules = self.listeners.iter().filter_map(|listener| listener.proxy_protocol.as_ref());
        let kept: Vec<u8> = rules.flat_map(|rules| rules.tlvs.iter().copied()).collect();
        let absent = match tlvs {
            PassedTlvs::All if kept.is_empty() => "all TLVs".to_owned(),
            PassedTlvs::All => return None,
            PassedTlvs::Listed(types) => {
                let absent = types.iter().filter(|kind| !kept.contains(kind));
                absent.map(|kind| format!("{kind:#04X}")).collect::<Vec<_>>().join(", ")
            }
        };
        (!absent.is_empty()).then(|| {
            format!(
                "send_proxy_protocol.tlvs of pool {} passes on {absent}, which no listener keeps: \
                 list the types in accept_proxy_protocol.tlvs of its listeners",
                pool.name
            )
        })
    }
}

/// The key of a pool has only variables that the clients of a listener do not have.
fn absent_key(listener: &Listener, pool: &Pool) -> Option<String> {
    if !pool.balance.algorithm.is_keyed() || listener.tls_passthrough {
        return None;
    }
    let mut missing = Vec::new();
    for variable in pool.balance.key.may_be_absent()? {
        missing.push(listener.lacks(variable)?);
    }
    missing.sort_unstable();
    missing.dedup();
    let what: Vec<_> = missing.iter().map(|fact| fact.name()).collect();
    // The server name comes with TLS, which client_auth needs.
    let why = missing.last().map_or("", |fact| fact.source());
    Some(format!(
        "listener {0}: balance.key of pool {1} needs {2}, which its clients do not have, so they are \
         placed by client ID (route fallback_key): give the listener {why}, or the pool \
         another key",
        listener.name,
        pool.name,
        what.join(" and "),
    ))
}

/// Keys of a listener that refuse all of its clients, because a variable never has a value there.
fn refuses_all(listener: &Listener) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut check = |key: String, variable: &Variable| {
        if let Some(missing) = listener.lacks(variable) {
            warnings.push(format!(
                "{key} of listener {} needs {}, which its clients do not have, so all of them are \
                 refused: give the listener {}, or remove ${{{variable}}}",
                listener.name,
                missing.name(),
                missing.source(),
            ));
        }
    };
    for required in &listener.identity.require {
        required.pattern.variables().for_each(|v| check(format!("require[{}]", required.index), v));
    }
    if let Some(rewrite) = &listener.identity.rewrite {
        for (key, template) in [("client_id", &rewrite.client_id), ("username", &rewrite.username)]
        {
            let variables = template.iter().flat_map(Template::variables);
            variables.for_each(|variable| check(format!("rewrite.{key}"), variable));
        }
    }
    warnings
}

/// Templates that are the same for every client, and signatures without a key.
fn likely_mistakes(listener: &Listener) -> Vec<String> {
    let name = &listener.name;
    let identity = &listener.identity;
    let id = identity.rewrite.as_ref().and_then(|rewrite| rewrite.client_id.as_ref());
    let constant = id.filter(|template| template.variables().next().is_none()).map(|template| {
        format!(
            "rewrite.client_id of listener {name} is the same for every client, so that each client \
             ends the session of another: write a variable as ${{client_id}}, not {template}"
        )
    });
    let jwt = identity.jwt.iter();
    let without_key = jwt.flat_map(|jwt| jwt.verifier.algorithms_without_key()).map(|algorithm| {
        format!(
            "authenticate.jwt of listener {name} accepts {algorithm}, and there is no key for it: \
             remove it from algorithms, or add a key"
        )
    });
    constant.into_iter().chain(without_key).collect()
}

/// An ID is assigned so that a client finds its broker by it, and the pool chooses by no key.
fn assigned_without_key(pool: &Pool) -> Option<String> {
    let balance = &pool.balance;
    let is_assigned = balance.empty_client_id == EmptyClientId::Assign;
    (is_assigned && !balance.algorithm.is_keyed()).then(|| {
        format!(
            "pool {}: empty_client_id: assign has no effect on where clients go, as the algorithm \
             does not use a key: choose rendezvous, maglev or ketama",
            pool.name
        )
    })
}

/// TCP gives up before the configured number of keep-alive probes.
fn count_without_effect(timeouts: &Timeouts) -> Option<String> {
    let TcpKeepalive { idle, interval, count } = timeouts.tcp_keepalive;
    let TcpUserTimeout::After(user_timeout) = timeouts.tcp_user_timeout else { return None };
    let until_last = idle + interval * u32::from(count.saturating_sub(1));
    (count > 1 && user_timeout <= until_last).then(|| {
        format!(
            "timeouts.tcp_user_timeout: {user_timeout:?} is over before {count} keep-alive probes \
             are (idle {idle:?}, then every {interval:?}), so that fewer lost packets end a silent \
             session: allow more than {until_last:?}, or leave it to `auto`"
        )
    })
}
