//! The networks whose clients a listener serves.

use super::{Checker, Valid, checker::given};
use crate::{
    config::{
        Bind, NetworkAccess,
        at::At,
        raw::{self, NetworkList},
        values::{self, Network},
    },
    networks::PrefixSet,
};

pub(super) fn network_access(checker: &Checker<'_>, raw: &raw::Listener) -> Valid<NetworkAccess> {
    let has_addresses = raw.accept_proxy_protocol.is_some()
        || !matches!(raw.bind.value.as_ref(), Some(Bind::Unix(_)));
    let set = |list: &At<NetworkList>| {
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

fn networks(checker: &Checker<'_>, raw: &At<NetworkList>) -> Valid<PrefixSet> {
    let (raw, section) = (raw.get()?, raw.place());
    if raw.networks.is_none() && raw.file.is_none() {
        return Err(checker.missing(&section, "file", "the path of a file; or a list of networks"));
    }
    let listed = given(raw.networks.as_ref(), |list| {
        checker.some(list, |at| at.get().map(|network| network.0))
    });
    let filed = given(raw.file.as_ref(), |file| {
        checker.list_file(file, |line| {
            let entry = line.split('#').next().unwrap_or_default().trim_ascii_end();
            values::parse(entry).map(|Network(network)| network)
        })
    });
    let (listed, filed) = (listed?.unwrap_or_default(), filed?.unwrap_or_default());
    Ok(listed.into_iter().chain(filed).collect())
}
