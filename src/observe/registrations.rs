//! Which listeners, pools and brokers the metrics tell of: those that somebody holds.
//!
//! The samples of one that has gone are kept out of sight, so that its counters and histograms go on
//! if it comes back.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use prometheus::proto::{Metric, MetricFamily};

/// How many that have gone are remembered; of older ones the counters start at 0 again. Brokers
/// that DNS makes up new names for would pile up otherwise.
const MOST_GONE: usize = 1000;

/// How many samples' subjects are removed in one walk.
const FORGOTTEN_AT_A_TIME: usize = 100;

/// What a sample is of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    Listener(Box<str>),
    Pool(Box<str>),
    /// The pool's name and the broker's.
    Upstream(Box<str>, Box<str>),
}

/// Held by those who count for a subject. With the last of them its samples vanish.
#[derive(Debug)]
pub(super) struct Registration {
    subject: Subject,
    known: Arc<Mutex<Known>>,
}

/// All subjects.
#[derive(Clone, Debug, Default)]
pub(super) struct Registrations(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    held: HashMap<Subject, Weak<Registration>>,
    /// The oldest first.
    gone: VecDeque<Subject>,
    /// Those whose samples are to be removed for good.
    forgotten: Vec<Subject>,
}

impl Registrations {
    /// Has the samples of `subject` shown for as long as the result, or another one of it, is held.
    pub(super) fn hold(&self, subject: Subject) -> Arc<Registration> {
        let mut known = lock(&self.0);
        if let Some(held) = known.held.get(&subject).and_then(Weak::upgrade) {
            return held;
        }
        known.gone.retain(|other| *other != subject);
        known.forgotten.retain(|other| *other != subject);
        let held = Arc::new(Registration { subject: subject.clone(), known: self.0.clone() });
        known.held.insert(subject, Arc::downgrade(&held));
        held
    }

    /// Those that have been gone for so long that their samples are to be removed; some at a time, as
    /// that takes a walk through all samples.
    pub(super) fn take_forgotten(&self) -> Vec<Subject> {
        let forgotten = &mut lock(&self.0).forgotten;
        if forgotten.len() < FORGOTTEN_AT_A_TIME { Vec::new() } else { std::mem::take(forgotten) }
    }

    /// Takes out the samples of all that have gone.
    pub(super) fn keep_held(&self, families: &mut [MetricFamily]) {
        let known = lock(&self.0);
        let gone: Vec<_> = known.gone.iter().chain(&known.forgotten).cloned().collect();
        drop(known);
        if gone.is_empty() {
            return;
        }
        let gone: HashSet<_> = gone.iter().map(Subject::key).collect();
        for family in families {
            family
                .mut_metric()
                .retain(|metric| !key(metric).is_some_and(|key| gone.contains(&key)));
        }
    }
}

/// A subject by its labels: pool, broker, listener.
pub(super) type Key<'a> = [Option<&'a str>; 3];

impl Subject {
    pub(super) fn key(&self) -> Key<'_> {
        match self {
            Self::Listener(name) => [None, None, Some(name)],
            Self::Pool(name) => [Some(name), None, None],
            Self::Upstream(pool, name) => [Some(pool), Some(name), None],
        }
    }
}

/// What a sample is of; `None` for one of the whole proxy.
pub(super) fn key(metric: &Metric) -> Option<Key<'_>> {
    let label = |name: &str| {
        let pair = metric.get_label().iter().find(|pair| pair.name() == name)?;
        Some(pair.value())
    };
    let key = ["pool", "upstream", "listener"].map(label);
    key.iter().any(Option::is_some).then_some(key)
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut known = lock(&self.known);
        // Another one may have been made since the last holder of this one let go.
        if known.held.get(&self.subject).is_some_and(|held| held.strong_count() > 0) {
            return;
        }
        known.held.remove(&self.subject);
        known.gone.push_back(self.subject.clone());
        if known.gone.len() > MOST_GONE {
            let oldest = known.gone.pop_front();
            known.forgotten.extend(oldest);
        }
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}
