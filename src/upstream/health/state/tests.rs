use std::num::NonZeroU32;

use super::*;
use crate::config::Health;

const PASSIVE: Passive = Passive {
    failures: NonZeroU32::new(3).unwrap(),
    window: Duration::from_secs(30),
    eject_for: Duration::from_secs(10),
    max_ejected_percent: 50,
};

fn check(probe: Probe) -> ActiveCheck {
    ActiveCheck {
        probe,
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(2),
        rise: NonZeroU32::new(2).unwrap(),
        fall: NonZeroU32::new(3).unwrap(),
    }
}

/// A broker that is checked, and that is ejected when it fails clients.
fn state() -> HealthState {
    HealthState::new(&health(Some(check(Probe::Tcp))))
}

fn health(active: Option<ActiveCheck>) -> Health {
    Health { active, passive: Some(PASSIVE), fail_open_percent: None }
}

fn at(seconds: u64) -> Instant {
    use std::sync::OnceLock;
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now) + Duration::from_secs(seconds)
}

#[test]
fn a_verdict_takes_rise_and_fall_probes_in_a_row() {
    let check = check(Probe::Tcp);
    let mut broker = state();
    let probes = [
        (false, false),
        (false, false),
        (true, false),
        (false, false),
        (false, false),
        (false, true),
        (false, false),
        (true, false),
        (false, false),
        (true, false),
        (true, true),
        (true, false),
    ];
    for (n, (good, turned)) in probes.into_iter().enumerate() {
        let news = if turned { HealthChange::Verdict } else { HealthChange::None };
        assert_eq!(broker.record_probe(good, &check, at(0), at(0)), news, "probe {n}");
    }
    assert!(broker.looks_up());
}

/// Failures of clients that no other broker accepted.
#[test]
fn lone_failures_count_while_others_take_clients() {
    let mut broker = state();
    // No broker accepts any client.
    for second in 0..20 {
        assert!(!broker.record_lone_failure(at(second), &PASSIVE, None));
    }
    // Another broker accepted a client, but earlier.
    assert!(!broker.record_lone_failure(at(20), &PASSIVE, Some(at(19))));
    assert!(broker.record_lone_failure(at(21), &PASSIVE, Some(at(20) + Duration::from_millis(1))));
    // The last failure is too long ago.
    assert!(!broker.record_lone_failure(at(52), &PASSIVE, Some(at(51))));
    // It has answered since then.
    assert!(broker.is_suspect());
    broker.record_success(at(53));
    assert!(!broker.is_suspect());
    assert!(!broker.record_lone_failure(at(54), &PASSIVE, Some(at(53))));
}

#[test]
fn failures_count_in_a_row_and_within_the_window() {
    let mut broker = state();
    assert!(!broker.record_failure(at(0), &PASSIVE));
    assert!(!broker.record_failure(at(1), &PASSIVE));
    assert_eq!(broker.record_success(at(2)), HealthChange::Displaced);
    assert_eq!(broker.record_success(at(2)), HealthChange::None);
    assert!(!broker.record_failure(at(3), &PASSIVE));
    assert!(!broker.record_failure(at(4), &PASSIVE));
    // The window of the first failure is over: this failure starts a new window.
    assert!(!broker.record_failure(at(40), &PASSIVE));
    assert!(!broker.record_failure(at(41), &PASSIVE));
    assert!(broker.record_failure(at(42), &PASSIVE));
}

#[test]
fn ejections_back_off_and_end_with_a_trial() {
    let mut broker = state();
    let mut now = 0;
    for seconds in [10, 20, 40, 80, 160, 300, 300] {
        assert_eq!(broker.eject(at(now), &PASSIVE), Duration::from_secs(seconds));
        assert!(!broker.looks_up());
        assert!(
            !broker.record_failure(at(now), &PASSIVE),
            "those that were under way do not count"
        );
        assert!(!broker.tick(at(now + seconds - 1), Some(&PASSIVE)));
        now += seconds;
        assert!(broker.tick(at(now), Some(&PASSIVE)));
        assert_eq!(broker.circuit(), CircuitState::HalfOpen);
        assert!(broker.record_failure(at(now), &PASSIVE), "one failure is enough now");
    }
    broker.eject(at(now), &PASSIVE);
    now += 300;
    assert!(broker.tick(at(now), Some(&PASSIVE)));
    assert_eq!(broker.record_success(at(now)), HealthChange::Recovered);
    assert!(broker.looks_up());
    assert_eq!(broker.eject(at(now + 299), &PASSIVE), Duration::from_mins(5));
    now += 299 + 300;
    broker.tick(at(now), Some(&PASSIVE));
    broker.record_success(at(now));
    assert_eq!(broker.eject(at(now + 301), &PASSIVE), Duration::from_secs(10));
}

