//! The listeners, pools, brokers and access logs that have metrics now, and the last that had.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::series::Series;

/// How many of those that are gone are remembered, so that their counters go on if they come back.
pub(super) const GONE_KEPT: usize = 1000;

/// Whose samples they are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Owner {
    Listener(Arc<str>),
    Pool(Arc<str>),
    Upstream { pool: Arc<str>, name: Arc<str> },
    AccessLog(Arc<str>),
}

#[derive(Default)]
pub(super) struct Owners {
    living: BTreeMap<Owner, Living>,
    gone: HashMap<Owner, Gone>,
    /// By when they went, the first of them first.
    order: BTreeMap<u64, Owner>,
    /// How many have gone so far.
    went: u64,
}

struct Living {
    series: Arc<Series>,
    claims: usize,
}

struct Gone {
    series: Arc<Series>,
    went: u64,
}

impl Owner {
    /// The values of its labels.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let (first, second) = match self {
            Self::Listener(name) | Self::Pool(name) | Self::AccessLog(name) => (name, None),
            Self::Upstream { pool, name } => (pool, Some(name)),
        };
        [Some(first), second].into_iter().flatten().map(|name| &**name)
    }
}

impl Owners {
    /// The samples of an owner, which are exposed until each claim is released.
    pub(super) fn claim(&mut self, owner: &Owner) -> Arc<Series> {
        if let Some(living) = self.living.get_mut(owner) {
            living.claims += 1;
            return living.series.clone();
        }
        let series = match self.gone.remove(owner) {
            Some(Gone { series, went }) => {
                self.order.remove(&went);
                series
            }
            None => Arc::default(),
        };
        self.living.insert(owner.clone(), Living { series: series.clone(), claims: 1 });
        series
    }

    pub(super) fn release(&mut self, owner: &Owner) {
        let Some(living) = self.living.get_mut(owner) else { return };
        living.claims -= 1;
        if living.claims > 0 {
            return;
        }
        let Some(Living { series, .. }) = self.living.remove(owner) else { return };
        series.owner_went();
        self.went += 1;
        self.gone.insert(owner.clone(), Gone { series, went: self.went });
        self.order.insert(self.went, owner.clone());
        if self.order.len() > GONE_KEPT
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.gone.remove(&oldest);
        }
    }

    /// The samples of those that live.
    pub(super) fn living(&self) -> Vec<Arc<Series>> {
        self.living.values().map(|living| living.series.clone()).collect()
    }
}
