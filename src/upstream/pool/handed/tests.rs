use std::{path::Path, sync::Arc, time::Duration};

use super::*;
use crate::{
    config::Config,
    metrics::Metrics,
    upstream::{health::CircuitState, pool::AllBrokersFailed},
};

const EJECT_FOR: u64 = 10;

fn pool(second_address: &str, passive: &str, began: Instant) -> Pool {
    let text = format!(
        "{{ listeners: [{{ name: l, bind: \"127.0.0.1:0\", pool: p }}], pools: [{{ name: p, health: \
         {{ passive: {passive} }}, upstreams: [{{ name: b1, address: \"10.0.0.1:1\" }}, \
         {{ name: b2, address: \"{second_address}\" }}] }}] }}"
    );
    let config = Config::parse(&text, Path::new("t.yaml"), &|_| None).unwrap();
    Pool::new_at(&config.pools[0], &Metrics::new(), Arc::default(), began)
}

fn ejecting(address: &str, began: Instant) -> Pool {
    pool(address, &format!("{{ failures: 1, eject_for: {EJECT_FOR}s }}"), began)
}

/// What another process receives.
fn received(from: &Pool, now: Instant) -> Vec<HandedPool> {
    let bytes = rmp_serde::to_vec_named(&from.hand_over(now)).unwrap();
    rmp_serde::from_slice::<Option<HandedPool>>(&bytes).unwrap().into_iter().collect()
}

/// What becomes of the next clients of `b2`.
fn b2(pool: &Pool) -> &'static str {
    let members = pool.members();
    let is_serving = |name: &str| {
        members.list.iter().any(|it| *it.broker.name == *name && it.broker.is_serving())
    };
    assert!(is_serving("b1"));
    let circuit = pool.state().health["b2"].circuit();
    assert_eq!(is_serving("b2"), circuit == CircuitState::Closed);
    match circuit {
        CircuitState::Closed => "serves",
        CircuitState::Ejected { .. } => "ejected",
        CircuitState::HalfOpen => "trial",
    }
}

fn fail_b2(pool: &Pool, now: Instant) {
    let members = pool.members();
    let member = members.list.iter().find(|member| *member.broker.name == *"b2").unwrap();
    pool.record_failure(&member.broker, now, now);
}

#[test]
fn an_ejection_goes_on_for_the_time_that_is_left() {
    let began = Instant::now();
    let at = |seconds| began + Duration::from_secs(seconds);
    let before = ejecting("10.0.0.2:1", began);
    assert!(received(&before, began).is_empty());
    fail_b2(&before, at(1));
    assert_eq!(b2(&before), "ejected");
    let after = ejecting("10.0.0.2:1", at(5));
    after.take_over(&received(&before, at(5)), at(5));
    assert_eq!(b2(&after), "ejected");
    after.tick(at(EJECT_FOR));
    assert_eq!(b2(&after), "ejected");
    after.tick(at(1 + EJECT_FOR));
    assert_eq!(b2(&after), "trial");
    // A process after that waits for the trial, and the next ejection is twice as long.
    let third = ejecting("10.0.0.2:1", at(12));
    third.take_over(&received(&after, at(12)), at(12));
    assert_eq!(b2(&third), "trial");
    fail_b2(&third, at(13));
    third.tick(at(12 + 2 * EJECT_FOR));
    assert_eq!(b2(&third), "ejected");
    third.tick(at(13 + 2 * EJECT_FOR));
    assert_eq!(b2(&third), "trial");
}

#[test]
fn an_ejection_ends_with_the_address_or_the_setting() {
    let began = Instant::now();
    let before = ejecting("10.0.0.2:1", began);
    fail_b2(&before, began);
    let handed = received(&before, began);
    for after in [ejecting("10.0.0.2:2", began), pool("10.0.0.2:1", "{ failures: 0 }", began)] {
        after.take_over(&handed, began);
        assert_eq!(b2(&after), "serves");
    }
}

#[test]
fn an_outage_goes_on_unless_a_broker_has_another_address() {
    let began = Instant::now();
    let before = ejecting("10.0.0.2:1", began);
    before.record_refusal(AllBrokersFailed::Unreachable, began);
    assert!(received(&before, began).is_empty(), "it has not been found out yet");
    let round = before.recovery_round().unwrap();
    let errors = [("b1".into(), "refused".to_owned())];
    before.recovery_failed(&round, &errors, began);
    let handed = received(&before, began);

    let after = ejecting("10.0.0.2:1", began);
    after.take_over(&handed, began);
    assert_eq!(after.not_serving().as_deref(), Some("pool p serves nobody: b1: refused"));
    let round = after.recovery_round().expect("it is probed");
    assert!(!round.sends_connect);
    assert_eq!(received(&after, began), handed);
    after.recovery_succeeded(&round, began);
    assert_eq!(after.not_serving(), None);

    let changed = ejecting("10.0.0.2:2", began);
    changed.take_over(&handed, began);
    assert_eq!(changed.not_serving(), None);
    assert!(changed.recovery_round().is_none());
}
