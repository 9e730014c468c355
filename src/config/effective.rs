//! The configuration in force as text: the file with every default filled in.

use std::{fmt, sync::Arc};

use super::{
    TcpKeepalive,
    at::At,
    raw::{self, CheckType},
    values::{HttpPath, Number, Time},
};

/// YAML that reads back as the same configuration. Files, secrets included, are in it by name, and
/// environment variables as they are written.
#[derive(Clone, Default)]
pub(super) struct Effective(Arc<str>);

impl Effective {
    pub(super) fn of(mut config: At<raw::Config>) -> Self {
        fill_in(&mut config);
        Self(serde_yaml::to_string(&config).unwrap_or_default().into())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(effective)")
    }
}

/// Writes out what the absence of a key means where other keys say it.
fn fill_in(config: &mut At<raw::Config>) {
    let Some(config) = &mut config.value else { return };
    if let Some(timeouts) = &mut config.timeouts.value
        && let Some(raw::TcpKeepalive(keepalive)) = &mut timeouts.tcp_keepalive.value
        && let (None, Some(Time(idle))) = (&keepalive.interval, keepalive.idle.value)
    {
        let interval = TcpKeepalive::new(idle).interval;
        keepalive.interval = Some(At::default_of(Time(interval)));
    }
    let pools = config.pools.value.iter_mut().flatten().filter_map(|pool| pool.value.as_mut());
    for health in pools.filter_map(|pool| pool.health.value.as_mut()) {
        let Some(check) = health.active.as_mut().and_then(|check| check.value.as_mut()) else {
            continue;
        };
        let http = match check.kind.value {
            Some(CheckType::Http) => true,
            Some(CheckType::Mqtt) => false,
            _ => continue,
        };
        let code = At::default_of(Number(if http { 200 } else { 0 }));
        check.expect.get_or_insert_with(|| At::default_of(vec![code]));
        if http {
            let root = || At::default_of(HttpPath("/".into()));
            check.path.get_or_insert_with(root);
        }
    }
}
