//! The samples of one owner.

use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntGauge, Opts,
    core::Metric as _,
    proto::{Metric, MetricType},
};

use super::total_value::{HistogramTotal, TotalValue};

#[derive(Default)]
pub(super) struct Series(Mutex<Vec<Sample>>);

struct Sample {
    family: u16,
    word: Option<Box<str>>,
    value: SampleKind,
    /// How many scoped samples refer to it; it is exposed while there is one. `None`: it is exposed
    /// while its owner exists.
    holders: Option<usize>,
    /// The observations of the processes before an upgrade, for histograms.
    earlier: Option<Box<HistogramTotal>>,
}

/// The value of a counter or a histogram.
pub(super) struct SampleTotal {
    pub(super) family: u16,
    pub(super) word: Option<Box<str>>,
    pub(super) is_scoped: bool,
    pub(super) value: TotalValue,
}

pub(super) enum SampleKind {
    Counter(IntCounter),
    Gauge(IntGauge),
    Histogram(Histogram),
}

/// The types of samples.
pub(super) trait SampleValue: Clone {
    const TYPE: MetricType;

    fn make(opts: Opts, buckets: &[f64]) -> prometheus::Result<Self>;
    fn of(value: &SampleKind) -> Option<&Self>;
    fn into_value(self) -> SampleKind;
}

impl Series {
    /// The sample of a family and a word, created if missing. `scoped`: it gets another holder,
    /// which has to [release](Self::release) it.
    pub(super) fn sample<T: SampleValue>(
        &self,
        family: u16,
        word: Option<&str>,
        scoped: bool,
        make: impl FnOnce() -> T,
    ) -> T {
        self.sample_held(family, word, scoped.then_some(1), make)
    }

    /// As [`Self::sample`], for a value of another process: a scoped one gets no holder.
    pub(super) fn kept_sample<T: SampleValue>(
        &self,
        family: u16,
        word: Option<&str>,
        scoped: bool,
        make: impl FnOnce() -> T,
    ) -> T {
        self.sample_held(family, word, scoped.then_some(0), make)
    }

    /// `new_holders`: `None` if the sample is exposed while its owner exists.
    fn sample_held<T: SampleValue>(
        &self,
        family: u16,
        word: Option<&str>,
        new_holders: Option<usize>,
        make: impl FnOnce() -> T,
    ) -> T {
        let mut samples = self.samples();
        let known = samples.iter_mut().find(|sample| sample.is(family, word));
        if let Some(sample) = known
            && let Some(value) = T::of(&sample.value)
        {
            if let Some(holders) = &mut sample.holders {
                *holders += new_holders.unwrap_or(0);
            }
            return value.clone();
        }
        let fresh = make();
        samples.push(Sample {
            family,
            word: word.map(Into::into),
            value: fresh.clone().into_value(),
            holders: new_holders,
            earlier: None,
        });
        fresh
    }

    /// Adds observations of another process to a histogram.
    pub(super) fn add_observations(&self, family: u16, word: Option<&str>, total: &HistogramTotal) {
        let mut samples = self.samples();
        if let Some(sample) = samples.iter_mut().find(|sample| sample.is(family, word)) {
            match &mut sample.earlier {
                Some(earlier) => earlier.add(total),
                None => sample.earlier = Some(Box::new(total.clone())),
            }
        }
    }

    /// The values of counters and histograms.
    pub(super) fn totals(&self) -> Vec<SampleTotal> {
        let samples = self.samples();
        let totals = samples.iter().filter_map(|sample| {
            let value = match &sample.value {
                SampleKind::Counter(counter) => TotalValue::Counter(counter.get()),
                SampleKind::Gauge(_) => return None,
                SampleKind::Histogram(_) => {
                    let metric = sample.metric();
                    TotalValue::Histogram(HistogramTotal::of(metric.get_histogram()))
                }
            };
            let (family, word) = (sample.family, sample.word.clone());
            Some(SampleTotal { family, word, is_scoped: sample.holders.is_some(), value })
        });
        totals.collect()
    }

