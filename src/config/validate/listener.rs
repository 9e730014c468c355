//! Listeners.

use super::{
    Binds, Checker, DeclaredNames, Valid, checker::given, identity::identity,
    network_access::network_access, rules::rules, tls,
};
use crate::config::{
    Bind, Listener, ProxyProtocolIn, WebSocket,
    at::At,
    fault::quote,
    raw,
    values::{BIND, HttpPath, Network, Origin, ProxySource, Scalar as _},
};

/// `valid_pools`: the pools have no fault.
pub(super) fn listener(
    checker: &Checker<'_>,
    raw: &At<raw::Listener>,
    binds: &mut Binds,
    pools: &DeclaredNames,
    valid_pools: bool,
) -> Valid<Listener> {
    let (raw, section) = (raw.get()?, raw.place());
    let name = checker.required(&section, "name", &raw.name, "a name");
    let bind = checker
        .required(&section, "bind", &raw.bind, BIND)
        .and_then(|_| binds.add(checker, &raw.bind));
    let pool = checker
        .required(&section, "pool", &raw.pool, "the name of a pool")
        .and_then(|_| pools.find(checker, &raw.pool, valid_pools));
    let websocket = given(raw.websocket.as_ref(), |raw| websocket(checker, raw));
    let over_websocket = raw.websocket.is_some();
    let tls = given(raw.tls.as_ref(), |raw| tls::listener(checker, raw, over_websocket));
    let identity = identity(checker, raw);
    let idle = given(raw.timeouts.as_ref(), |raw| {
        given(raw.get()?.idle.as_ref(), |idle| idle.get().copied())
    });
    let rules = rules(checker, &raw.rules, pools, valid_pools);
    let bound = raw.bind.value.as_ref();
    let access = network_access(checker, raw);
    let proxy_protocol =
        given(raw.accept_proxy_protocol.as_ref(), |raw| accept(checker, raw, bound));
    Ok(Listener {
        name: name?.0.clone(),
        bind: bind?,
        pool: pool?,
        access: access?,
        proxy_protocol: proxy_protocol?,
        tls: tls?,
        websocket: websocket?,
        identity: identity?,
        rules: rules?,
        idle: idle?.flatten(),
    })
}

fn websocket(checker: &Checker<'_>, raw: &At<raw::WebSocket>) -> Valid<WebSocket> {
    let raw = raw.get()?;
    let path = raw.path.get().and_then(|HttpPath(path)| {
        if path.contains('?') {
            let what = format!("{} has a query, which is ignored", quote(path));
            return Err(checker.wrong(&raw.path.place(), what, "a path without ?"));
        }
        Ok(path.clone())
    });
    let network = |at: &At<Network>| at.get().map(|network| network.0);
    let origin = |at: &At<Origin>| at.get().map(|origin| origin.0.clone());
    let forwarded_for = given(raw.forwarded_for.as_ref(), |list| checker.some(list, network));
    let origins = given(raw.origins.as_ref(), |list| checker.some(list, origin));
    Ok(WebSocket {
        path: path?,
        forwarded_for: forwarded_for?.into_iter().flatten().collect(),
        origins: origins?,
    })
}

/// `bind` is where the listener's peers come from, unless it has a fault.
fn accept(
    checker: &Checker<'_>,
    raw: &At<raw::AcceptProxyProtocol>,
    bind: Option<&Bind>,
) -> Valid<ProxyProtocolIn> {
    let (raw, section) = (raw.get()?, raw.place());
    checker.required(&section, "from", &raw.from, &ProxySource::allowed())?;
    let sources = checker.some(&raw.from, |at| match (at.get()?, bind) {
        (ProxySource::Unix, Some(Bind::Tcp(_))) => {
            let what = "`unix` applies only to listeners on a unix socket";
            Err(checker.wrong(&at.place(), what, &Network::allowed()))
        }
        (ProxySource::Network(_), Some(Bind::Unix(_))) => {
            let what = "a network does not apply to a listener on a unix socket, whose peers have no \
                        address";
            Err(checker.wrong(&at.place(), what, "unix"))
        }
        (source, _) => Ok(*source),
    })?;
    let unix = sources.contains(&ProxySource::Unix);
    let networks = sources.into_iter().filter_map(|source| match source {
        ProxySource::Network(network) => Some(network),
        ProxySource::Unix => None,
    });
    Ok(ProxyProtocolIn { from: networks.collect(), unix })
}
