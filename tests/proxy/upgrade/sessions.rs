//! Sessions move to the new process, and none of their clients notices.

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};

use super::{NewProcess, rename_pool};
use crate::{
    admin::ctl::{json_of, printed},
    broker::Broker,
    client::{Client, connack, connect},
    config::Config,
    harness::{end, wait_for},
};

#[test]
fn sessions_move_and_the_old_process_ends() {
    let broker = Broker::echoing();
    let mut proxy = Config::of([&broker]).workers(2).start();
    let ids: Vec<_> = (0..50).map(|n| format!("c{n}")).collect();
    let mut clients: Vec<_> = ids.iter().map(|id| Client::session(proxy.address(), id)).collect();
    let mut new = NewProcess::of(&proxy);
    assert_eq!(proxy.wait_exit().code(), Some(0));
    for client in &mut clients {
        client.echo(b"\xC0\x00");
    }
    let status = json_of(&proxy, &["status"]);
    assert_eq!(status["last_upgrade"]["previous"]["moved"], 50);
    assert_eq!(status["listeners"][0]["connections_total"], 50);
    assert_eq!(status["listeners"][0]["connections_active"], 50);
    // And on, with another number of workers.
    let text = std::fs::read_to_string(proxy.config_file()).unwrap();
    for workers in [3, 1, 2] {
        let changed = text.replace("workers: 2", &format!("workers: {workers}"));
        std::fs::write(proxy.config_file(), changed).unwrap();
        let before = new.pid();
        new.next(&proxy);
        wait_for("the process before to end", || (!super::is_running(before)).then_some(()));
        for client in &mut clients {
            client.echo(b"\xC0\x00");
        }
        Client::session(proxy.address(), "another").echo(b"\xC0\x00");
    }
    for (client, id) in clients.into_iter().zip(&ids) {
        drop(client);
        assert_eq!(end(&proxy.wait_end(id)), "client/relay/closed");
    }
    let log = proxy.log();
    for id in &ids {
        let lines: Vec<_> = log.iter().filter(|line| line["client_id"] == **id).collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_eq!(lines[0]["session"], lines[1]["session"]);
    }
}

/// While a client is in its handshake, the old process keeps its sockets, and accepts again when the
/// new process is killed.
#[test]
fn the_new_process_is_killed() {
    let broker = Broker::echoing();
    let mut proxy = Config::of([&broker]).workers(2).start();
    // In its handshake: it stays.
    let mut waiting = Client::open(proxy.address());
    waiting.send(b"\x10");
    wait_for("the connection", || {
        (json_of(&proxy, &["status"])["listeners"][0]["connections_active"] == 1).then_some(())
    });
    let new = NewProcess::of(&proxy);
    let after = Client::session(proxy.address(), "after");
    kill_process(new.pid(), Signal::KILL).unwrap();
    proxy.wait_stderr("this process accepts again");
    let mut again = Client::session(proxy.address(), "again");
    again.echo(b"\xC0\x00");
    drop(after);
    assert!(proxy.is_running());
    json_of(&proxy, &["status"]);
    let _new = NewProcess::of(&proxy);
    again.echo(b"\xC0\x00");
    drop(waiting);
    assert_eq!(proxy.wait_exit().code(), Some(0));
    again.echo(b"\xC0\x00");
}

/// Three processes in a row: the first keeps a session that cannot move, the last one knows.
#[test]
fn a_process_in_the_middle() {
    let broker = Broker::echoing();
    let mut proxy = Config::of([&broker]).start();
    let mut first = Client::session(proxy.address(), "first");
    rename_pool(&proxy);
    let mut new = NewProcess::of(&proxy);
    let mut second = Client::session(proxy.address(), "second");
    let middle = new.pid();
    new.next(&proxy);
    first.echo(b"\xC0\x00");
    second.echo(b"\xC0\x00");
    wait_for("the connection of the first process", || {
        let status = json_of(&proxy, &["status"]);
        (status["last_upgrade"]["previous"]["remaining"] == 1).then_some(())
    });
    assert!(super::is_running(middle));
    drop(first);
    proxy.wait_end("first");
    assert_eq!(proxy.wait_exit().code(), Some(0));
    wait_for("the second process to end", || (!super::is_running(middle)).then_some(()));
    proxy.wait_metric("mqtt_lb_session_ends_total", &["relay"], 1.0);
    second.echo(b"\xC0\x00");
}