    /// Removes a holder. A sample without holders is not exposed, and a gauge is removed.
    pub(super) fn release(&self, family: u16, word: Option<&str>) {
        self.samples().retain_mut(|sample| {
            if sample.is(family, word)
                && let Some(holders) = &mut sample.holders
            {
                *holders = holders.saturating_sub(1);
                return *holders > 0 || !sample.is_gauge();
            }
            true
        });
    }

    /// Removes the gauges. Counters and histograms are kept for a later owner with the same name.
    pub(super) fn owner_released(&self) {
        let mut samples = self.samples();
        samples.retain(|sample| !sample.is_gauge());
        samples.shrink_to_fit();
    }

    pub(super) fn by_word<T: SampleValue>(&self, family: u16) -> Vec<(String, T)> {
        let samples = self.samples();
        let of_family = samples.iter().filter(|sample| sample.family == family);
        let by_word = of_family.filter_map(|Sample { word, value, .. }| {
            Some((word.as_deref().unwrap_or_default().to_owned(), T::of(value)?.clone()))
        });
        by_word.collect()
    }

    /// Adds the exposed samples to `metrics`, which has a list for each family.
    pub(super) fn collect(&self, metrics: &mut [Vec<Metric>]) {
        for sample in self.samples().iter().filter(|sample| sample.holders != Some(0)) {
            if let Some(metrics) = metrics.get_mut(usize::from(sample.family)) {
                metrics.push(sample.metric());
            }
        }
    }

    fn samples(&self) -> MutexGuard<'_, Vec<Sample>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sample {
    fn is(&self, family: u16, word: Option<&str>) -> bool {
        self.family == family && self.word.as_deref() == word
    }

    fn metric(&self) -> Metric {
        let mut metric = self.value.metric();
        if let Some(earlier) = &self.earlier {
            let mut histogram = metric.get_histogram().clone();
            earlier.add_to(&mut histogram);
            metric.set_histogram(histogram);
        }
        metric
    }

    fn is_gauge(&self) -> bool {
        matches!(self.value, SampleKind::Gauge(_))
    }
}

impl SampleKind {
    fn metric(&self) -> Metric {
        match self {
            Self::Counter(counter) => counter.metric(),
            Self::Gauge(gauge) => gauge.metric(),
            Self::Histogram(histogram) => histogram.metric(),
        }
    }
}

impl SampleValue for IntCounter {
    const TYPE: MetricType = MetricType::COUNTER;

    fn make(opts: Opts, _: &[f64]) -> prometheus::Result<Self> {
        Self::with_opts(opts)
    }

    fn of(value: &SampleKind) -> Option<&Self> {
        if let SampleKind::Counter(counter) = value { Some(counter) } else { None }
    }

    fn into_value(self) -> SampleKind {
        SampleKind::Counter(self)
    }
}

impl SampleValue for IntGauge {
    const TYPE: MetricType = MetricType::GAUGE;

    fn make(opts: Opts, _: &[f64]) -> prometheus::Result<Self> {
        Self::with_opts(opts)
    }

    fn of(value: &SampleKind) -> Option<&Self> {
        if let SampleKind::Gauge(gauge) = value { Some(gauge) } else { None }
    }

    fn into_value(self) -> SampleKind {
        SampleKind::Gauge(self)
    }
}

impl SampleValue for Histogram {
    const TYPE: MetricType = MetricType::HISTOGRAM;

    fn make(opts: Opts, buckets: &[f64]) -> prometheus::Result<Self> {
        Self::with_opts(HistogramOpts::from(opts).buckets(buckets.to_vec()))
    }

    fn of(value: &SampleKind) -> Option<&Self> {
        if let SampleKind::Histogram(histogram) = value { Some(histogram) } else { None }
    }

    fn into_value(self) -> SampleKind {
        SampleKind::Histogram(self)
    }
}
