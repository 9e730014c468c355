//! Clients are served as a fresh start with the same file would serve them.

use std::{cell::Cell, collections::BTreeMap, net::SocketAddr, thread, time::Duration};

use serde_json::Value;

use crate::{
    Outcome,
    api::Api,
    device::{Device, WITHIN, expect_all_accepted, until_right},
    file::LISTENER,
    fixture::{Fixture, ids},
    harness::{Proxy, program},
};

/// Clients of which each proxy is asked where they go.
const VISITORS: usize = 16;

/// The longest that what was going on may take to be over: a slow start or an ejection of 1.5 s.
const SETTLED_WITHIN: Duration = Duration::from_secs(12);

/// A proxy that has just started from the file that the other one goes by.
pub(crate) struct FreshProxy {
    pub(crate) api: Api,
    listener: SocketAddr,
    /// How often clients were sent to both: each time others, as a client is online once.
    visits: Cell<usize>,
    _proxy: Proxy,
}

impl FreshProxy {
    pub(crate) fn start(fixture: &Fixture) -> Outcome<Self> {
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let proxy = Proxy::start_in(dir, &fixture.file.text(), |_| program());
        let api = Api(proxy.admin());
        for (broker, body) in &fixture.operator {
            api.patch(broker, body)?;
        }
        Ok(Self { listener: api.listener(LISTENER)?, api, visits: Cell::new(0), _proxy: proxy })
    }

    /// Waits until both have the same brokers, think the same of them and give them the same
    /// clients. The last of those stay.
    pub(crate) fn compare(&self, fixture: &mut Fixture) -> Outcome {
        let mut visitors = until_right(SETTLED_WITHIN, || {
            let (ours, fresh) = (standings(fixture.api)?, standings(self.api)?);
            let same = differences(&ours, &fresh);
            let (mut here, there) = self.visit(fixture)?;
            let (ours, fresh) = (homes(fixture.api)?, homes(self.api)?);
            drop(there);
            let away = fresh.iter().filter(|(id, home)| ours.get(*id) != Some(*home));
            let away: Vec<_> = away.map(|(id, home)| format!("{id} to {home}")).collect();
            if same.is_some() || !away.is_empty() {
                // What is going on takes its time, and these clients take that of others.
                thread::sleep(Duration::from_millis(150));
            }
            match (same, &*away) {
                (None, []) => Ok(std::mem::take(&mut here)),
                (Some(differs), _) => Err(format!("a fresh start differs: {differs}")),
                (None, away) => {
                    let count = away.len();
                    Err(format!("a fresh start sends {count} of {VISITORS} elsewhere: {away:?}"))
                }
            }
        })?;
        fixture.held.append(&mut visitors);
        Ok(())
    }

    /// Waits until it finds nothing wrong with any broker that is to serve.
    pub(crate) fn wait_all_up(&self) -> Outcome {
        until_right(WITHIN, || {
            let brokers = self.api.brokers()?;
            let bad = brokers.iter().find(|broker| broker.state == "ready" && !broker.up);
            bad.map_or(Ok(()), |broker| Err(format!("fresh: {} is {}", broker.name, broker.status)))
        })
    }

    /// The same clients at both.
    fn visit(&self, fixture: &mut Fixture) -> Outcome<(Vec<Device>, Vec<Device>)> {
        self.visits.set(self.visits.get() + 1);
        let ids = ids(&format!("visitor{}-", self.visits.get()), VISITORS);
        let mut here = fixture.open_all(&ids)?;
        let mut there = Vec::new();
        for id in &ids {
            there.push(Device::open(self.listener, id)?);
        }
        expect_all_accepted(&mut here, WITHIN)?;
        expect_all_accepted(&mut there, WITHIN).map_err(|fault| format!("fresh: {fault}"))?;
        Ok((here, there))
    }

    /// Series that a fresh start has and this one has not: a family with the labels that name a
    /// listener, a pool and a broker.
    pub(crate) fn missing_series(&self, fixture: &Fixture) -> Outcome {
        until_right(WITHIN, || {
            let (ours, fresh) = (series(fixture.api)?, series(self.api)?);
            let missing: Vec<_> = fresh.into_iter().filter(|one| !ours.contains(one)).collect();
            match &*missing {
                [] => Ok(()),
                [first, ..] => Err(format!("{} series are missing, {first}", missing.len())),
            }
        })
    }
}

fn standings(api: Api) -> Outcome<BTreeMap<String, Value>> {
    let brokers = api.brokers()?.into_iter();
    Ok(brokers
        .map(|broker| (format!("{}/{}", broker.pool, broker.name), broker.standing))
        .collect())
}

fn differences(ours: &BTreeMap<String, Value>, fresh: &BTreeMap<String, Value>) -> Option<String> {
    if let Some(extra) = ours.keys().find(|name| !fresh.contains_key(*name)) {
        return Some(format!("it has no {extra}"));
    }
    fresh.iter().find_map(|(name, wanted)| {
        let Some(is) = ours.get(name) else { return Some(format!("it has {name}")) };
        let keys = wanted.as_object()?.iter();
        let differing = keys.filter(|(key, value)| is.get(key) != Some(*value));
        let differing = differing.map(|(key, value)| {
            format!("{key} {} here, {value} there", is.get(key).unwrap_or(&Value::Null))
        });
        let list: Vec<_> = differing.collect();
        (!list.is_empty()).then(|| format!("{name}: {}", list.join(", ")))
    })
}

/// Where each client is.
fn homes(api: Api) -> Outcome<BTreeMap<String, String>> {
    let visitors = api.sessions()?.into_iter().filter(|one| one.client_id.starts_with("visitor"));
    Ok(visitors.map(|one| (one.client_id, format!("{}/{}", one.pool, one.upstream))).collect())
}

fn series(api: Api) -> Outcome<Vec<String>> {
    let named = |(family, labels): (String, String)| {
        let label = |name| crate::api::label(&labels, name).map(|value| format!(" {name}={value}"));
        let labels: String =
            ["listener", "pool", "upstream"].into_iter().filter_map(label).collect();
        let is_bucket = family.ends_with("_bucket");
        (!labels.is_empty() && !is_bucket).then(|| format!("{family}{labels}"))
    };
    let mut series: Vec<_> = api.samples()?.into_keys().filter_map(named).collect();
    series.dedup();
    Ok(series)
}
