use std::{path::Path, time::Duration};

use super::*;
use crate::{
    config::{self, Config},
    metrics::Metrics,
};

struct World {
    pool: Pool,
    began: Instant,
}

impl World {
    fn new() -> Self {
        let text = "{ listeners: [{ name: l, bind: \"127.0.0.1:0\", pool: p }], pools: [{ name: p, \
                    upstreams: [{ name: b1, address: \"10.0.0.1:1\" }, \
                    { name: b2, address: \"10.0.0.2:1\" }] }] }";
        let config = Config::parse(text, Path::new("t.yaml"), &|_| None).unwrap();
        let began = Instant::now();
        let pool = Pool::new_at(&config.pools[0], &Metrics::new(), Arc::default(), began);
        Self { pool, began }
    }

    fn at(&self, seconds: u64) -> Instant {
        self.began + Duration::from_secs(seconds)
    }

    fn refuse(&self, how: AllBrokersFailed, second: u64) {
        self.pool.record_refusal(how, self.at(second));
    }

    /// A round in which no broker answers.
    fn fail(&self, second: u64) {
        let round = self.pool.recovery_round().expect("a round is due");
        let errors = ["b1", "b2"].map(|name| (name.into(), "refused".to_owned()));
        self.pool.recovery_failed(&round, &errors, self.at(second));
    }

    /// The event of a tick.
    fn ticked(&self, second: u64) -> Option<(&'static str, u64)> {
        let mut effects = PoolEffects::default();
        self.pool.tick_outage(&mut self.pool.state(), &mut effects, self.at(second));
        match &effects.events[..] {
            [] => None,
            [PoolEvent::StillServesNobody { refused, .. }] => Some(("still", *refused)),
            [PoolEvent::ServesAgain { refused, .. }] => Some(("again", *refused)),
            _ => panic!("another event"),
        }
    }
}

#[test]
fn a_reminder_is_logged_once_a_minute_while_clients_are_refused() {
    let world = World::new();
    world.refuse(AllBrokersFailed::Unreachable, 0);
    assert_eq!(world.pool.not_serving(), None, "it has not been found out yet");
    world.fail(1);
    let why = "pool p serves nobody: b1: refused";
    assert_eq!(world.pool.not_serving().as_deref(), Some(why));
    for second in 2..60 {
        world.refuse(AllBrokersFailed::Unreachable, second);
        assert_eq!(world.ticked(second), None);
    }
    // Another failed round is not logged.
    world.fail(60);
    assert_eq!(world.ticked(61), Some(("still", 59)));
    assert_eq!(world.ticked(130), None);
    world.refuse(AllBrokersFailed::Unreachable, 130);
    assert_eq!(world.ticked(130), Some(("still", 60)));
}

#[test]
fn several_unanswered_clients_make_an_outage() {
    let world = World::new();
    for _ in 0..10 {
        world.refuse(AllBrokersFailed::Unanswered(1), 0);
        world.refuse(AllBrokersFailed::Unanswered(2), 0);
    }
    assert!(world.pool.recovery_round().is_none());
    world.refuse(AllBrokersFailed::Unanswered(3), 1);
    assert!(world.pool.recovery_round().is_some_and(|round| round.sends_connect));
    world.fail(2);
    assert!(world.pool.not_serving().is_some());
    // If the brokers do not answer the proxy's own CONNECT, only clients can disprove the outage:
    // once none has come for a while, the next ones are let through.
    assert_eq!(world.ticked(60), None);
    assert_eq!(world.ticked(61), Some(("again", 21)));
    assert_eq!((world.pool.not_serving(), world.pool.recovery_round().is_some()), (None, false));
}

#[test]
fn a_connection_is_not_an_answer() {
    let world = World::new();
    world.refuse(AllBrokersFailed::Unreachable, 0);
    let round = world.pool.recovery_round().unwrap();
    assert!(!round.sends_connect);
    for client in 0..3 {
        world.refuse(AllBrokersFailed::Unanswered(client), 1);
    }
    world.pool.recovery_succeeded(&round, world.at(1));
    assert!(world.pool.recovery_round().is_some_and(|round| round.sends_connect));
    world.pool.recovery_succeeded(&world.pool.recovery_round().unwrap(), world.at(2));
    assert!(world.pool.recovery_round().is_none());
}

/// Results from brokers of an earlier configuration do not count.
#[test]
fn a_round_of_an_earlier_configuration_is_ignored() {
    let world = World::new();
    world.refuse(AllBrokersFailed::Unreachable, 0);
    let round = world.pool.recovery_round().unwrap();
    let mut config = config::Pool::clone(&world.pool.config());
    config.tries = 7.try_into().unwrap();
    world.pool.reconfigure(&config, &|_| {}, world.at(1));
    assert!(world.pool.recovery_round().is_none());
    world.refuse(AllBrokersFailed::Unreachable, 2);
    world.pool.recovery_failed(&round, &[("b1".into(), "refused".to_owned())], world.at(2));
    assert_eq!(world.pool.not_serving(), None);
}

#[test]
fn a_removed_pool_has_no_outage() {
    let world = World::new();
    world.refuse(AllBrokersFailed::Unreachable, 0);
    world.fail(0);
    world.pool.retire(world.at(1));
    world.refuse(AllBrokersFailed::Unreachable, 2);
    assert_eq!((world.pool.not_serving(), world.pool.recovery_round().is_some()), (None, false));
}

/// Brokers that the operator has taken out of service cannot fail.
#[test]
fn brokers_taken_out_by_the_operator() {
    let world = World::new();
    for name in ["b1", "b2"] {
        world.pool.set_state(name, BrokerState::Draining, world.at(0)).unwrap();
    }
    world.refuse(AllBrokersFailed::Unreachable, 1);
    let round = world.pool.recovery_round().unwrap();
    assert!(round.brokers.is_empty());
    world.pool.recovery_failed(&round, &[], world.at(1));
    assert_eq!(world.pool.not_serving(), None);
}
