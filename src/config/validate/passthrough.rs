//! Listeners that pass TLS through: the keys that they cannot have.

use super::{Checker, Valid};
use crate::config::{
    at::{At, Place},
    raw::{self, ClientAuth, ConnectCheck, Rule, When},
    values::Text,
};

/// Notes every key of the listener that needs the clients' MQTT, which TLS hides, and every pool that
/// cannot be sent TLS.
pub(super) fn listener(
    checker: &Checker<'_>,
    raw: &raw::Listener,
    pools: &[At<raw::Pool>],
) -> Valid<()> {
    let mut valid = [hidden(checker, raw), pool(checker, &raw.pool, pools)].into_iter().collect();
    for rule in raw.rules.value.iter().flatten().filter_map(|rule| rule.value.as_ref()) {
        let to_pool = rule.pool.as_ref().map_or(Ok(()), |at| pool(checker, at, pools));
        valid = [valid, hidden_of_rule(checker, rule), to_pool].into_iter().collect();
    }
    valid
}

fn hidden(checker: &Checker<'_>, raw: &raw::Listener) -> Valid<()> {
    let require = raw.require.value.as_ref().filter(|list| !list.is_empty());
    let lenient = raw.connect.value.filter(|check| *check == ConnectCheck::Lenient);
    let hidden = [
        place(raw.websocket.as_ref()),
        place(raw.protocols.as_ref()),
        place(raw.authenticate.as_ref()),
        require.map(|_| raw.require.place()),
        place(raw.rewrite.as_ref()),
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
        place(raw.certificates.as_ref()),
        client_auth.map(|_| raw.client_auth.place()),
        place(raw.client_ca.as_ref()),
        place(raw.client_crl.as_ref()),
        raw.min_version.place.clone(),
        raw.max_version.place.clone(),
        raw.max_record.place.clone(),
        raw.tickets.place.clone(),
        place(raw.ticket_keys.as_ref()),
        place(raw.alpn.as_ref()),
    ];
    none_of(checker, unused, |key| {
        format!("has no effect with mode passthrough; remove {key}, or the mode")
    })
}

/// Notes every condition of a rule that needs the CONNECT or a certificate, and a redirect, which
/// needs a CONNACK.
fn hidden_of_rule(checker: &Checker<'_>, rule: &Rule) -> Valid<()> {
    let When {
        client_id,
        username,
        // Known of every client.
        sni: _,
        source: _,
        percent: _,
        tls_cn,
        tls_san_uri,
        tls_san_dns,
        path,
        protocol_version,
        clean_start,
        has_password,
        will,
        claims,
    } = rule.when.get()?;
    let claims = claims.get()?.0.iter().map(|(_, entries)| Some(entries.place()));
    let conditions = [
        place(client_id.as_ref()),
        place(username.as_ref()),
        place(tls_cn.as_ref()),
        place(tls_san_uri.as_ref()),
        place(tls_san_dns.as_ref()),
        place(path.as_ref()),
        place(protocol_version.as_ref()),
        place(clean_start.as_ref()),
        place(has_password.as_ref()),
        place(will.as_ref()),
    ];
    let of_when = none_of(checker, conditions.into_iter().chain(claims), |_| {
        "is hidden by tls: passthrough; allowed: sni, source, percent".to_owned()
    });
    let of_rule = none_of(checker, [place(rule.redirect.as_ref())], |_| {
        "needs a CONNACK, which tls: passthrough hides; allowed: pool, refuse".to_owned()
    });
    of_when.and(of_rule)
}

/// Notes a pool that begins TLS of its own, inside which the brokers would have to accept the
/// clients' TLS.
fn pool(checker: &Checker<'_>, at: &At<Text>, pools: &[At<raw::Pool>]) -> Valid<()> {
    let Text(wanted) = at.get()?;
    let is_wanted =
        |pool: &&raw::Pool| pool.name.value.as_ref().is_some_and(|name| *name.0 == **wanted);
    let pool = pools.iter().filter_map(|pool| pool.value.as_ref()).find(is_wanted);
    if pool.is_none_or(|pool| pool.tls.is_none()) {
        return Ok(());
    }
    let what = format!(
        "{wanted} has `tls`, inside which its brokers would get the TLS that this listener passes \
         through"
    );
    Err(checker.wrong(&at.place(), what, "a pool without tls"))
}

fn place<T>(at: Option<&At<T>>) -> Option<Place> {
    at.map(At::place)
}

fn none_of(
    checker: &Checker<'_>,
    keys: impl IntoIterator<Item = Option<Place>>,
    message: impl Fn(&str) -> String,
) -> Valid<()> {
    let mut valid = Ok(());
    for place in keys.into_iter().flatten() {
        let key = place.path.rsplit('.').next().unwrap_or_default().to_owned();
        valid = Err(checker.fault(&place, message(&key)));
    }
    valid
}
