//! Every order of the events, with every failure at every step.

use std::{
    collections::{HashMap, HashSet},
    time::Instant,
};

use super::{
    super::{GiverEvent, TakerEvent},
    world::{AtNew, AtOld, Commit, World},
};

/// The step and the world that each world came from first.
type Origins = HashMap<World, Option<(&'static str, World)>>;

/// All worlds that one event leads to.
fn next(world: &World) -> Vec<(&'static str, World)> {
    let mut worlds = Vec::new();
    let mut step = |name, change: &dyn Fn(&mut World)| {
        let mut changed = world.clone();
        change(&mut changed);
        worlds.push((name, changed));
    };
    if world.old.alive {
        old_steps(world, &mut step);
    }
    if world.new.alive && !world.new.hangs {
        new_steps(world, &mut step);
    }
    if world.faults_left > 0 {
        faults(world, &mut |name, change| {
            step(name, &|world| {
                world.faults_left -= 1;
                world.faults += 1;
                change(world);
            });
        });
    }
    worlds
}

type Step<'a> = dyn FnMut(&'static str, &dyn Fn(&mut World)) + 'a;

fn old_steps(world: &World, step: &mut Step<'_>) {
    if world.old.reads {
        if !world.new.outbox.is_empty() {
            step("old reads", &|world| {
                let message = world.new.outbox.pop_front().unwrap();
                world.tell_old(GiverEvent::Message(message));
            });
        } else if !world.new.open {
            step("old reads the end", &|world| {
                world.old.reads = false;
                world.tell_old(GiverEvent::Closed);
            });
        }
    }
    if !world.new.alive && !world.old.knows_exit {
        step("old waits for new", &|world| {
            world.old.knows_exit = true;
            world.tell_old(GiverEvent::Exited("killed".into()));
        });
    }
    if world.old.state_wanted {
        step("state sent", &World::send_state);
    }
    if world.old.stop_wanted {
        step("stopped accepting", &|world| {
            world.old.stop_wanted = false;
            world.old.accepting = false;
            world.tell_old(GiverEvent::StoppedAccepting);
        });
    }
    if world.new.hangs && world.old.giver.deadline().is_some() {
        step("old's time-out", &|world| world.tell_old(GiverEvent::TimedOut));
    }
    for (id, session) in world.sessions.iter().enumerate() {
        if session.0 != AtOld::Active {
            continue;
        }
        step("session ends", &|world| world.sessions[id].0 = AtOld::Ended);
        let giver = &world.old.giver;
        // The driver receives sessions that park after the hand-over has failed as well.
        if world.old.parking && !world.asked[id] && (giver.room() > 0 || !giver.is_moving()) {
            for (name, too_large) in
                [("session parks", None), ("session is too large", Some(id as u64))]
            {
                step(name, &|world| {
                    world.asked[id] = true;
                    world.too_large = too_large;
                    world.sessions[id].0 = AtOld::Parked;
                    world.tell_old(GiverEvent::Parked(id as u64));
                    world.too_large = None;
                });
            }
        }
    }
    let is_gone = |state| matches!(state, AtOld::Released | AtOld::Ended);
    if world.sessions.iter().all(|session| is_gone(session.0)) {
        step("old is empty", &|world| world.tell_old(GiverEvent::Empty));
    }
}

fn new_steps(world: &World, step: &mut Step<'_>) {
    if world.new.open && world.new.reads {
        if !world.old.outbox.is_empty() {
            step("new reads", &|world| {
                let message = world.old.outbox.pop_front().unwrap();
                world.tell_new(TakerEvent::Message(&message), Some(&message));
            });
        } else if !world.old.sender_open {
            step("new reads the end", &|world| {
                world.new.reads = false;
                world.tell_new_if_old_ended();
                world.tell_new(TakerEvent::Closed, None);
            });
        }
    }
    if world.new.prepare_wanted {
        step("prepared", &|world| {
            world.new.prepare_wanted = false;
            world.new.prepared = true;
            world.tell_new(TakerEvent::Prepared, None);
        });
    }
    for &id in &world.new.adopting {
        step("adopted", &|world| world.adopted(id, Ok(())));
        step("refused", &|world| world.adopted(id, Err("unknown listener")));
    }
    if world.new.commit.is_some() {
        step("commit", &World::go_on_with_commit);
    }
}