/// A probe that the broker answers counts as much as a client, unless the probe only connects.
#[test]
fn probes_end_an_ejection_and_tell_of_displaced_clients() {
    let mqtt = Probe::Mqtt { username: None, password: None, expect: vec![0] };
    for (probe, last) in [
        (mqtt, [HealthChange::Recovered, HealthChange::Displaced]),
        (Probe::Tcp, [HealthChange::None; 2]),
    ] {
        let check = check(probe);
        let mut broker = state();
        broker.eject(at(0), &PASSIVE);
        assert_eq!(broker.record_probe(true, &check, at(9), at(9)), HealthChange::None);
        broker.tick(at(10), Some(&PASSIVE));
        assert_eq!(broker.record_probe(true, &check, at(11), at(11)), HealthChange::None);
        assert_eq!(broker.record_probe(false, &check, at(12), at(12)), HealthChange::None);
        assert_eq!(broker.record_probe(true, &check, at(13), at(13)), HealthChange::None);
        assert_eq!(broker.record_probe(true, &check, at(14), at(14)), last[0]);
        let mut broker = state();
        broker.record_failure(at(0), &PASSIVE);
        assert_eq!(broker.record_probe(true, &check, at(1), at(1)), last[1]);
        assert_eq!(broker.record_probe(true, &check, at(2), at(2)), HealthChange::None);
        // The failure still counts: a client's result may differ from a probe's.
        broker.record_failure(at(3), &PASSIVE);
        assert!(broker.record_failure(at(4), &PASSIVE));
    }
}

#[test]
fn what_is_not_configured_any_more_is_forgotten() {
    let http = |port| Probe::Http { port, path: "/".into(), expect: vec![200], login: None };
    let before = health(Some(check(http(80))));
    let down = || {
        let mut broker = HealthState::new(&before);
        let check = before.active.clone().unwrap();
        broker.state = BrokerState::Draining;
        let news = [(); 3].map(|()| broker.record_probe(false, &check, at(0), at(0)));
        assert_eq!(news, [HealthChange::None, HealthChange::None, HealthChange::Verdict]);
        broker.eject(at(1), &PASSIVE);
        broker
    };
    let after = |after: &Health| {
        let mut broker = down();
        broker.reconfigure(&before, after);
        assert_eq!(broker.state, BrokerState::Draining);
        (broker.is_checked_down(), broker.is_ejected())
    };
    assert_eq!(after(&before), (true, true));
    let slower = ActiveCheck { interval: Duration::from_mins(1), ..check(http(80)) };
    assert_eq!(after(&health(Some(slower))), (true, true));
    assert_eq!(after(&health(Some(check(http(8080))))), (false, true));
    assert_eq!(after(&health(None)), (false, true));
    assert_eq!(after(&Health { passive: None, ..before.clone() }), (true, false));
    let mut broker = down();
    broker.reset(&before);
    assert_eq!((broker.state, broker.looks_up()), (BrokerState::Draining, true));
}

#[test]
fn an_ejection_lasts_as_long_as_the_configuration_says_now() {
    let mut broker = state();
    broker.eject(at(0), &PASSIVE);
    let shorter = Passive { eject_for: Duration::from_secs(4), ..PASSIVE };
    assert!(!broker.tick(at(3), Some(&shorter)));
    assert!(broker.tick(at(4), Some(&shorter)));
}

#[test]
fn checks_that_turn_from_down_to_up_end_an_ejection() {
    let check = check(Probe::Tcp);
    let mut broker = state();
    broker.eject(at(0), &PASSIVE);
    let verdicts: Vec<_> = [false, false, false, true, true]
        .into_iter()
        .map(|good| broker.record_probe(good, &check, at(1), at(1)) == HealthChange::Verdict)
        .collect();
    assert_eq!(verdicts, [false, false, true, false, true]);
    assert!(broker.looks_up());
    // The next ejection in the series is longer nevertheless.
    assert_eq!(broker.eject(at(5), &PASSIVE), Duration::from_secs(20));
}

#[test]
fn a_good_probe_counts_for_what_came_before_it_began() {
    let check = check(Probe::Tcp);
    let mut broker = state();
    assert_eq!(broker.healthy_since(), None);
    broker.record_probe(true, &check, at(3), at(5));
    assert_eq!(broker.healthy_since(), Some(at(3)));
    broker.record_probe(false, &check, at(6), at(7));
    assert_eq!(broker.healthy_since(), None);
}
