//! The listeners, pools, brokers, access logs and quotas that have metrics, and former ones.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::series::Series;

/// The most former owners that are remembered, so that their counters continue if they come back.
pub(super) const MAX_FORMER_OWNERS: usize = 1000;

/// The owner of samples.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) enum Owner {
    Listener(Arc<str>),
    Pool(Arc<str>),
    Upstream { pool: Arc<str>, name: Arc<str> },
    AccessLog(Arc<str>),
    Quota(Arc<str>),
}

#[derive(Default)]
pub(super) struct Owners {
    registered: BTreeMap<Owner, RegisteredOwner>,
    former: HashMap<Owner, FormerOwner>,
    /// The former owners in the order in which they were released.
    order: BTreeMap<u64, Owner>,
    /// Owners released so far.
    released: u64,
}

struct RegisteredOwner {
    series: Arc<Series>,
    registrations: usize,
}

struct FormerOwner {
    series: Arc<Series>,
    released: u64,
}

impl Owner {
    /// The values of the owner's labels.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let (first, second) = match self {
            Self::Listener(name) | Self::Pool(name) | Self::AccessLog(name) | Self::Quota(name) => {
                (name, None)
            }
            Self::Upstream { pool, name } => (pool, Some(name)),
        };
        [Some(first), second].into_iter().flatten().map(|name| &**name)
    }
}

impl Owners {
    /// Returns the samples of an owner, which are exposed until every registration is released.
    pub(super) fn register(&mut self, owner: &Owner) -> Arc<Series> {
        if let Some(known) = self.registered.get_mut(owner) {
            known.registrations += 1;
            return known.series.clone();
        }
        let series = match self.former.remove(owner) {
            Some(FormerOwner { series, released }) => {
                self.order.remove(&released);
                series
            }
            None => Arc::default(),
        };
        let registered = RegisteredOwner { series: series.clone(), registrations: 1 };
        self.registered.insert(owner.clone(), registered);
        series
    }

    pub(super) fn release(&mut self, owner: &Owner) {
        let Some(known) = self.registered.get_mut(owner) else { return };
        known.registrations -= 1;
        if known.registrations > 0 {
            return;
        }
        let Some(RegisteredOwner { series, .. }) = self.registered.remove(owner) else { return };
        series.owner_released();
        self.released += 1;
        self.former.insert(owner.clone(), FormerOwner { series, released: self.released });
        self.order.insert(self.released, owner.clone());
        if self.order.len() > MAX_FORMER_OWNERS
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.former.remove(&oldest);
        }
    }

    /// The samples of all owners, also of former ones.
    pub(super) fn all(&self) -> Vec<(Owner, Arc<Series>)> {
        let registered = self.registered.iter().map(|(owner, it)| (owner, &it.series));
        let former = self.former.iter().map(|(owner, it)| (owner, &it.series));
        registered.chain(former).map(|(owner, series)| (owner.clone(), series.clone())).collect()
    }

    /// The samples of the registered owners.
    pub(super) fn registered(&self) -> Vec<Arc<Series>> {
        self.registered.values().map(|owner| owner.series.clone()).collect()
    }
}
