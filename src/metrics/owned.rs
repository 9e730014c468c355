//! Samples that belong to an owner (a listener, pool, broker or access log) and are exposed while
//! it exists.
//!
//! Unlike in a `CounterVec`, the owner holds its samples, and a scrape collects those of existing
//! owners, so no sample can outlive its owner.

use std::{
    collections::HashMap,
    fmt,
    marker::PhantomData,
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus::{
    Histogram, IntCounter, Opts, Registry,
    core::{Collector, Desc},
    proto::{MetricFamily, MetricType},
};

use super::{
    families::{made, opts},
    owners::{Owner, Owners},
    series::{SampleTotal, SampleValue, Series},
    total_value::TotalValue,
    totals::OwnedTotal,
};

/// A family of owned samples, all of type `T`.
pub(super) struct Family<T>(u16, PhantomData<fn() -> T>);

/// The properties that all samples of a family share.
struct Declaration {
    name: &'static str,
    help: &'static str,
    /// The owner's labels, then at most one more, whose value (`word`) distinguishes its samples.
    labels: &'static [&'static str],
    /// For histograms.
    buckets: &'static [f64],
    kind: MetricType,
    desc: Desc,
}

/// The families of owned samples, before they are registered.
#[derive(Default)]
pub(super) struct Declarations(Vec<Declaration>);

/// The families and the owners of their samples. Clones share them.
#[derive(Clone)]
pub(super) struct Owned(Arc<OwnedFamilies>);

struct OwnedFamilies {
    families: Vec<Declaration>,
    /// Locked for a lookup only, never while samples are collected.
    owners: Mutex<Owners>,
}

/// An owner's registration. The samples are exposed while a registration with its name exists. A
/// later registration with the same name continues the counters and histograms.
#[derive(Clone)]
pub(super) struct Registration(Arc<RegistrationInner>);

struct RegistrationInner {
    owner: Owner,
    series: Arc<Series>,
    all: Arc<OwnedFamilies>,
}

/// A sample that an owner does not always have: exposed while one of these exists.
pub struct ScopedSample<T> {
    sample: T,
    family: Family<T>,
    word: Option<Box<str>>,
    of: Registration,
}

impl Declarations {
    pub(super) fn add<T: SampleValue>(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Family<T> {
        self.add_with_buckets(name, help, labels, &[])
    }

    /// For histograms.
    pub(super) fn add_with_buckets<T: SampleValue>(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
        buckets: &'static [f64],
    ) -> Family<T> {
        let fq_name = opts(name, help).fq_name();
        let variable = labels.iter().map(ToString::to_string).collect();
        let desc = made(Desc::new(fq_name, help.to_owned(), variable, HashMap::new()));
        self.0.push(Declaration { name, help, labels, buckets, kind: T::TYPE, desc });
        Family((self.0.len() - 1) as u16, PhantomData)
    }

    pub(super) fn register(self, registry: &Registry) -> Owned {
        let shared = OwnedFamilies { families: self.0, owners: Mutex::default() };
        let owned = Owned(Arc::new(shared));
        made(registry.register(Box::new(owned.clone())));
        owned
    }
}

impl Declaration {
    /// The options for a sample of `owner`.
    fn opts(&self, owner: &Owner, word: Option<&str>) -> Opts {
        let values = owner.names().chain(word);
        let labels = self.labels.iter().zip(values);
        let labels = labels.map(|(label, value)| ((*label).to_owned(), value.to_owned()));
        opts(self.name, self.help).const_labels(labels.collect())
    }
}

impl Owned {
    pub(super) fn registration(&self, owner: Owner) -> Registration {
        let series = self.0.owners().register(&owner);
        Registration(Arc::new(RegistrationInner { owner, series, all: self.0.clone() }))
    }
}

impl Owned {
    /// The values of all counters and histograms, also of former owners.
    pub(super) fn totals(&self) -> Vec<OwnedTotal> {
        let all = self.0.owners().all();
        let totals = all.iter().flat_map(|(owner, series)| {
            let totals = series.totals().into_iter();
            totals.filter_map(|SampleTotal { family, word, is_scoped, value }| {
                let family = self.0.families.get(usize::from(family))?.name.to_owned();
                Some(OwnedTotal { owner: owner.clone(), family, word, is_scoped, value })
            })
        });
        totals.collect()
    }