/// The old process is killed: the new one goes on with what has moved.
#[test]
fn the_old_process_is_killed() {
    let broker = Broker::echoing();
    let mut proxy = Config::of([&broker]).workers(2).start();
    let mut moved = Client::session(proxy.address(), "moved");
    let mut waiting = Client::open(proxy.address());
    waiting.send(b"\x10");
    let new = NewProcess::of(&proxy);
    wait_for("the session to move", || {
        let status = json_of(&proxy, &["status"]);
        (status["last_upgrade"]["previous"]["moved"] == 1).then_some(())
    });
    proxy.signal(Signal::KILL);
    proxy.wait_exit();
    moved.echo(b"\xC0\x00");
    Client::session(proxy.address(), "after").echo(b"\xC0\x00");
    wait_for("its end to be known", || {
        let status = json_of(&proxy, &["status"]);
        (status["last_upgrade"]["previous"]["state"] == "ended").then_some(())
    });
    assert!(new.is_running());
}

/// The limit of the new process is lowered after it has taken over, and the descriptors of a message
/// are lost, which ends the hand-over. Sessions that have moved and those that have not go on where
/// they are, and the status says that the old process runs.
#[test]
fn the_hand_over_breaks_off() {
    let broker = Broker::echoing();
    let mut proxy = Config::of([&broker]).workers(2).start();
    let ids: Vec<_> = (0..80).map(|n| format!("c{n}")).collect();
    // In their handshakes: they move after the new process accepts.
    let mut clients: Vec<_> = ids.iter().map(|_| Client::open(proxy.address())).collect();
    for client in &mut clients {
        client.send(b"\x10");
    }
    wait_for("the connections", || {
        let status = json_of(&proxy, &["status"]);
        (status["listeners"][0]["connections_active"] == 80).then_some(())
    });
    let new = NewProcess::of(&proxy);
    let open = std::fs::read_dir(format!("/proc/{}/fd", new.pid().as_raw_nonzero())).unwrap();
    let before = getrlimit(Resource::Nofile);
    let few = Rlimit { current: Some(open.count() as u64 + 20), maximum: before.maximum };
    prlimit(Some(new.pid()), Resource::Nofile, few).unwrap();
    for (client, id) in clients.iter_mut().zip(&ids) {
        client.send(&connect(4, id)[1..]);
    }
    proxy.wait_stderr("RLIMIT_NOFILE");
    prlimit(Some(new.pid()), Resource::Nofile, Rlimit { current: before.maximum, ..few }).unwrap();
    for client in &mut clients {
        client.expect(&connack(4, 0));
        client.echo(b"\xC0\x00");
    }
    proxy.wait_stderr("sessions that have not moved stay here");
    wait_for("the status", || {
        let status = json_of(&proxy, &["status"]);
        (status["last_upgrade"]["previous"]["state"] == "detached").then_some(())
    });
    let said = printed(&proxy, &["status"]);
    let left = "connections left: unknown, as the hand-over has broken off";
    assert!(said.contains("detached;") && said.contains(left), "{said}");
    drop(clients);
    for id in &ids {
        assert_eq!(end(&proxy.wait_end(id)), "client/relay/closed");
    }
    assert_eq!(proxy.log().len(), 2 * ids.len());
    assert_eq!(proxy.wait_exit().code(), Some(0));
    wait_for("its end to be known", || {
        let status = json_of(&proxy, &["status"]);
        (status["last_upgrade"]["previous"]["state"] == "ended").then_some(())
    });
}

/// A session on its way takes two descriptors more, of which there are only a few.
#[test]
fn few_descriptors_are_left() {
    const SESSIONS: usize = 60;
    const SPARE: u64 = 20;
    let broker = Broker::echoing();
    let mut proxy = Config::of([&broker]).start();
    let ids: Vec<_> = (0..SESSIONS).map(|n| format!("c{n}")).collect();
    let mut clients: Vec<_> = ids.iter().map(|id| Client::session(proxy.address(), id)).collect();
    let current = Some(proxy.descriptors() as u64 + SPARE);
    let maximum = getrlimit(Resource::Nofile).maximum;
    let pid = Pid::from_raw(proxy.id().cast_signed());
    prlimit(pid, Resource::Nofile, Rlimit { current, maximum }).unwrap();
    let _new = NewProcess::of(&proxy);
    assert_eq!(proxy.wait_exit().code(), Some(0));
    for client in &mut clients {
        client.echo(b"\xC0\x00");
    }
    let status = json_of(&proxy, &["status"]);
    let previous = &status["last_upgrade"]["previous"];
    assert_eq!(
        (&previous["moved"], &previous["stayed"]),
        (&SESSIONS.into(), &serde_json::json!({}))
    );
}
