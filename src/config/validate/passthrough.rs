//! Listeners that pass TLS through: the keys that they cannot have.

use super::{Checker, Valid};
use crate::config::{
    at::{At, Place},
    raw::{self, ClientAuth, ConnectCheck},
};

/// Notes every key of the listener that needs the clients' MQTT, which TLS hides.
pub(super) fn listener(checker: &Checker<'_>, raw: &raw::Listener) -> Valid<()> {
    fn place<T>(at: &Option<At<T>>) -> Option<Place> {
        at.as_ref().map(At::place)
    }
    let require = raw.require.value.as_ref().filter(|list| !list.is_empty());
    let lenient = raw.connect.value.filter(|check| *check == ConnectCheck::Lenient);
    let hidden = [
        place(&raw.websocket),
        place(&raw.authenticate),
        require.map(|_| raw.require.place()),
        place(&raw.rewrite),
        lenient.map(|_| raw.connect.place()),
    ];
    none_of(checker, hidden, |key| {
        format!(
            "cannot be combined with tls: passthrough, which hides the clients' MQTT from this \
             proxy: remove {key}, or give tls its certificates"
        )
    })
}

/// Notes every key of `tls` that needs TLS to end here.
pub(super) fn tls(checker: &Checker<'_>, raw: &raw::ListenerTls) -> Valid<()> {
    let client_auth = raw.client_auth.value.filter(|auth| *auth != ClientAuth::None);
    let unused = [
        raw.certificates.as_ref().map(At::place),
        client_auth.map(|_| raw.client_auth.place()),
        raw.client_ca.as_ref().map(At::place),
        raw.client_crl.as_ref().map(At::place),
        raw.min_version.place.clone(),
        raw.alpn.as_ref().map(At::place),
    ];
    none_of(checker, unused, |key| {
        format!("has no effect with mode passthrough; remove {key}, or the mode")
    })
}

/// Notes a pool that begins TLS of its own, inside which the brokers would have to accept the
/// clients' TLS.
pub(super) fn pool(checker: &Checker<'_>, at: &Place, pool: &At<raw::Pool>) -> Valid<()> {
    let Some(pool) = pool.value.as_ref().filter(|pool| pool.tls.is_some()) else { return Ok(()) };
    let name = pool.name.value.as_ref().map_or("", |name| &name.0);
    let what = format!(
        "is a pool with `tls`, inside which its brokers would get the TLS that this listener passes \
         through: remove `tls` from pool {name}"
    );
    Err(checker.wrong(at, what, "a pool without tls"))
}

fn none_of<const N: usize>(
    checker: &Checker<'_>,
    keys: [Option<Place>; N],
    message: impl Fn(&str) -> String,
) -> Valid<()> {
    let mut valid = Ok(());
    for place in keys.into_iter().flatten() {
        let key = place.path.rsplit('.').next().unwrap_or_default().to_owned();
        valid = Err(checker.fault(&place, message(&key)));
    }
    valid
}