fn faults(world: &World, fault: &mut Step<'_>) {
    if world.old.alive {
        fault("old dies", &|world| {
            world.old.died = true;
            world.kill_old();
        });
        fault("old's sends fail", &|world| world.old.broken = true);
        if world.old.giver.deadline().is_some() {
            fault("old's time-out", &|world| world.tell_old(GiverEvent::TimedOut));
        }
        fault("old fails", &|world| {
            world.old.state_wanted = false;
            world.tell_old(GiverEvent::Failed("no".into()));
        });
        if world.old.reads && !world.new.outbox.is_empty() {
            fault("old cannot read", &|world| {
                world.new.outbox.clear();
                world.old.reads = false;
                world.tell_old(GiverEvent::Unreadable("garbage".into()));
            });
            fault("old reads it twice", &|world| {
                let message = world.new.outbox[0].clone();
                world.tell_old(GiverEvent::Message(message));
            });
        }
    }
    if world.new.alive && !world.new.hangs {
        fault("new dies", &World::kill_new);
        fault("new hangs", &|world| world.new.hangs = true);
        fault("new's sends fail", &|world| {
            if world.new.commit != Some(Commit::Written) {
                world.new.broken = true;
            }
        });
        if world.new.taker.deadline().is_some() {
            fault("new's time-out", &|world| world.tell_new(TakerEvent::TimedOut, None));
        }
        fault("new fails", &|world| {
            world.new.prepare_wanted = false;
            world.tell_new(TakerEvent::Failed("no"), None);
        });
        fault("new is stopped", &|world| {
            world.new.stopping = true;
            world.tell_new(TakerEvent::Stop, None);
        });
        if world.new.open && world.new.reads && !world.old.outbox.is_empty() {
            fault("new cannot read", &|world| {
                world.old.outbox.clear();
                world.new.reads = false;
                world.tell_new(TakerEvent::Unreadable("garbage"), None);
            });
            fault("new reads it twice", &|world| {
                let message = world.old.outbox[0].clone();
                world.tell_new(TakerEvent::Message(&message), Some(&message));
            });
        }
    }
}

/// What never happens.
fn check_always(world: &World) {
    let (old, new) = (&world.old, &world.new);
    if old.alive && old.giver.is_moving() {
        let waits = world.sessions.iter().any(|session| session.0 == AtOld::Parked);
        assert_eq!(old.giver.deadline().is_some(), waits, "a time-out without a reason, or none");
    }
    assert!(!(old.alive && old.accepting && new.alive && new.accepting), "both accept");
    for session in &world.sessions {
        let both = session.0 == AtOld::Active && session.1 == AtNew::Started;
        assert!(!(both && old.alive && new.alive), "a session is in both");
    }
    assert!(!(old.failed && new.alive && new.accepting), "the upgrade has failed, and has not");
}

/// What holds when nothing more can happen.
fn check_end(world: &World) {
    let (old, new) = (&world.old, &world.new);
    let accepts = (old.alive && old.accepting) || (new.alive && new.accepting);
    let nobody_lives = !old.alive && (!new.alive || new.hangs);
    assert!(accepts || nobody_lives || new.stopping, "nobody accepts");
    if old.died && new.prepared && world.faults == 1 {
        assert!(new.alive && new.accepting, "the new process does not serve alone");
    }
    for session in &world.sessions {
        match session {
            (AtOld::Parked, _) => assert!(!old.alive, "a session stays parked"),
            (AtOld::Released, at_new) => {
                assert!(*at_new == AtNew::Started || !new.alive || new.hangs, "a session is lost");
            }
            (AtOld::Active, AtNew::Started) => assert!(!old.alive || !new.alive),
            (_, AtNew::Held) => assert!(!new.alive || new.hangs, "a session stays held"),
            _ => {}
        }
    }
    assert!(old.giver.is_over() || !old.alive || (new.alive && new.accepting), "old waits");
    assert!(new.taker.is_over() || !new.alive || new.hangs || old.alive, "new waits");
}

/// Visits every world; returns their number and how many are an end.
fn explore(sessions: usize, faults: u8) -> (usize, usize) {
    let start = World::new(sessions, faults, Instant::now());
    let mut origins = Origins::new();
    let mut ends = 0;
    origins.insert(start.clone(), None);
    let mut open = vec![start];
    while let Some(world) = open.pop() {
        let path = || path(&origins, &world);
        let following: HashSet<_> =
            caught(path, || next(&world).into_iter().filter(|(_, next)| *next != world).collect());
        caught(path, || check_always(&world));
        // A fault need not happen, so a world in which nothing else can is an end as well.
        if following.iter().all(|(_, next)| next.faults_left < world.faults_left) {
            caught(path, || check_end(&world));
            ends += 1;
        }
        for (name, next) in following {
            if !origins.contains_key(&next) {
                origins.insert(next.clone(), Some((name, world.clone())));
                open.push(next);
            }
        }
    }
    (origins.len(), ends)
}

/// Runs a check; tells how the world came about if it fails.
fn caught<T>(path: impl Fn() -> Vec<&'static str>, check: impl FnOnce() -> T) -> T {
    struct Tell<F: Fn() -> Vec<&'static str>>(F);
    impl<F: Fn() -> Vec<&'static str>> Drop for Tell<F> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("steps: {:#?}", self.0());
            }
        }
    }
    let _tell = Tell(path);
    check()
}

fn path(origins: &Origins, world: &World) -> Vec<&'static str> {
    let mut names = Vec::new();
    let mut world = world;
    while let Some(Some((name, origin))) = origins.get(world) {
        names.push(*name);
        world = origin;
    }
    names.reverse();
    names
}

#[test]
fn without_a_fault() {
    let (worlds, ends) = explore(2, 0);
    println!("{worlds} worlds, {ends} ends");
    assert!(worlds > 500 && ends > 0, "{worlds} worlds, {ends} ends");
}

#[test]
fn one_fault_anywhere() {
    let (worlds, ends) = explore(2, 1);
    println!("{worlds} worlds, {ends} ends");
    assert!(worlds > 5000, "{worlds} worlds");
}

#[test]
fn two_faults_anywhere() {
    let (worlds, ends) = explore(1, 2);
    println!("{worlds} worlds, {ends} ends");
    assert!(worlds > 5000, "{worlds} worlds");
}
