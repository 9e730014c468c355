//! MQTT over WebSocket.

use std::{num::NonZeroU32, sync::Arc};

use super::{Checker, Valid, checker::given};
use crate::config::{
    PathPattern, WebSocket,
    at::At,
    fault::quote,
    raw::{self, DEFAULT_PATH},
    values::{HttpPath, Network, Origin, Subprotocol},
};

/// The entry of `subprotocols` for clients that offer none.
const NO_SUBPROTOCOL: &str = "none";

pub(super) fn websocket(checker: &Checker<'_>, raw: &At<raw::WebSocket>) -> Valid<WebSocket> {
    let raw = raw.get()?;
    let network = |at: &At<Network>| at.get().map(|network| network.0);
    let origin = |at: &At<Origin>| at.get().map(|origin| origin.0.clone());
    let paths = paths(checker, raw);
    let subprotocols = checker.distinct(&raw.subprotocols, |at| at.get().cloned());
    let forwarded_for = given(raw.forwarded_for.as_ref(), |list| checker.some(list, network));
    let origins = given(raw.origins.as_ref(), |list| checker.some(list, origin));
    // A number of seconds in a day fits.
    let ping = given(raw.ping.as_ref(), |time| {
        let seconds = time.get()?.0.as_secs_f64().ceil() as u32;
        Ok(NonZeroU32::new(seconds).unwrap_or(NonZeroU32::MIN))
    });
    let names = subprotocols?.into_iter().map(|Subprotocol(name)| name);
    let (none, subprotocols): (Vec<_>, Vec<Arc<str>>) =
        names.partition(|name| &**name == NO_SUBPROTOCOL);
    Ok(WebSocket {
        paths: paths?,
        max_head: raw.max_head.get()?.0 as usize,
        subprotocols,
        without_subprotocol: !none.is_empty(),
        ping: ping?,
        forwarded_for: forwarded_for?.into_iter().flatten().collect(),
        origins: origins?,
    })
}

fn paths(checker: &Checker<'_>, raw: &raw::WebSocket) -> Valid<Vec<PathPattern>> {
    match (&raw.path, &raw.paths) {
        (None, None) => Ok(vec![PathPattern::Exact(DEFAULT_PATH.into())]),
        (Some(path), None) => Ok(vec![pattern(checker, path)?]),
        (None, Some(list)) => {
            checker.distinct(list, |at| at.get().cloned())?;
            list.each(|at| pattern(checker, at))
        }
        (Some(_), Some(list)) => {
            Err(checker.wrong(&list.place(), "is given together with path", "one of the two"))
        }
    }
}

fn pattern(checker: &Checker<'_>, raw: &At<HttpPath>) -> Valid<PathPattern> {
    let HttpPath(path) = raw.get()?;
    let wrong = |what: &str, allowed| {
        Err(checker.wrong(&raw.place(), format!("{} {what}", quote(path)), allowed))
    };
    if path.contains('?') {
        return wrong("has a query, which is ignored", "a path without ?");
    }
    match path.split_once('*') {
        None => Ok(PathPattern::Exact(path.clone())),
        Some((prefix, "")) => Ok(PathPattern::Prefix(prefix.into())),
        Some(_) => wrong("has a * before its end", "* at the end, for any rest of a path"),
    }
}
