use std::path::Path;

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

    fn refuse(&self, how: Refused, second: u64) {
        self.pool.record_refused(how, self.at(second));
    }

    /// A round in which no broker answers.
    fn fail(&self, second: u64) {
        let round = self.pool.round().expect("a round is due");
        let errors = ["b1", "b2"].map(|name| (name.into(), "refused".to_owned()));
        self.pool.round_failed(&round, &errors, self.at(second));
    }

    /// What is said as time passes.
    fn said(&self, second: u64) -> Option<(&'static str, u64)> {
        let mut effects = Effects::default();
        self.pool.tick_outage(&mut self.pool.state(), &mut effects, self.at(second));
        match &effects.events[..] {
            [] => None,
            [Event::StillServesNobody { refused, .. }] => Some(("still", *refused)),
            [Event::ServesAgain { refused, .. }] => Some(("again", *refused)),
            _ => panic!("something else is said"),
        }
    }
}

#[test]
fn it_is_said_again_once_a_minute_while_clients_are_refused() {
    let world = World::new();
    world.refuse(Refused::Unreachable, 0);
    assert_eq!(world.pool.not_serving(), None, "it has not been found out yet");
    world.fail(1);
    let why = "pool p serves nobody: b1: refused";
    assert_eq!(world.pool.not_serving().as_deref(), Some(why));
    for second in 2..60 {
        world.refuse(Refused::Unreachable, second);
        assert_eq!(world.said(second), None);
    }
    // A round that fails is no news.
    world.fail(60);
    assert_eq!(world.said(61), Some(("still", 59)));
    assert_eq!(world.said(130), None);
    world.refuse(Refused::Unreachable, 130);
    assert_eq!(world.said(130), Some(("still", 60)));
}

#[test]
fn several_clients_without_an_answer() {
    let world = World::new();
    for _ in 0..10 {
        world.refuse(Refused::Unanswered(1), 0);
        world.refuse(Refused::Unanswered(2), 0);
    }
    assert!(world.pool.round().is_none());
    world.refuse(Refused::Unanswered(3), 1);
    assert!(world.pool.round().is_some_and(|round| round.sends_connect));
    world.fail(2);
    assert!(world.pool.not_serving().is_some());
    // Only clients can refute it where the proxy's own CONNECT is not answered: when none comes, the
    // next ones are let try.
    assert_eq!(world.said(60), None);
    assert_eq!(world.said(61), Some(("again", 21)));
    assert_eq!((world.pool.not_serving(), world.pool.round().is_some()), (None, false));
}

#[test]
fn being_reached_is_no_answer() {
    let world = World::new();
    world.refuse(Refused::Unreachable, 0);
    let round = world.pool.round().unwrap();
    assert!(!round.sends_connect);
    for client in 0..3 {
        world.refuse(Refused::Unanswered(client), 1);
    }
    world.pool.round_answered(&round, world.at(1));
    assert!(world.pool.round().is_some_and(|round| round.sends_connect));
    world.pool.round_answered(&world.pool.round().unwrap(), world.at(2));
    assert!(world.pool.round().is_none());
}

/// What was found out of other brokers says nothing.
#[test]
fn a_round_of_another_configuration() {
    let world = World::new();
    world.refuse(Refused::Unreachable, 0);
    let round = world.pool.round().unwrap();
    let mut config = config::Pool::clone(&world.pool.config());
    config.tries = 7.try_into().unwrap();
    world.pool.reconfigure(&config, &|_| {}, world.at(1));
    assert!(world.pool.round().is_none());
    world.refuse(Refused::Unreachable, 2);
    world.pool.round_failed(&round, &[("b1".into(), "refused".to_owned())], world.at(2));
    assert_eq!(world.pool.not_serving(), None);
}

#[test]
fn a_pool_that_is_gone() {
    let world = World::new();
    world.refuse(Refused::Unreachable, 0);
    world.fail(0);
    world.pool.retire(world.at(1));
    world.refuse(Refused::Unreachable, 2);
    assert_eq!((world.pool.not_serving(), world.pool.round().is_some()), (None, false));
}

/// Where nobody is to be asked, nobody fails.
#[test]
fn all_are_taken_out_by_the_operator() {
    let world = World::new();
    for name in ["b1", "b2"] {
        world.pool.set_state(name, BrokerState::Draining, world.at(0)).unwrap();
    }
    world.refuse(Refused::Unreachable, 1);
    let round = world.pool.round().unwrap();
    assert!(round.brokers.is_empty());
    world.pool.round_failed(&round, &[], world.at(1));
    assert_eq!(world.pool.not_serving(), None);
}
