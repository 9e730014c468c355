//! Listeners.

use super::{
    Binds, Checker, DeclaredNames, Valid,
    checker::given,
    identity::identity,
    network_access::network_access,
    passthrough,
    proxy_protocol::accepted,
    rules::rules,
    tls::{self, Tls},
    websocket::websocket,
};
use crate::config::{
    Listener, WebSocket,
    at::At,
    raw::{self, Protocol},
    values::BIND,
};

/// The pools are given by their names and as the file has them, and whether they have no fault.
pub(super) fn listener(
    checker: &Checker<'_>,
    raw: &At<raw::Listener>,
    binds: &mut Binds,
    (pool_names, pools, valid_pools): (&DeclaredNames, &[At<raw::Pool>], bool),
) -> Valid<Listener> {
    let (raw, section) = (raw.get()?, raw.place());
    let name = checker.required(&section, "name", &raw.name, "a name");
    let bind = checker
        .required(&section, "bind", &raw.bind, BIND)
        .and_then(|_| binds.add(checker, &raw.bind));
    let pool = checker
        .required(&section, "pool", &raw.pool, "the name of a pool")
        .and_then(|_| pool_names.find(checker, &raw.pool, valid_pools));
    let protocols = protocols(checker, raw);
    let has_websocket = protocols.as_ref().map_or(raw.websocket.is_some(), |(_, ws)| ws.is_some());
    let tls = given(raw.tls.as_ref(), |raw| tls::listener(checker, raw, has_websocket));
    let tls_passthrough = matches!(tls, Ok(Some(Tls::Passthrough)));
    let identity = identity(checker, raw);
    let passes_only_what_it_can =
        if tls_passthrough { passthrough::listener(checker, raw, pools) } else { Ok(()) };
    let idle = given(raw.timeouts.as_ref(), |raw| {
        given(raw.get()?.idle.as_ref(), |idle| idle.get().copied())
    });
    let rules = rules(checker, &raw.rules, pool_names, valid_pools);
    let bound = raw.bind.value.as_ref();
    let access = network_access(checker, raw);
    let proxy_protocol =
        given(raw.accept_proxy_protocol.as_ref(), |raw| accepted(checker, raw, bound));
    let (mqtt, websocket) = protocols?;
    passes_only_what_it_can?;
    Ok(Listener {
        name: name?.0.clone(),
        bind: bind?,
        pool: pool?,
        access: access?,
        proxy_protocol: proxy_protocol?,
        tls: tls?.and_then(Tls::terminated),
        tls_passthrough,
        mqtt,
        websocket,
        identity: identity?,
        rules: rules?,
        idle: idle?.flatten(),
    })
}

/// Whether clients may speak MQTT without WebSocket, and how they may speak WebSocket.
fn protocols(checker: &Checker<'_>, raw: &raw::Listener) -> Valid<(bool, Option<WebSocket>)> {
    let section = given(raw.websocket.as_ref(), |raw| websocket(checker, raw));
    let Some(list) = &raw.protocols else {
        let section = section?;
        return Ok((section.is_none(), section));
    };
    let protocols = checker.distinct(list, |at| at.get().copied())?;
    let has = |protocol| protocols.contains(&protocol);
    match (has(Protocol::Websocket), &raw.websocket) {
        (true, Some(_)) => Ok((has(Protocol::Mqtt), section?)),
        (true, None) => {
            let defaults = websocket(checker, &raw::default_websocket())?;
            Ok((has(Protocol::Mqtt), Some(defaults)))
        }
        (false, None) => Ok((true, None)),
        (false, Some(unused)) => {
            let what = "has no effect, as protocols lacks websocket";
            Err(checker.wrong(&unused.place(), what, "websocket in protocols, or no such section"))
        }
    }
}
