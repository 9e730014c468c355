//! The rules of a listener in force, with what the operator has set.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use prometheus::IntCounter;

use crate::{
    metrics::{ListenerMetrics, ScopedSample},
    rules::{Action, ClientFacts, Percent, Rule},
    upstream::Pool,
};

/// The rules of a listener, in their order.
pub struct ListenerRules(Vec<RunningRule>);

/// A rule in force.
pub struct RunningRule {
    pub rule: Rule,
    /// The pool that the rule sends clients to, if it does.
    pub pool: Option<Arc<Pool>>,
    /// The share in force, in hundredths of a percent: the operator's or the configured one.
    percent: AtomicU32,
    /// Clients that it has decided about.
    pub matched: ScopedSample<IntCounter>,
}

/// The shares that the operator has set, by the names of rules. Each is kept until the configured
/// share of the rule changes, or the rule is removed.
#[derive(Default)]
pub(super) struct OperatorShares(Mutex<HashMap<Arc<str>, OperatorShare>>);

struct OperatorShare {
    configured: Percent,
    set: Percent,
}

impl ListenerRules {
    /// `pools` are in the order of the configuration.
    pub(super) fn new(
        rules: &[Rule],
        pools: &[Arc<Pool>],
        metrics: &ListenerMetrics,
        shares: &OperatorShares,
    ) -> Self {
        shares.retain(rules);
        let running = |rule: &Rule| RunningRule {
            pool: match rule.action {
                Action::Pool(index) => pools.get(index).cloned(),
                Action::Refuse(_) | Action::Redirect(_) => None,
            },
            percent: AtomicU32::new(shares.of(rule).hundredths()),
            matched: metrics.rule(&rule.name),
            rule: rule.clone(),
        };
        Self(rules.iter().map(running).collect())
    }

    /// The index of the first rule that holds for a client. `key_hash` is the hash of the client's
    /// key: see [`Percent`].
    pub fn decide(
        &self,
        client: &ClientFacts<'_>,
        key_hash: impl FnOnce() -> Option<u64>,
    ) -> Option<usize> {
        let (mut key_hash, mut hash) = (Some(key_hash), None);
        self.0.iter().position(|running| {
            if running.rule.when.unmet(client).is_some() {
                return false;
            }
            let percent = running.percent();
            if percent == Percent::ALL {
                return true;
            }
            if let Some(compute) = key_hash.take() {
                hash = compute();
            }
            percent.includes(hash)
        })
    }

    pub fn get(&self, index: usize) -> Option<&RunningRule> {
        self.0.get(index)
    }

