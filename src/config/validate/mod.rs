//! From what the file says to what the program uses: names, relations between keys, and files.
//!
//! Faults of single values were noted when they were read. Each function validates all its parts
//! before it returns the failure of one, so that every fault of a file is found at once.

mod access_log;
mod addresses;
mod checker;
mod health;
mod identity;
mod listener;
mod names;
mod network_access;
mod passthrough;
mod pool;
mod proxy_protocol;
mod quotas;
mod rules;
mod settings;
mod tls;
mod tls_files;
mod websocket;

use super::{
    Admin, Bind, Config,
    at::At,
    configuration::{Source, Text},
    raw,
    values::BIND,
};
use addresses::Binds;
use checker::given;
pub(super) use checker::{Checker, Valid};
use names::DeclaredNames;

/// The whole file.
pub(super) fn config(checker: &Checker<'_>, raw: &At<raw::Config>) -> Valid<Config> {
    let (raw, file) = (raw.get()?, raw.place());
    let mut binds = Binds::default();
    let mut pool_names = DeclaredNames::default();

    let pools = checker.required(&file, "pools", &raw.pools, "a list of pools").and_then(|pools| {
        pool_names = DeclaredNames::of(
            checker,
            pools.iter().map(|pool| pool.value.as_ref().map(|p| &p.name)),
        );
        checker.some(&raw.pools, |pool| pool::pool(checker, pool))
    });
    let listeners = checker
        .required(&file, "listeners", &raw.listeners, "a list of listeners")
        .and_then(|listeners| {
            let names = listeners.iter().map(|listener| listener.value.as_ref().map(|l| &l.name));
            DeclaredNames::of(checker, names);
            let raw_pools = raw.pools.value.as_deref().unwrap_or_default();
            let declared = (&pool_names, raw_pools, pools.is_ok());
            checker.some(&raw.listeners, |listener| {
                listener::listener(checker, listener, &mut binds, declared)
            })
        });
    let access_log = access_log::access_logs(checker, &raw.access_log);
    let admin = given(raw.admin.as_ref(), |raw| admin(checker, raw, &mut binds, true));
    let quotas = quotas::quotas(checker, &raw.limits);
    let settings = settings::settings(checker, raw);
    let (watch, watch_interval) = (raw.watch.get(), raw.watch_interval.get());
    let (runtime, limits, timeouts, dns, drain, upgrade, log) = settings?;
    Ok(Config {
        runtime,
        listeners: listeners?,
        pools: pools?,
        limits,
        quotas: quotas?,
        timeouts,
        dns,
        drain,
        upgrade,
        access_log: access_log?,
        log,
        admin: admin?,
        watch: *watch?,
        watch_interval: watch_interval?.0,
        files: Vec::new(),
        source: Source::default(),
        bans_without_rate: settings::bans_without_rate(&raw.limits),
        effective: Text::default(),
    })
}

/// The section `admin`; its token is read only `with_token`.
pub(super) fn admin(
    checker: &Checker<'_>,
    raw: &At<raw::Admin>,
    binds: &mut Binds,
    with_token: bool,
) -> Valid<Admin> {
    let (raw, section) = (raw.get()?, raw.place());
    let file = raw.token_file.as_ref().filter(|_| with_token);
    let token = given(file, |file| checker.token(file));
    let bind = checker.required(&section, "bind", &raw.bind, BIND).and_then(|_| {
        let bind = binds.add(checker, &raw.bind)?;
        match (&bind, &raw.token_file) {
            (Bind::Tcp(address), None) if !address.ip().is_loopback() && with_token => Err(checker
                .fault(
                    &raw.bind.place(),
                    "can be reached from other hosts and has no token_file; allowed: \
                     a loopback address, unix:/PATH, or a token_file",
                )),
            _ => Ok(bind),
        }
    });
    Ok(Admin { bind: bind?, token: token? })
}

/// [`admin`], without the rest of the file.
pub(super) fn admin_alone(
    checker: &Checker<'_>,
    raw: &At<raw::Admin>,
    with_token: bool,
) -> Valid<Admin> {
    admin(checker, raw, &mut Binds::default(), with_token)
}
