//! The value of a counter or a histogram.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum TotalValue {
    Counter(u64),
    Histogram(HistogramTotal),
}

/// The observations of a histogram.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct HistogramTotal {
    pub(super) count: u64,
    pub(super) sum: f64,
    /// The number of observations up to each bound.
    pub(super) buckets: Vec<(f64, u64)>,
}

impl TotalValue {
    /// `None` if it has not risen.
    pub(super) fn since(&self, before: Option<&Self>) -> Option<Self> {
        match (self, before) {
            (Self::Counter(count), Some(Self::Counter(before))) => {
                let risen = count.saturating_sub(*before);
                (risen > 0).then_some(Self::Counter(risen))
            }
            (Self::Histogram(now), Some(Self::Histogram(before))) => {
                let risen = now.count.saturating_sub(before.count);
                let buckets = now.buckets.iter().zip(&before.buckets);
                (risen > 0).then(|| {
                    Self::Histogram(HistogramTotal {
                        count: risen,
                        sum: now.sum - before.sum,
                        buckets: buckets
                            .map(|((bound, now), (_, before))| {
                                (*bound, now.saturating_sub(*before))
                            })
                            .collect(),
                    })
                })
            }
            (Self::Counter(0) | Self::Histogram(HistogramTotal { count: 0, .. }), _) => None,
            (value, _) => Some(value.clone()),
        }
    }
}

impl HistogramTotal {
    pub(super) fn of(histogram: &prometheus::proto::Histogram) -> Self {
        let buckets = histogram.get_bucket().iter();
        Self {
            count: histogram.get_sample_count(),
            sum: histogram.get_sample_sum(),
            buckets: buckets
                .map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()))
                .collect(),
        }
    }

    /// Adds the observations of another histogram. If its bounds differ, only those up to bounds
    /// that both have are added to the buckets.
    pub(super) fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        for (bound, count) in &mut self.buckets {
            *count += other.up_to(*bound);
        }
    }

    /// Adds these observations to a collected histogram.
    pub(super) fn add_to(&self, histogram: &mut prometheus::proto::Histogram) {
        histogram.set_sample_count(histogram.get_sample_count() + self.count);
        histogram.set_sample_sum(histogram.get_sample_sum() + self.sum);
        let mut buckets = histogram.get_bucket().to_vec();
        for bucket in &mut buckets {
            let count = bucket.cumulative_count() + self.up_to(bucket.upper_bound());
            bucket.set_cumulative_count(count);
        }
        histogram.set_bucket(buckets);
    }

    /// The observations up to a bound: exact if it is one of this histogram's, else too few.
    fn up_to(&self, bound: f64) -> u64 {
        let below = self.buckets.iter().rev().find(|(known, _)| *known <= bound);
        below.map_or(0, |(_, count)| *count)
    }
}
