//! Weights that the operator has set at run time, instead of the configured ones.

use std::{collections::HashMap, num::NonZeroU32, sync::Arc, time::Instant};

use super::{
    Pool,
    effects::{Effects, Event},
    health::UnknownBroker,
    members::check_weights,
};
use crate::{
    config::{self, Upstream},
    upstream::discovery::TooHeavy,
};

/// Why a weight cannot be set.
#[derive(Debug, thiserror::Error)]
pub enum WeightError {
    #[error(transparent)]
    Unknown(#[from] UnknownBroker),
    #[error(transparent)]
    TooHeavy(#[from] TooHeavy),
}

/// The weights that the operator has set, by broker.
#[derive(Debug, Default)]
pub(super) struct Weights(HashMap<Arc<str>, Override>);

#[derive(Debug)]
struct Override {
    weight: NonZeroU32,
    /// What the file said when it was set; `None` for a broker that DNS knows of.
    instead_of: Option<NonZeroU32>,
}

impl Weights {
    /// The weight that is to be in force.
    pub(super) fn weight_of(&self, upstream: &Upstream) -> NonZeroU32 {
        self.0.get(&upstream.name).map_or(upstream.weight, |set| set.weight)
    }

    /// Forgets those of brokers whose weight in the file has changed since, and all of them where
    /// they would not fit into the pool's balancer together with new brokers.
    pub(super) fn check(
        &mut self,
        pool: &config::Pool,
        upstreams: &[Upstream],
        effects: &mut Effects,
    ) {
        self.0.retain(|name, set| {
            let stays = set.instead_of == in_file(pool, name);
            if !stays {
                let (upstream, weight) = (name.clone(), set.weight);
                effects.events.push(Event::WeightForgotten { upstream, weight });
            }
            stays
        });
        if !self.0.is_empty()
            && let Err(error) =
                check_weights(pool, upstreams.iter().map(|upstream| self.weight_of(upstream)))
        {
            effects.events.push(Event::WeightsForgotten(error));
            self.0.clear();
        }
    }

    /// Forgets that of a broker that has left the pool.
    pub(super) fn forget(&mut self, name: &str) {
        self.0.remove(name);
    }
}

impl Pool {
    /// Has a broker weigh so much, whatever its configuration says; `None` takes that back. It holds
    /// until then, or until the broker leaves the pool or its weight in the file changes.
    ///
    /// # Errors
    /// Where the pool has no such broker, or its balancer takes no more weight.
    pub fn set_weight(&self, name: &str, weight: Option<NonZeroU32>) -> Result<(), WeightError> {
        self.change(|state, effects| {
            let mut list = self.members().list.clone();
            let Some(member) = list.iter_mut().find(|member| *member.broker.name == *name) else {
                let pool = self.name.clone();
                return Err(UnknownBroker { name: name.to_owned(), pool }.into());
            };
            let before = member.weight;
            member.weight = weight.unwrap_or(member.configured_weight);
            let (upstream, now) = (member.broker.name.clone(), member.weight);
            let config = self.config();
            check_weights(&config, list.iter().map(|member| member.weight))?;
            match weight {
                Some(weight) => {
                    let instead_of = in_file(&config, &upstream);
                    state.weights.0.insert(upstream.clone(), Override { weight, instead_of });
                }
                None => state.weights.forget(&upstream),
            }
            if now != before {
                effects.events.push(Event::WeightSet { upstream, weight: now });
                self.store_members(config, list);
                self.recompute(state, effects, Instant::now());
                effects.moved = true;
            }
            Ok(())
        })
    }
}

fn in_file(pool: &config::Pool, name: &str) -> Option<NonZeroU32> {
    let upstream = pool.upstreams.iter().find(|upstream| *upstream.name == *name);
    upstream.map(|upstream| upstream.weight)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        balance::KETAMA_MAX_TOTAL_WEIGHT, config::Config, metrics::Metrics,
        upstream::pool::members::Member,
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

    /// `name in_force/configured` of all.
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
    fn a_weight_holds_whatever_dns_says() {
        let pool = pool("rendezvous");
        discover(&pool, &[("b", 1)]);
        let (epoch, moves) = (pool.epoch(), pool.moves());
        set(&pool, "a", 7).unwrap();
        set(&pool, "b", 8).unwrap();
        assert_eq!(weights(&pool), ["a 7/2", "b 8/1"]);
        assert_eq!((pool.epoch(), pool.moves()), (epoch + 2, moves + 2));
        set(&pool, "b", 8).unwrap();
        assert_eq!((pool.epoch(), pool.moves()), (epoch + 2, moves + 2), "it is so already");
        discover(&pool, &[("b", 3), ("c", 1)]);
        assert_eq!(weights(&pool), ["a 7/2", "b 8/3", "c 1/1"]);
        // One that leaves and returns is as new.
        discover(&pool, &[("c", 1)]);
        discover(&pool, &[("b", 3), ("c", 1)]);
        assert_eq!(weights(&pool), ["a 7/2", "b 3/3", "c 1/1"]);
        pool.set_weight("a", None).unwrap();
        assert_eq!(weights(&pool), ["a 2/2", "b 3/3", "c 1/1"]);
        assert_eq!(set(&pool, "d", 1).unwrap_err().to_string(), "no broker d in pool p");
    }

    #[test]
    fn a_weight_ends_with_another_one_in_the_file() {
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
        // Now the file knows it, too.
        reload("{ name: b, address: \"127.0.0.1:1\" }");
        assert_eq!(weights(&pool), ["b 1/1"]);
    }

    #[test]
    fn ketama_takes_no_more_than_it_can() {
        let pool = pool("ketama");
        discover(&pool, &[("b", 1)]);
        let error = set(&pool, "b", KETAMA_MAX_TOTAL_WEIGHT as u32).unwrap_err().to_string();
        assert!(error.contains("65538") && error.contains("65536"), "{error}");
        assert_eq!(weights(&pool), ["a 2/2", "b 1/1"]);
        set(&pool, "b", 5).unwrap();
        // With one more broker there is no room for it.
        let config = pool.config();
        let (mut state, mut effects) = (pool.state(), Effects::default());
        for (heavy, weight) in [(65536 - 7, 5), (65536 - 6, 1)] {
            let all = [upstream("a", 2), upstream("b", 1), upstream("c", heavy)];
            state.weights.check(&config, &all, &mut effects);
            assert_eq!(state.weights.weight_of(&all[1]).get(), weight, "{heavy}");
        }
        assert!(matches!(effects.events[..], [Event::WeightsForgotten(_)]));
    }
}