    pub fn iter(&self) -> impl Iterator<Item = &RunningRule> {
        self.0.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl RunningRule {
    /// The share of clients in force.
    pub fn percent(&self) -> Percent {
        let hundredths = self.percent.load(Ordering::Relaxed);
        Percent::from_hundredths(hundredths).unwrap_or(Percent::ALL)
    }

    pub(super) fn set_percent(&self, percent: Percent) {
        self.percent.store(percent.hundredths(), Ordering::Relaxed);
    }
}

impl OperatorShares {
    /// Sets the share of a rule; `None`: the configured one again.
    pub(super) fn set(&self, rule: &Rule, share: Option<Percent>) {
        self.with(|shares| match share {
            Some(set) => {
                let share = OperatorShare { configured: rule.percent, set };
                shares.insert(rule.name.clone(), share);
            }
            None => {
                shares.remove(&rule.name);
            }
        });
    }

    /// The share of a rule: the operator's, otherwise the configured one.
    fn of(&self, rule: &Rule) -> Percent {
        self.with(|shares| shares.get(&rule.name).map_or(rule.percent, |share| share.set))
    }

    pub(super) fn is_set(&self, rule: &str) -> bool {
        self.with(|shares| shares.contains_key(rule))
    }

    /// Forgets the shares of rules that are gone or configured otherwise.
    fn retain(&self, rules: &[Rule]) {
        self.with(|shares| {
            shares.retain(|name, share| {
                rules.iter().any(|rule| rule.name == *name && rule.percent == share.configured)
            });
        });
    }

    fn with<T>(&self, look: impl FnOnce(&mut HashMap<Arc<str>, OperatorShare>) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        metrics::Metrics,
        rules::{Conditions, Refusal},
        template::ClientFields,
    };

    fn percent(hundredths: u32) -> Percent {
        Percent::from_hundredths(hundredths).unwrap()
    }

    fn rule(name: &str, share: u32) -> Rule {
        Rule {
            name: name.into(),
            when: Conditions::default(),
            percent: percent(share),
            action: Action::Refuse(Refusal::Banned),
        }
    }

    /// The shares in force after a configuration with these rules.
    fn shares_in_force(rules: &[Rule], shares: &OperatorShares) -> Vec<u32> {
        let metrics = Metrics::new().listener("mqtt");
        let rules = ListenerRules::new(rules, &[], &metrics, shares);
        rules.iter().map(|running| running.percent().hundredths()).collect()
    }

    #[test]
    fn the_share_of_the_operator() {
        let shares = OperatorShares::default();
        let (a, b) = (rule("a", 500), rule("b", 700));
        let both = [a.clone(), b.clone()];
        assert_eq!(shares_in_force(&both, &shares), [500, 700]);
        shares.set(&a, Some(percent(2000)));
        assert!(shares.is_set("a") && !shares.is_set("b"));
        // Kept by a reload, also one that moves the rule.
        assert_eq!(shares_in_force(&both, &shares), [2000, 700]);
        assert_eq!(shares_in_force(&[b.clone(), a.clone()], &shares), [700, 2000]);
        // The configured one again.
        shares.set(&a, None);
        assert_eq!(shares_in_force(&both, &shares), [500, 700]);
        // Forgotten when the configured one changes, even if it changes back.
        shares.set(&a, Some(percent(2000)));
        assert_eq!(shares_in_force(&[rule("a", 600)], &shares), [600]);
        assert_eq!(shares_in_force(&both, &shares), [500, 700]);
        // Forgotten with the rule.
        shares.set(&a, Some(percent(2000)));
        assert_eq!(shares_in_force(std::slice::from_ref(&b), &shares), [700]);
        assert_eq!(shares_in_force(&both, &shares), [500, 700]);
    }

    #[test]
    fn the_first_rule_that_holds_decides() {
        let old = Conditions { protocol_version: Some(vec![3]), ..Conditions::default() };
        let rules = [
            Rule { when: old, ..rule("old", 10_000) },
            rule("small", 0),
            rule("canary", 5000),
            rule("rest", 10_000),
        ];
        let metrics = Metrics::new().listener("mqtt");
        let rules = ListenerRules::new(&rules, &[], &metrics, &OperatorShares::default());
        let decide = |level, hash: Option<u64>| {
            let fields = ClientFields { protocol_version: Some(level), ..ClientFields::default() };
            rules.decide(&ClientFacts { fields, ..ClientFacts::default() }, || hash)
        };
        assert_eq!(decide(3, Some(0)), Some(0));
        assert_eq!(decide(4, Some(0)), Some(2));
        assert_eq!(decide(4, Some(u64::MAX)), Some(3));
        assert_eq!(decide(4, None), Some(3));
    }

    /// The key is hashed once, and only if a share needs it.
    #[test]
    fn the_key_is_hashed_at_most_once() {
        let metrics = Metrics::new().listener("mqtt");
        for (shares, wanted) in [(&[10_000][..], 0), (&[0, 1, 2], 1)] {
            let rules: Vec<_> = shares.iter().map(|share| rule("r", *share)).collect();
            let rules = ListenerRules::new(&rules, &[], &metrics, &OperatorShares::default());
            let mut hashed = 0;
            rules.decide(&ClientFacts::default(), || {
                hashed += 1;
                Some(u64::MAX)
            });
            assert_eq!(hashed, wanted);
        }
    }
}
