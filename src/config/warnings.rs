//! Warnings about a valid configuration that is likely a mistake.

use super::{Config, Listener, Pool, TcpKeepalive, TcpUserTimeout, Timeouts};
use crate::balance::TenantFields;

impl Config {
    /// Likely mistakes, a sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let listeners = self.listeners.iter();
        let keys =
            listeners.filter_map(|listener| absent_key(listener, &self.pools[listener.pool]));
        keys.chain(count_without_effect(&self.timeouts)).collect()
    }
}

/// The key of a pool has fields that the clients of a listener do not have.
fn absent_key(listener: &Listener, pool: &Pool) -> Option<String> {
    let TenantFields { username, tls_cn, sni } = pool.balance.key.may_be_absent()?;
    // A balancer in front may have both from its own TLS, and say so in its PROXY headers.
    if username || listener.proxy_protocol.is_some() || !pool.balance.algorithm.is_keyed() {
        return None;
    }
    let has_certificates = listener.tls.as_ref().is_some_and(|tls| tls.asks_for_certificates);
    let (what, why) = match (tls_cn, sni) {
        (true, _) if has_certificates => return None,
        (_, true) if listener.tls.is_some() => return None,
        (true, false) => ("a certificate", "client_auth: required"),
        (true, true) => ("a certificate and a server name", "tls"),
        (false, _) => ("a server name", "tls"),
    };
    Some(format!(
        "listener {0}: balance.key of pool {1} needs {what}, which its clients do not have, so they are \
         placed by client ID (route fallback_key): give the listener {why}, or the pool \
         another key",
        listener.name, pool.name,
    ))
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
