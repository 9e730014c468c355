//! One cell: into the state, the operation, and what must hold after it.

use std::time::{Duration, Instant};

use crate::{
    Outcome,
    device::{WITHIN, expect_all_accepted, until_right},
    file::File,
    harness::is_end,
    leftovers::{self, Leftovers},
    operations::Operation,
    oracle::Fresh,
    scene::{Brokers, Scene, ids},
    states::{Make, State},
    truth,
};

/// Clients that come after the operation, all at once.
const NEWCOMERS: usize = 12;

/// What a drain may take beyond its time, to write what is left.
const DRAINED_WITHIN: Duration = Duration::from_secs(20);

pub(crate) fn run(operation: Operation, make: Make) -> Outcome {
    let mut state = make();
    let state = &mut *state;
    let mut scene = start(operation, state)?;
    let before = Leftovers::least(&scene);
    let sessions = state.sessions();
    scene.hold("held", sessions)?;
    let counters = scene.samples()?;
    state.enter(&mut scene, operation).map_err(|fault| format!("no such state: {fault}"))?;
    let outcome = operation.apply(&mut scene, state).and_then(|()| {
        if operation == Operation::Drain {
            return check_drain(&mut scene, state);
        }
        check_service(&mut scene, operation, state)?;
        truth::check(&scene)?;
        truth::check_counters(&counters, &scene, operation)?;
        check_end(&mut scene, operation, state, &before)
    });
    outcome.map_err(|fault| with_log(&fault, &scene))
}

fn start(operation: Operation, state: &mut dyn State) -> Outcome<Scene> {
    let brokers = Brokers::start();
    let both = [brokers.b1.address(), brokers.b2.address()];
    let mut file = File::new(&both, &brokers.other.address());
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let folder = dir.path().to_owned();
    state.configure(&mut file, &brokers, operation, &folder);
    Scene::start(dir, file, brokers, |program| state.command(program, &folder))
}

/// Who is there, who waits and who comes is served as a fresh start would serve them.
fn check_service(scene: &mut Scene, operation: Operation, state: &mut dyn State) -> Outcome {
    state.at_once(scene, operation)?;
    let mut fresh = None;
    if let Some(status) = state.found_out_as(operation) {
        let fresh = fresh.insert(Fresh::start(scene)?);
        if operation.keeps_b1() {
            scene.wait_status("b1", status)?;
            fresh.api.wait_status("b1", status).map_err(|fault| format!("fresh: {fault}"))?;
        }
        fresh.compare(scene)?;
    }
    let mut newcomers = scene.open_all(&ids("newcomer", NEWCOMERS))?;
    if !state.holds_newcomers(operation) {
        expect_all_accepted(&mut newcomers, WITHIN)?;
    }
    state.heal(scene, operation)?;
    if state.holds_newcomers(operation) {
        expect_all_accepted(&mut newcomers, WITHIN)?;
    }
    scene.held.append(&mut newcomers);
    let fresh = match fresh {
        Some(fresh) => fresh,
        None => Fresh::start(scene)?,
    };
    fresh.wait_all_up()?;
    fresh.compare(scene)?;
    let pool = scene.file.serving_pool();
    state.settle(scene, &|id| fresh.api.home(pool, id))?;
    for device in &mut scene.held {
        device.ping().map_err(|fault| format!("a session that was there: {fault}"))?;
    }
    fresh.missing_series(scene)
}

/// When all have left, nothing is left of them.
fn check_end(
    scene: &mut Scene,
    operation: Operation,
    state: &mut dyn State,
    before: &Leftovers,
) -> Outcome {
    scene.held.clear();
    scene.pending.clear();
    before.check(scene)?;
    truth::check_records(scene)?;
    leftovers::check_probes(scene, operation)?;
    state.leave(scene, operation)
}

/// Who waits is served, nobody is kept beyond the time, and each has its record.
fn check_drain(scene: &mut Scene, state: &mut dyn State) -> Outcome {
    let operation = Operation::Drain;
    until_right(WITHIN, || match scene.api.code_of("/readyz") {
        Ok(503) => Ok(()),
        // With nobody there, it ends at once.
        Err(_) if !scene.proxy.is_running() => Ok(()),
        Ok(code) => Err(format!("/readyz says {code} in a drain")),
        Err(fault) => Err(fault),
    })?;
    state.at_once(scene, operation)?;
    if !state.holds_newcomers(operation) {
        state.heal(scene, operation)?;
    }
    scene.held.clear();
    scene.pending.clear();
    let began = Instant::now();
    while scene.proxy.is_running() {
        if began.elapsed() > DRAINED_WITHIN {
            return Err("the drain does not end".to_owned());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let code = scene.proxy.wait_exit();
    if code.code() != Some(0) {
        return Err(format!("the drain ended with {code}"));
    }
    // Behind a log that nobody reads, lines are lost in the end.
    let ends = scene.proxy.log().iter().filter(|line| is_end(line)).count();
    if ends == scene.opened || state.holds_newcomers(operation) {
        return Ok(());
    }
    Err(format!("{ends} ends in the log, of {} connections", scene.opened))
}

/// The fault, and the last that the proxy has said.
fn with_log(fault: &str, scene: &Scene) -> String {
    let said = scene.proxy.stderr();
    let last: Vec<_> = said.iter().rev().take(6).rev().cloned().collect();
    format!("{fault}\n  the proxy said last:\n    {}", last.join("\n    "))
}
