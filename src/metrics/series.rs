//! The samples of one owner.

use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntGauge, Opts,
    core::Metric as _,
    proto::{Metric, MetricType},
};

#[derive(Default)]
pub(super) struct Series(Mutex<Vec<Sample>>);

struct Sample {
    family: u16,
    word: Option<Box<str>>,
    value: SampleKind,
    /// How many scoped samples refer to it; it is exposed while there is one. `None`: it is exposed
    /// while its owner exists.
    holders: Option<usize>,
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
        let mut samples = self.samples();
        let known = samples.iter_mut().find(|sample| sample.is(family, word));
        if let Some(sample) = known
            && let Some(value) = T::of(&sample.value)
        {
            if let Some(holders) = &mut sample.holders {
                *holders += usize::from(scoped);
            }
            return value.clone();
        }
        let fresh = make();
        samples.push(Sample {
            family,
            word: word.map(Into::into),
            value: fresh.clone().into_value(),
            holders: scoped.then_some(1),
        });
        fresh
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
                metrics.push(sample.value.metric());
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
