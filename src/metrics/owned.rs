//! Samples with an owner, a listener, a pool, a broker or an access log: exposed while one of that
//! name lives.
//!
//! A family is not a vector with children of its own here. Each owner has its samples, and a scrape
//! collects those of the owners that live, so no sample can outlive its owner.

use std::{
    collections::HashMap,
    fmt,
    marker::PhantomData,
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus::{
    Opts, Registry,
    core::{Collector, Desc},
    proto::{MetricFamily, MetricType},
};

use super::{
    families::{made, opts},
    owners::{Owner, Owners},
    series::{Kind, Series},
};

/// A family of owned samples, all of type `T`.
pub(super) struct Family<T>(u16, PhantomData<fn() -> T>);

/// What the samples of a family have in common.
struct Declaration {
    name: &'static str,
    help: &'static str,
    /// The owner's, then perhaps one whose value, a word, tells an owner's samples apart.
    labels: &'static [&'static str],
    /// Of histograms.
    buckets: &'static [f64],
    kind: MetricType,
    desc: Desc,
}

/// The families of owned samples, before they are registered.
#[derive(Default)]
pub(super) struct Declarations(Vec<Declaration>);

/// The families, and who has samples in them. Cloning it shares them.
#[derive(Clone)]
pub(super) struct Owned(Arc<Shared>);

struct Shared {
    families: Vec<Declaration>,
    /// Held for a look-up, and never while samples are collected.
    owners: Mutex<Owners>,
}

/// An owner's claim on its samples. They are exposed while a claim under its name, or a clone of
/// one, is left. A claim under a name that was there before takes up its counters and histograms.
#[derive(Clone)]
pub(super) struct Registration(Arc<Registered>);

struct Registered {
    owner: Owner,
    series: Arc<Series>,
    all: Arc<Shared>,
}

/// A sample that an owner has for a part of its life: exposed while one of these is left.
pub struct ScopedSample<T> {
    sample: T,
    family: Family<T>,
    word: Option<Box<str>>,
    of: Registration,
}

impl Declarations {
    pub(super) fn add<T: Kind>(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Family<T> {
        self.add_with_buckets(name, help, labels, &[])
    }

    /// For histograms.
    pub(super) fn add_with_buckets<T: Kind>(
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
        let shared = Shared { families: self.0, owners: Mutex::default() };
        let owned = Owned(Arc::new(shared));
        made(registry.register(Box::new(owned.clone())));
        owned
    }
}

impl Declaration {
    /// How a sample of `owner` is made.
    fn opts(&self, owner: &Owner, word: Option<&str>) -> Opts {
        let values = owner.names().chain(word);
        let labels = self.labels.iter().zip(values);
        let labels = labels.map(|(label, value)| ((*label).to_owned(), value.to_owned()));
        opts(self.name, self.help).const_labels(labels.collect())
    }
}

impl Owned {
    pub(super) fn registration(&self, owner: Owner) -> Registration {
        let series = self.0.owners().claim(&owner);
        Registration(Arc::new(Registered { owner, series, all: self.0.clone() }))
    }
}

impl Shared {
    fn owners(&self) -> MutexGuard<'_, Owners> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Owned {
    fn desc(&self) -> Vec<&Desc> {
        self.0.families.iter().map(|family| &family.desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let living = self.0.owners().living();
        let mut metrics: Vec<_> = self.0.families.iter().map(|_| Vec::new()).collect();
        for series in living {
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
    /// The owner's sample in a family, 0 at first; `word` where it may have several.
    pub(super) fn sample<T: Kind>(&self, family: Family<T>, word: Option<&str>) -> T {
        self.0.series.sample(family.0, word, false, || self.make(family, word))
    }

    /// The same, exposed only while what is returned is kept.
    pub(super) fn scoped_sample<T: Kind>(
        &self,
        family: Family<T>,
        word: Option<&str>,
    ) -> ScopedSample<T> {
        let sample = self.0.series.sample(family.0, word, true, || self.make(family, word));
        ScopedSample { sample, family, word: word.map(Into::into), of: self.clone() }
    }

    /// The owner's samples in a family, by their words.
    pub(super) fn by_word<T: Kind>(&self, family: Family<T>) -> Vec<(String, T)> {
        self.0.series.by_word(family.0)
    }

    fn make<T: Kind>(&self, family: Family<T>, word: Option<&str>) -> T {
        let Registered { owner, all, .. } = &*self.0;
        let declaration = &all.families[usize::from(family.0)];
        made(T::make(declaration.opts(owner, word), declaration.buckets))
    }
}

impl Drop for Registered {
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
        self.of.0.series.let_go(self.family.0, self.word.as_deref());
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
