//! Weights set by the operator at run time, in place of the configured ones.

use std::{collections::HashMap, num::NonZeroU32, sync::Arc};

use super::{
    effects::{PoolEffects, PoolEvent},
    members::check_total_weight,
};
use crate::config::{self, Upstream};

/// The operator's weights, by broker.
#[derive(Debug, Default)]
pub(super) struct WeightOverrides(HashMap<Arc<str>, WeightOverride>);

#[derive(Debug)]
struct WeightOverride {
    weight: NonZeroU32,
    /// The configured weight when this one was set; `None` for a broker found in DNS.
    configured: Option<NonZeroU32>,
}

impl WeightOverrides {
    /// The weight in force.
    pub(super) fn weight_of(&self, upstream: &Upstream) -> NonZeroU32 {
        self.0.get(&upstream.name).map_or(upstream.weight, |set| set.weight)
    }

    /// The operator's weight, and the configured one when it was set.
    pub(super) fn get(&self, name: &str) -> Option<(NonZeroU32, Option<NonZeroU32>)> {
        self.0.get(name).map(|set| (set.weight, set.configured))
    }

    pub(super) fn set(
        &mut self,
        name: Arc<str>,
        weight: NonZeroU32,
        configured: Option<NonZeroU32>,
    ) {
        self.0.insert(name, WeightOverride { weight, configured });
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Discards the weights of brokers whose configured weight has changed since, and all weights
    /// if their total, together with new brokers, is too large for the pool's balancer.
    pub(super) fn revise(
        &mut self,
        pool: &config::Pool,
        upstreams: &[Upstream],
        effects: &mut PoolEffects,
    ) {
        self.0.retain(|name, set| {
            let stays = set.configured == configured_weight(pool, name);
            if !stays {
                let (upstream, weight) = (name.clone(), set.weight);
                effects.events.push(PoolEvent::WeightDiscarded { upstream, weight });
            }
            stays
        });
        if !self.0.is_empty()
            && let Err(error) =
                check_total_weight(pool, upstreams.iter().map(|upstream| self.weight_of(upstream)))
        {
            effects.events.push(PoolEvent::WeightsDiscarded(error));
            self.0.clear();
        }
    }
}

/// The weight of a broker in the configuration; `None` for a broker found in DNS.
pub(super) fn configured_weight(pool: &config::Pool, name: &str) -> Option<NonZeroU32> {
    let upstream = pool.upstreams.iter().find(|upstream| *upstream.name == *name);
    upstream.map(|upstream| upstream.weight)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use std::time::Instant;

    use super::*;
    use crate::{
        balance::KETAMA_MAX_TOTAL_WEIGHT,
        config::Config,
        metrics::Metrics,
        upstream::pool::{Member, Pool, WeightError},
    };

    fn config(algorithm: &str, upstreams: &str) -> config::Pool {
        let text = format!(
            "{{ listeners: [{{ name: l, bind: \"127.0.0.1:0\", pool: p }}], pools: [{{ name: p, \
             balance: {{ algorithm: {algorithm} }}, upstreams: [{upstreams}], \
             discover: {{ dns: x }} }}] }}"
        );
        Config::parse(&text, Path::new("t.yaml"), &|_| None).unwrap().pools.remove(0)
    }

    fn upstream(name: &str, weight: u32) -> Upstream {
        let config = config("rendezvous", &format!("{{ name: {name}, address: \"127.0.0.1:1\" }}"));
        Upstream { weight: NonZeroU32::new(weight).unwrap(), ..config.upstreams[0].clone() }
    }

    fn pool(algorithm: &str) -> Pool {
        let config = config(algorithm, "{ name: a, address: \"127.0.0.1:1\", weight: 2 }");
        Pool::new(&config, &Metrics::new(), Arc::default())
    }

    fn set(pool: &Pool, name: &str, weight: u32) -> Result<(), WeightError> {
        pool.set_weight(name, NonZeroU32::new(weight))
    }

    /// Shows each member as `name in_force/configured`.
    fn weights(pool: &Pool) -> Vec<String> {
        let show =
            |it: &Member| format!("{} {}/{}", it.broker.name, it.weight, it.configured_weight);
        pool.members().list.iter().map(show).collect()
    }

    fn discover(pool: &Pool, discovered: &[(&str, u32)]) {
        let found: Vec<_> =
            discovered.iter().map(|(name, weight)| upstream(name, *weight)).collect();
        let from = pool.config().discover.clone().unwrap();
        let changes = pool.set_discovered(&from, &found, &|_| {}, Instant::now());
        assert!(changes.unwrap().is_some());
    }

    #[test]
    fn a_weight_holds_when_dns_changes() {
        let pool = pool("rendezvous");
        discover(&pool, &[("b", 1)]);
        let (epoch, moves) = (pool.epoch(), pool.move_count());
        set(&pool, "a", 7).unwrap();
        set(&pool, "b", 8).unwrap();
        assert_eq!(weights(&pool), ["a 7/2", "b 8/1"]);
        assert_eq!((pool.epoch(), pool.move_count()), (epoch + 2, moves + 2));
        set(&pool, "b", 8).unwrap();
        assert_eq!(
            (pool.epoch(), pool.move_count()),
            (epoch + 2, moves + 2),
            "the weight is set already"
        );
        discover(&pool, &[("b", 3), ("c", 1)]);
        assert_eq!(weights(&pool), ["a 7/2", "b 8/3", "c 1/1"]);
        // A broker that leaves and returns counts as new.
        discover(&pool, &[("c", 1)]);
        discover(&pool, &[("b", 3), ("c", 1)]);
        assert_eq!(weights(&pool), ["a 7/2", "b 3/3", "c 1/1"]);
        pool.set_weight("a", None).unwrap();
        assert_eq!(weights(&pool), ["a 2/2", "b 3/3", "c 1/1"]);
        assert_eq!(set(&pool, "d", 1).unwrap_err().to_string(), "no broker d in pool p");
    }

    #[test]
    fn a_weight_is_discarded_when_the_configured_weight_changes() {
        let pool = pool("rendezvous");
        let reload = |text: &str| {
            pool.reconfigure(&config("rendezvous", text), &|_| {}, Instant::now());
        };
        discover(&pool, &[("b", 1)]);
        set(&pool, "a", 7).unwrap();
        set(&pool, "b", 8).unwrap();
        let b = "{ name: c, address: \"127.0.0.1:2\" }";
        reload(&format!("{{ name: a, address: \"127.0.0.1:1\", weight: 2 }}, {b}"));
        assert_eq!(weights(&pool), ["a 7/2", "c 1/1", "b 8/1"]);
        reload(&format!("{{ name: a, address: \"127.0.0.1:1\", weight: 3 }}, {b}"));
        assert_eq!(weights(&pool), ["a 3/3", "c 1/1", "b 8/1"]);
        // Now the broker is in the configuration as well.
        reload("{ name: b, address: \"127.0.0.1:1\" }");
        assert_eq!(weights(&pool), ["b 1/1"]);
    }

    #[test]
    fn ketama_has_a_maximum_total_weight() {
        let pool = pool("ketama");
        discover(&pool, &[("b", 1)]);
        let error = set(&pool, "b", KETAMA_MAX_TOTAL_WEIGHT as u32).unwrap_err().to_string();
        assert!(error.contains("65538") && error.contains("65536"), "{error}");
        assert_eq!(weights(&pool), ["a 2/2", "b 1/1"]);
        set(&pool, "b", 5).unwrap();
        // With one more broker, the total would be too large.
        let config = pool.config();
        let (mut state, mut effects) = (pool.state(), PoolEffects::default());
        for (heavy, weight) in [(65536 - 7, 5), (65536 - 6, 1)] {
            let all = [upstream("a", 2), upstream("b", 1), upstream("c", heavy)];
            state.weights.revise(&config, &all, &mut effects);
            assert_eq!(state.weights.weight_of(&all[1]).get(), weight, "{heavy}");
        }
        assert!(matches!(effects.events[..], [PoolEvent::WeightsDiscarded(_)]));
    }
}