    /// Families that this version does not have, or has as another type, are ignored.
    pub(super) fn add_totals(&self, totals: &[OwnedTotal]) {
        let families = self.0.families.iter().enumerate();
        let families: HashMap<_, _> =
            families.map(|(index, family)| (family.name, (index as u16, family.kind))).collect();
        for OwnedTotal { owner, family, word, is_scoped, value } in totals {
            let Some((family, kind)) = families.get(&**family) else { continue };
            // A former owner keeps them until it comes back.
            let registration = self.registration(owner.clone());
            let (series, word) = (&registration.0.series, word.as_deref());
            match (value, kind) {
                (TotalValue::Counter(count), MetricType::COUNTER) => {
                    let family = Family::<IntCounter>(*family, PhantomData);
                    let make = || registration.make(family, word);
                    series.kept_sample(family.0, word, *is_scoped, make).inc_by(*count);
                }
                (TotalValue::Histogram(total), MetricType::HISTOGRAM) => {
                    let family = Family::<Histogram>(*family, PhantomData);
                    let make = || registration.make(family, word);
                    series.kept_sample(family.0, word, *is_scoped, make);
                    series.add_observations(family.0, word, total);
                }
                _ => {}
            }
        }
    }
}

impl OwnedFamilies {
    fn owners(&self) -> MutexGuard<'_, Owners> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Owned {
    fn desc(&self) -> Vec<&Desc> {
        self.0.families.iter().map(|family| &family.desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let series = self.0.owners().registered();
        let mut metrics: Vec<_> = self.0.families.iter().map(|_| Vec::new()).collect();
        for series in series {
            series.collect(&mut metrics);
        }
        let families = self.0.families.iter().zip(metrics).map(|(family, metrics)| {
            let mut collected = MetricFamily::default();
            collected.set_name(family.desc.fq_name.clone());
            collected.set_help(family.desc.help.clone());
            collected.set_field_type(family.kind);
            collected.set_metric(metrics);
            collected
        });
        families.collect()
    }
}

impl Registration {
    /// The owner's sample in a family, initially 0; `word` selects one if there may be several.
    pub(super) fn sample<T: SampleValue>(&self, family: Family<T>, word: Option<&str>) -> T {
        self.0.series.sample(family.0, word, false, || self.make(family, word))
    }

    /// Like [`Self::sample`], exposed only while the returned value exists.
    pub(super) fn scoped_sample<T: SampleValue>(
        &self,
        family: Family<T>,
        word: Option<&str>,
    ) -> ScopedSample<T> {
        let sample = self.0.series.sample(family.0, word, true, || self.make(family, word));
        ScopedSample { sample, family, word: word.map(Into::into), of: self.clone() }
    }

    /// The owner's samples in a family, by their words.
    pub(super) fn by_word<T: SampleValue>(&self, family: Family<T>) -> Vec<(String, T)> {
        self.0.series.by_word(family.0)
    }

    fn make<T: SampleValue>(&self, family: Family<T>, word: Option<&str>) -> T {
        let RegistrationInner { owner, all, .. } = &*self.0;
        let declaration = &all.families[usize::from(family.0)];
        made(T::make(declaration.opts(owner, word), declaration.buckets))
    }
}

impl Drop for RegistrationInner {
    fn drop(&mut self) {
        self.all.owners().release(&self.owner);
    }
}

impl<T> Deref for ScopedSample<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.sample
    }
}

impl<T> Drop for ScopedSample<T> {
    fn drop(&mut self) {
        self.of.0.series.release(self.family.0, self.word.as_deref());
    }
}

impl<T> Clone for Family<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Family<T> {}

impl<T> fmt::Debug for Family<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Family").field(&self.0).finish()
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Registration").field(&self.0.owner).finish()
    }
}

impl<T> fmt::Debug for ScopedSample<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ScopedSample").field(&self.of).field(&self.word).finish()
    }
}
