//! The networks whose clients a listener serves.

use super::{Checker, Valid, checker::given};
use crate::{
    config::{
        Bind, NetworkAccess,
        at::At,
        raw::{self, Entries},
        values::{self, Network},
    },
    networks::PrefixSet,
};

pub(super) fn network_access(checker: &Checker<'_>, raw: &raw::Listener) -> Valid<NetworkAccess> {
    let has_addresses = raw.accept_proxy_protocol.is_some()
        || !matches!(raw.bind.value.as_ref(), Some(Bind::Unix(_)));
    let set = |list: &At<Entries<Network>>| {
        let networks = networks(checker, list)?;
        if has_addresses {
            return Ok(networks);
        }
        let what = "does not apply to a unix socket, whose peers have no address";
        Err(checker.wrong(&list.place(), what, "accept_proxy_protocol in addition, or no such key"))
    };
    let allow = given(raw.allow.as_ref(), |list| {
        let networks = set(list)?;
        if networks.is_empty() {
            let what = "has no network, so nobody could connect";
            return Err(checker.wrong(&list.place(), what, "one network or more"));
        }
        Ok(networks)
    });
    let deny = given(raw.deny.as_ref(), set);
    Ok(NetworkAccess { allow: allow?, deny: deny?.unwrap_or_default() })
}

/// Networks that are written in place, in a file, or both.
pub(super) fn networks(checker: &Checker<'_>, raw: &At<Entries<Network>>) -> Valid<PrefixSet> {
    let written = checker.entries(raw, |at| at.get().map(|network| network.0));
    let listed = given(raw.get()?.file.as_ref(), |file| {
        checker.list_file(file, |line| {
            let entry = line.split('#').next().unwrap_or_default().trim_ascii_end();
            values::parse(entry).map(|Network(network)| network)
        })
    });
    Ok(written?.into_iter().chain(listed?.unwrap_or_default()).collect())
}
