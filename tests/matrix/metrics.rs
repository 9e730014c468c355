//! What metrics say is the case.

use std::collections::HashSet;

use crate::{
    Outcome,
    api::{Samples, label, sum},
    device::{WITHIN, until_right},
    fixture::Fixture,
    harness::is_end,
    operations::Operation,
};

/// Gauges are as the API has it and as the clients know it; counters as the access log has it.
pub(crate) fn check(fixture: &Fixture) -> Outcome {
    until_right(WITHIN, || {
        let faults = faults(fixture)?;
        if faults.is_empty() { Ok(()) } else { Err(format!("metrics: {}", faults.join("; "))) }
    })
}

fn faults(fixture: &Fixture) -> Outcome<Vec<String>> {
    let (samples, brokers) = (fixture.api.samples()?, fixture.api.brokers()?);
    let open = fixture.held.len() as f64;
    let mut faults = Vec::new();
    let mut expect = |what: String, is: f64, wanted: f64| {
        if (is - wanted).abs() > 0.5 {
            faults.push(format!("{what} is {is}, not {wanted}"));
        }
    };
    for family in ["connections_active", "upstream_sessions_active", "upstream_ports_active"] {
        expect(family.to_owned(), sum(&samples, family, None), open);
    }
    expect("admission_waiting".to_owned(), sum(&samples, "admission_waiting", None), 0.0);
    for broker in &brokers {
        let of = |family| of_broker(&samples, family, &broker.pool, &broker.name);
        let name = &broker.name;
        expect(format!("upstream_up of {name}"), of("upstream_up"), f64::from(u8::from(broker.up)));
        let sessions = broker.sessions as f64;
        expect(format!("sessions of {name}"), of("upstream_sessions_active"), sessions);
    }
    for (pool, failing_open) in fixture.api.failing_open()? {
        let is = sum(&samples, "pool_failing_open", Some(("pool", &pool)));
        expect(format!("pool_failing_open of {pool}"), is, f64::from(u8::from(failing_open)));
    }
    let accepted = sum(&samples, "connections_total", None);
    expect("connections_total".to_owned(), accepted, fixture.opened as f64);
    let log = fixture.proxy.log();
    let connects = log.iter().filter(|line| line["event"] == "connect").count();
    expect("sessions_total".to_owned(), sum(&samples, "sessions_total", None), connects as f64);
    let ends = log.iter().filter(|line| is_end(line)).count();
    expect("session_ends_total".to_owned(), sum(&samples, "session_ends_total", None), ends as f64);
    Ok(faults)
}

/// In a drain, where sessions may end at any time: gauges are as the API has it, and nobody waits.
pub(crate) fn check_draining(fixture: &mut Fixture) -> Outcome {
    until_right(WITHIN, || {
        let (samples, sessions) = match (fixture.api.samples(), fixture.api.sessions()) {
            (Ok(samples), Ok(sessions)) => (samples, sessions.len() as f64),
            _ if !fixture.proxy.is_running() => return Ok(()),
            (samples, sessions) => return samples.and(sessions.map(drop)),
        };
        let on_brokers = sum(&samples, "upstream_sessions_active", None);
        let waiting = sum(&samples, "admission_waiting", None);
        if (on_brokers - sessions).abs() < 0.5 && waiting < 0.5 {
            return Ok(());
        }
        Err(format!("{on_brokers} of {sessions} sessions in metrics, {waiting} waiting"))
    })
}

/// Counters of what is still there have not gone back.
pub(crate) fn check_counters(before: &Samples, fixture: &Fixture, operation: Operation) -> Outcome {
    let after = fixture.api.samples()?;
    let goes = |labels: &str| match operation {
        Operation::PoolRemoved => label(labels, "pool") == Some(crate::file::POOL),
        Operation::BrokerRemoved => label(labels, "upstream") == Some("b1"),
        _ => false,
    };
    for ((family, labels), value) in before {
        let counts = ["_total", "_count", "_sum"].iter().any(|end| family.ends_with(end));
        if !counts || goes(labels) || family.starts_with("process_") {
            continue;
        }
        let now = after.get(&(family.clone(), labels.clone())).copied();
        if now.is_none_or(|now| now < *value) {
            return Err(format!("{family}{labels} was {value} and is {now:?}"));
        }
    }
    Ok(())
}

/// Each connection has ended in exactly one record.
pub(crate) fn check_records(fixture: &Fixture) -> Outcome {
    until_right(WITHIN, || {
        let log = fixture.proxy.log();
        let ends: Vec<_> = log.iter().filter(|line| is_end(line)).collect();
        let sessions: HashSet<_> = ends.iter().map(|line| line["session"].to_string()).collect();
        if ends.len() == fixture.opened && sessions.len() == ends.len() {
            return Ok(());
        }
        let (count, unique, opened) = (ends.len(), sessions.len(), fixture.opened);
        Err(format!("{count} ends of {unique} sessions in the log, of {opened} connections"))
    })
}

fn of_broker(samples: &Samples, family: &str, pool: &str, broker: &str) -> f64 {
    let name = format!("mqtt_lb_{family}");
    let is_it = |labels: &str| {
        label(labels, "pool") == Some(pool) && label(labels, "upstream") == Some(broker)
    };
    let known = samples.iter().find(|((known, labels), _)| *known == name && is_it(labels));
    known.map_or(f64::NAN, |(_, value)| *value)
}
