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
    value: Value,
    /// Those that it is exposed for; `None`: for as long as its owner lives.
    holders: Option<usize>,
}

pub(super) enum Value {
    Counter(IntCounter),
    Gauge(IntGauge),
    Histogram(Histogram),
}

/// What a sample can be.
pub(super) trait Kind: Clone {
    const TYPE: MetricType;

    fn make(opts: Opts, buckets: &[f64]) -> prometheus::Result<Self>;
    fn of(value: &Value) -> Option<&Self>;
    fn into_value(self) -> Value;
}

impl Series {
    /// The sample of a family and a word, made if it is not there. `as_part`: it has one more holder,
    /// who will let it go.
    pub(super) fn sample<T: Kind>(
        &self,
        family: u16,
        word: Option<&str>,
        as_part: bool,
        make: impl FnOnce() -> T,
    ) -> T {
        let mut samples = self.samples();
        let known = samples.iter_mut().find(|sample| sample.is(family, word));
        if let Some(sample) = known
            && let Some(value) = T::of(&sample.value)
        {
            if let Some(holders) = &mut sample.holders {
                *holders += usize::from(as_part);
            }
            return value.clone();
        }
        let fresh = make();
        samples.push(Sample {
            family,
            word: word.map(Into::into),
            value: fresh.clone().into_value(),
            holders: as_part.then_some(1),
        });
        fresh
    }

    /// One holder less. Without any, a sample is not exposed, and a gauge has nothing to say later.
    pub(super) fn let_go(&self, family: u16, word: Option<&str>) {
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

    /// Counters and histograms wait for an owner of that name to come back; gauges are its own.
    pub(super) fn owner_went(&self) {
        let mut samples = self.samples();
        samples.retain(|sample| !sample.is_gauge());
        samples.shrink_to_fit();
    }

    pub(super) fn by_word<T: Kind>(&self, family: u16) -> Vec<(String, T)> {
        let samples = self.samples();
        let of_family = samples.iter().filter(|sample| sample.family == family);
        let by_word = of_family.filter_map(|Sample { word, value, .. }| {
            Some((word.as_deref().unwrap_or_default().to_owned(), T::of(value)?.clone()))
        });
        by_word.collect()
    }

    /// Adds what is exposed to `metrics`, which has a list for each family.
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
        matches!(self.value, Value::Gauge(_))
    }
}

impl Value {
    fn metric(&self) -> Metric {
        match self {
            Self::Counter(counter) => counter.metric(),
            Self::Gauge(gauge) => gauge.metric(),
            Self::Histogram(histogram) => histogram.metric(),
        }
    }
}

impl Kind for IntCounter {
    const TYPE: MetricType = MetricType::COUNTER;

    fn make(opts: Opts, _: &[f64]) -> prometheus::Result<Self> {
        Self::with_opts(opts)
    }

    fn of(value: &Value) -> Option<&Self> {
        if let Value::Counter(counter) = value { Some(counter) } else { None }
    }

    fn into_value(self) -> Value {
        Value::Counter(self)
    }
}

impl Kind for IntGauge {
    const TYPE: MetricType = MetricType::GAUGE;

    fn make(opts: Opts, _: &[f64]) -> prometheus::Result<Self> {
        Self::with_opts(opts)
    }

    fn of(value: &Value) -> Option<&Self> {
        if let Value::Gauge(gauge) = value { Some(gauge) } else { None }
    }

    fn into_value(self) -> Value {
        Value::Gauge(self)
    }
}

impl Kind for Histogram {
    const TYPE: MetricType = MetricType::HISTOGRAM;

    fn make(opts: Opts, buckets: &[f64]) -> prometheus::Result<Self> {
        Self::with_opts(HistogramOpts::from(opts).buckets(buckets.to_vec()))
    }

    fn of(value: &Value) -> Option<&Self> {
        if let Value::Histogram(histogram) = value { Some(histogram) } else { None }
    }

    fn into_value(self) -> Value {
        Value::Histogram(self)
    }
}
