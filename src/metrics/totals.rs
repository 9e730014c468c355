//! Counters and histograms as values, so that the process after an upgrade continues them.

use std::collections::HashMap;

use prometheus::{IntCounter, IntCounterVec, core::Collector, proto::MetricFamily};
use serde::{Deserialize, Serialize};

use super::{owners::Owner, total_value::TotalValue};

/// Values of counters and histograms, or how much they have risen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Totals {
    /// Counters of the whole proxy.
    pub(super) counters: Vec<CounterTotal>,
    /// Samples of listeners, pools, brokers, access logs and quotas.
    pub(super) owned: Vec<OwnedTotal>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct CounterTotal {
    pub(super) family: String,
    /// The values of its labels, by their names.
    pub(super) labels: HashMap<String, String>,
    pub(super) count: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct OwnedTotal {
    pub(super) owner: Owner,
    pub(super) family: String,
    pub(super) word: Option<Box<str>>,
    /// Whether the sample is exposed only while something holds it.
    #[serde(default)]
    pub(super) is_scoped: bool,
    pub(super) value: TotalValue,
}

/// The families of counters of the whole proxy, by their names.
pub(super) type CounterFamilies = HashMap<String, CounterFamily>;

#[derive(Clone)]
pub(super) enum CounterFamily {
    One(IntCounter),
    Several(IntCounterVec),
}

impl Totals {
    /// How much the values have risen since `before`; without those that have not.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let key = |total: &CounterTotal| {
            let mut labels: Vec<_> = total.labels.clone().into_iter().collect();
            labels.sort_unstable();
            (total.family.clone(), labels)
        };
        let known: HashMap<_, _> =
            before.counters.iter().map(|total| (key(total), total.count)).collect();
        let counters = self.counters.iter().filter_map(|total| {
            let count = total.count - known.get(&key(total)).copied().unwrap_or(0).min(total.count);
            (count > 0).then(|| CounterTotal { count, ..total.clone() })
        });
        let key =
            |total: &OwnedTotal| (total.owner.clone(), total.family.clone(), total.word.clone());
        let known: HashMap<_, _> = before.owned.iter().map(|total| (key(total), total)).collect();
        let owned = self.owned.iter().filter_map(|total| {
            let before = known.get(&key(total)).map(|before| &before.value);
            let value = total.value.since(before)?;
            Some(OwnedTotal { value, ..total.clone() })
        });
        Self { counters: counters.collect(), owned: owned.collect() }
    }

    /// The same in parts of at most `max` samples.
    pub(crate) fn parts(self, max: usize) -> Vec<Self> {
        let counters = self.counters.chunks(max);
        let counters = counters.map(|part| Self { counters: part.to_vec(), owned: Vec::new() });
        let owned = self.owned.chunks(max);
        let owned = owned.map(|part| Self { counters: Vec::new(), owned: part.to_vec() });
        counters.chain(owned).collect()
    }
}

impl CounterFamily {
    /// The values that are not 0.
    pub(super) fn totals(&self, family: &str) -> Vec<CounterTotal> {
        let collected = match self {
            Self::One(counter) => counter.collect(),
            Self::Several(counters) => counters.collect(),
        };
        let samples = collected.iter().flat_map(MetricFamily::get_metric);
        let totals = samples.map(|metric| CounterTotal {
            family: family.to_owned(),
            labels: metric
                .get_label()
                .iter()
                .map(|pair| (pair.name().to_owned(), pair.value().to_owned()))
                .collect(),
            // A float holds whole numbers up to 2^53 exactly.
            count: metric.get_counter().get_value() as u64,
        });
        totals.filter(|total| total.count > 0).collect()
    }

    /// Labels that this version does not know are ignored.
    pub(super) fn add(&self, CounterTotal { labels, count, .. }: &CounterTotal) {
        match self {
            Self::One(counter) => counter.inc_by(*count),
            Self::Several(counters) => {
                let labels: HashMap<_, _> =
                    labels.iter().map(|(name, value)| (&**name, &**value)).collect();
                if let Ok(counter) = counters.get_metric_with(&labels) {
                    counter.inc_by(*count);
                }
            }
        }
    }
}
