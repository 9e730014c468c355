//! One cell: into the state, the operation, and what must hold after it.

use std::time::{Duration, Instant};

use crate::{
    Outcome,
    device::{WITHIN, expect_all_accepted, until_right},
    file::File,
    fixture::{Brokers, Fixture, ids},
    harness::is_end,
    metrics,
    operations::Operation,
    oracle::FreshProxy,
    resources::{self, Resources},
    states::{Make, State},
};

/// Clients that come after the operation, all at once.
pub(crate) const NEWCOMERS: usize = 12;

/// What a drain may take beyond its time, to write what is left.
const DRAINED_WITHIN: Duration = Duration::from_secs(20);

pub(crate) fn run(operation: Operation, make: Make) -> Outcome {
    let mut state = make();
    let state = &mut *state;
    let mut fixture = start(operation, state)?;
    let before = Resources::least(&fixture);
    let sessions = state.sessions();
    fixture.hold("held", sessions)?;
    let counters = fixture.samples()?;
    state.enter(&mut fixture, operation).map_err(|fault| format!("no such state: {fault}"))?;
    let outcome = operation.apply(&mut fixture, state).and_then(|()| {
        if operation == Operation::Drain {
            return check_drain(&mut fixture, state);
        }
        check_service(&mut fixture, operation, state)?;
        metrics::check(&fixture)?;
        metrics::check_counters(&counters, &fixture, operation)?;
        check_end(&mut fixture, operation, state, &before)
    });
    outcome.map_err(|fault| with_log(&fault, &fixture))
}

fn start(operation: Operation, state: &mut dyn State) -> Outcome<Fixture> {
    let brokers = Brokers::start();
    let both = [brokers.b1.address(), brokers.b2.address()];
    let mut file = File::new(&both, &brokers.other.address());
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let folder = dir.path().to_owned();
    state.configure(&mut file, &brokers, operation, &folder);
    Fixture::start(dir, file, brokers, |program| state.command(program, &folder))
}

/// Who is there, who waits and who comes is served as a fresh start would serve them.
fn check_service(fixture: &mut Fixture, operation: Operation, state: &mut dyn State) -> Outcome {
    state.at_once(fixture, operation)?;
    let mut fresh = None;
    if let Some(status) = state.found_out_as(operation) {
        let fresh = fresh.insert(FreshProxy::start(fixture)?);
        if operation.keeps_b1() {
            fixture.wait_status("b1", status)?;
            fresh.api.wait_status("b1", status).map_err(|fault| format!("fresh: {fault}"))?;
        }
        fresh.compare(fixture)?;
    }
    let mut newcomers = fixture.open_all(&ids("newcomer", NEWCOMERS))?;
    if !state.holds_newcomers(operation) {
        expect_all_accepted(&mut newcomers, WITHIN)?;
    }
    state.heal(fixture, operation)?;
    if state.holds_newcomers(operation) {
        expect_all_accepted(&mut newcomers, WITHIN)?;
    }
    fixture.held.append(&mut newcomers);
    let fresh = match fresh {
        Some(fresh) => fresh,
        None => FreshProxy::start(fixture)?,
    };
    fresh.wait_all_up()?;
    fresh.compare(fixture)?;
    let pool = fixture.file.serving_pool();
    state.settle(fixture, &|id| fresh.api.home(pool, id))?;
    for device in &mut fixture.held {
        device.ping().map_err(|fault| format!("a session that was there: {fault}"))?;
    }
    fresh.missing_series(fixture)
}

/// When all have left, nothing is left of them.
fn check_end(
    fixture: &mut Fixture,
    operation: Operation,
    state: &mut dyn State,
    before: &Resources,
) -> Outcome {
    // All that is left has moved.
    fixture.pending.clear();
    fixture.wait_earlier_exits()?;
    if operation == Operation::Upgrade {
        for device in &mut fixture.held {
            device.ping().map_err(|fault| format!("a session that has moved: {fault}"))?;
        }
    }
    fixture.held.clear();
    before.check(fixture)?;
    metrics::check_records(fixture)?;
    resources::check_probes(fixture, operation)?;
    state.leave(fixture, operation)
}

/// Who waits is served, nobody is kept beyond the time, and each has its record.
fn check_drain(fixture: &mut Fixture, state: &mut dyn State) -> Outcome {
    let operation = Operation::Drain;
    until_right(WITHIN, || match fixture.api.code_of("/readyz") {
        Ok(503) => Ok(()),
        // With nobody there, it ends at once.
        Err(_) if !fixture.proxy.is_running() => Ok(()),
        Ok(code) => Err(format!("/readyz says {code} in a drain")),
        Err(fault) => Err(fault),
    })?;
    state.at_once(fixture, operation)?;
    if !state.holds_newcomers(operation) {
        state.heal(fixture, operation)?;
    }
    metrics::check_draining(fixture)?;
    fixture.held.clear();
    fixture.pending.clear();
    let began = Instant::now();
    while fixture.proxy.is_running() {
        if began.elapsed() > DRAINED_WITHIN {
            return Err("the drain does not end".to_owned());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let code = fixture.proxy.wait_exit();
    if code.code() != Some(0) {
        return Err(format!("the drain ended with {code}"));
    }
    // Behind a log that nobody reads, lines are lost in the end.
    let ends = fixture.proxy.log().iter().filter(|line| is_end(line)).count();
    if ends == fixture.opened || state.holds_newcomers(operation) {
        return Ok(());
    }
    Err(format!("{ends} ends in the log, of {} connections", fixture.opened))
}

/// The fault, and the last that the proxy has said.
fn with_log(fault: &str, fixture: &Fixture) -> String {
    let said = fixture.proxy.stderr();
    let last: Vec<_> = said.iter().rev().take(6).rev().cloned().collect();
    format!("{fault}\n  the proxy said last:\n    {}", last.join("\n    "))
}
