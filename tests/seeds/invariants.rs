//! What holds after each step, whatever came before.

use std::{collections::HashSet, sync::Arc};

use mqtt_lb::testing::upstream::{BrokerState, BrokerStatus, Pool};

use crate::world::World;

pub(crate) fn check(world: &World) {
    every_broker_that_does_not_serve_has_a_reason(world);
    a_fault_of_all_ends_no_session(world);
    leases_are_sessions(world);
    who_waits_can_be_released(world);
    a_pool_serves_until_clients_or_checks_show_otherwise(world);
    // These take longer.
    if world.steps.is_multiple_of(10) {
        every_sample_has_an_owner(world);
        members_are_those_of_a_fresh_start(world);
    }
}

/// A reason that is still configured.
fn every_broker_that_does_not_serve_has_a_reason(world: &World) {
    let health = &world.pool.config().health;
    let failing_open = world.pool.is_failing_open();
    for overview in world.pool.overviews() {
        let broker = &overview.member.broker;
        let name = &broker.name;
        match overview.status {
            BrokerStatus::Down => assert!(health.active.is_some(), "{name} is down without checks"),
            BrokerStatus::Ejected => {
                assert!(health.passive.is_some(), "{name} is ejected by nothing");
            }
            BrokerStatus::Up | BrokerStatus::Full => {
                assert!(broker.is_serving(), "{name} is up, and unserved");
            }
            BrokerStatus::Draining | BrokerStatus::SetDown => {
                assert!(!broker.is_serving() && overview.state != BrokerState::Ready, "{name}");
            }
            BrokerStatus::Unresolved => panic!("{name} has an IP address"),
            BrokerStatus::Failing => assert!(world.pool.not_serving().is_some(), "{name}"),
        }
        if failing_open && overview.state == BrokerState::Ready {
            assert!(broker.is_serving(), "{name} is not tried, though the pool fails open");
        }
        let dead = broker.is_down() && overview.state != BrokerState::Down;
        assert!(
            !dead
                || overview.status == BrokerStatus::Down
                || overview.state == BrokerState::Draining
        );
    }
}

/// Of those that the operator lets serve, checks alone never give up all.
fn a_fault_of_all_ends_no_session(world: &World) {
    let overviews = world.pool.overviews();
    let ready: Vec<_> = overviews.iter().filter(|it| it.state == BrokerState::Ready).collect();
    let dead = ready.iter().filter(|it| it.member.broker.is_down()).count();
    assert!(ready.is_empty() || dead < ready.len(), "all {dead} are given up");
}

fn a_pool_serves_until_clients_or_checks_show_otherwise(world: &World) {
    let pool = &world.pool;
    let why = pool.not_serving();
    assert!(why.is_none() || !world.retired, "{why:?} of a pool that is gone");
    assert_eq!(pool.metrics.serving.get() == 1, why.is_none(), "the metric and the API differ");
    let is_checked = pool.config().health.active.is_some();
    assert!(why.is_none() || world.refused || is_checked, "{why:?} without a client or a check");
    let failing = |overview: &mqtt_lb::testing::upstream::BrokerOverview| {
        overview.status == BrokerStatus::Failing
    };
    assert!(world.refused || !pool.overviews().iter().any(failing), "nobody was refused");
}

fn leases_are_sessions(world: &World) {
    for broker in world.holders().cloned().chain(world.brokers()) {
        let leases = world.leases().filter(|lease| Arc::ptr_eq(lease.broker(), &broker)).count();
        assert_eq!(broker.sessions() as usize, leases, "{}", broker.name);
        assert_eq!(broker.metrics.sessions_active.get() as usize, leases, "{}", broker.name);
    }
    let members = world.brokers();
    for broker in world.holders() {
        let is_member = members.iter().any(|member| Arc::ptr_eq(member, broker));
        // One name, one broker: nobody can hold another one than the pool's.
        let same_name = members.iter().any(|member| member.name == broker.name);
        assert!(is_member || !same_name, "{} is there twice", broker.name);
    }
}

/// Nobody waits but at a broker that serves and has a limit, whose queue is looked at.
fn who_waits_can_be_released(world: &World) {
    let members = world.brokers();
    let limited = world.pool.config().admission.is_some();
    for broker in world.holders().chain(&members) {
        let waiting = broker.admission.waiting();
        let is_member = members.iter().any(|member| Arc::ptr_eq(member, broker));
        assert!(
            waiting == 0 || limited && is_member && broker.is_serving(),
            "{waiting} wait at {} for nothing",
            broker.name
        );
    }
}

fn every_sample_has_an_owner(world: &World) {
    let text = world.metrics.render();
    let shown: HashSet<_> = text
        .lines()
        .filter(|line| line.contains("pool=\"p\""))
        .filter_map(|line| Some(line.split_once("upstream=\"")?.1.split_once('"')?.0.to_owned()))
        .collect();
    let members = world.brokers();
    let owners: HashSet<_> =
        world.holders().chain(&members).map(|broker| broker.name.to_string()).collect();
    assert_eq!(shown, owners);
    let up = |line: &&str| line.starts_with("mqtt_lb_upstream_up{") && line.ends_with(" 1");
    let up: usize = text.lines().filter(up).count();
    let wanted = world.pool.overviews().iter().filter(|it| it.up).count();
    assert_eq!(up, wanted, "the metric and the API differ");
}

/// By name, address, rank, limit and weight, but for what the operator has set.
fn members_are_those_of_a_fresh_start(world: &World) {
    if world.retired {
        return;
    }
    let config = world.pool.config();
    let fresh = Pool::new(&config, &mqtt_lb::testing::metrics::Metrics::new(), Arc::default());
    let shown = |pool: &Pool| -> Vec<String> {
        let members = pool.members();
        let configured = members.list.iter().take(config.upstreams.len());
        let show = configured.map(|member| {
            let broker = &member.broker;
            let (address, limit) = (&broker.endpoint().address.clone(), broker.max_connections());
            format!(
                "{} {address} {} {} {limit:?} {}",
                broker.name,
                member.configured_weight,
                member.backup,
                broker.is_removed()
            )
        });
        show.collect()
    };
    assert_eq!(shown(&world.pool), shown(&fresh));
}
