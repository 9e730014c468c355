//! Sessions that do not move: they go on in their process as if nothing had happened.

use std::os::fd::OwnedFd;

use super::two_proxies::{
    CONNACK_V4, CONNACK_V5, CONNECT_V4, CONNECT_V5, HandingOver, Layers, TwoProxies, active,
    move_all,
};
use crate::{
    labels::StayReason,
    session::{HandOverOutcome, MovedSession},
};

/// What has arrived while a session was parked is passed on when it stays.
#[test]
fn a_refused_session() {
    let mut world = TwoProxies::new(CONNECT_V5, CONNACK_V5);
    let mut handing_over = HandingOver::start(&world.old);
    let parked = handing_over.next().unwrap();
    world.client.send(b"\xC0\0");
    world.broker.send(b"\xD0\0");
    world.old.worker().answer_hand_over(parked.id, HandOverOutcome::Refused(StayReason::Pool));
    world.broker.expect(b"\xC0\0");
    world.client.expect(b"\xD0\0");
    // It is not asked again.
    assert!(handing_over.next().is_none());
    assert_eq!(handing_over.stays(), [(StayReason::Pool, 1)]);
    world.exchange();
    assert_eq!((active(&world.old), active(&world.new)), (1, 0));
    // The next hand-over asks it again.
    world.move_session();
    world.exchange();
    assert_eq!(handing_over.stays(), []);
}

/// The hand-over ends before the answer, by a command or because nobody receives the sessions.
#[test]
fn an_interrupted_hand_over() {
    let mut world = TwoProxies::new(CONNECT_V5, CONNACK_V5);
    let mut handing_over = HandingOver::start(&world.old);
    let parked = handing_over.next().unwrap();
    world.client.send(b"\xC0\0");
    world.old.worker().end_hand_over();
    world.broker.expect(b"\xC0\0");
    assert_eq!(handing_over.stays(), [(StayReason::Interrupted, 1)]);
    // An answer that is late means nothing.
    world.old.worker().answer_hand_over(parked.id, HandOverOutcome::Taken);
    world.exchange();
    drop(HandingOver::start(&world.old));
    world.exchange();
    world.move_session();
    world.exchange();
}

/// The other process has taken the session, and gives it up because this one could not be told.
#[test]
fn a_session_that_is_given_up() {
    let mut world = TwoProxies::new(CONNECT_V5, CONNACK_V5);
    let mut handing_over = HandingOver::start(&world.old);
    let parked = handing_over.next().unwrap();
    let id = parked.id;
    let answers = world.new.worker().adopt(vec![parked]).blocking_recv().unwrap();
    assert!(answers[0].1.is_ok());
    assert_eq!(active(&world.new), 1);
    world.new.worker().give_up_adopted(vec![id]);
    world.old.worker().end_hand_over();
    world.exchange();
    // Commands are executed in their order.
    assert!(world.new.worker().adopt(Vec::new()).blocking_recv().unwrap().is_empty());
    assert_eq!((active(&world.old), active(&world.new)), (1, 0));
    assert_eq!(world.new.ends().len(), 0);
    world.move_session();
    world.exchange();
}

/// A session without its pool in the other configuration stays.
#[test]
fn another_configuration() {
    let mut world = TwoProxies::new(CONNECT_V5, CONNACK_V5);
    world.restart_new(|config| config.pools[0].name = "other".into());
    assert_eq!(move_all(&world.old, &world.new), [(StayReason::Pool, 1)]);
    world.exchange();
    // A listener of another name is found by its address, one that is gone is kept by its name.
    world.restart_new(|config| config.listeners[0].name = "other".into());
    assert_eq!(move_all(&world.old, &world.new), []);
    world.exchange();
    assert_eq!(world.new.metric(r#"connections_active{listener="l"}"#), 1);
    drop(world.client);
    assert_eq!(world.broker.rest(), b"");
    drop(world.broker);
    assert_eq!(world.new.end()["listener"], "l");
}

/// A broker that the other configuration does not have: the session moves, and ends there, as after
/// a reload.
#[test]
fn a_removed_broker() {
    let mut world = TwoProxies::new(CONNECT_V5, CONNACK_V5);
    world.restart_new(|config| config.pools[0].upstreams[0].name = "other".into());
    assert_eq!(move_all(&world.old, &world.new), []);
    // Use another server.
    assert_eq!(world.client.rest(), [0xE0, 1, 0x9C]);
    let end = world.new.end();
    assert_eq!((&end["end_cause"], &end["upstream"]), (&"removed".into(), &"b".into()));
}

/// What is not a session is refused, and the one that it was made of goes on where it is.
#[test]
fn what_is_not_a_session() {
    let mut world = TwoProxies::with(&Layers::default(), "", |_| {}, CONNECT_V4, CONNACK_V4);
    let mut handing_over = HandingOver::start(&world.old);
    let parked = handing_over.next().unwrap();
    let refused = |state: &[u8], descriptors: Vec<OwnedFd>| {
        let state = state.to_vec().into();
        let moved = MovedSession { id: parked.id, state, descriptors };
        let answers = world.new.worker().adopt(vec![moved]).blocking_recv().unwrap();
        answers[0].1.as_ref().unwrap_err().reason()
    };
    let sockets = || -> Vec<OwnedFd> {
        parked.descriptors.iter().map(|fd| fd.try_clone().unwrap()).collect()
    };
    for len in 0..parked.state.len() {
        assert_eq!(refused(&parked.state[..len], sockets()), StayReason::State, "{len} bytes");
    }
    let mut other = parked.state.to_vec();
    // The version is the first value.
    let at = other.windows(7).position(|bytes| bytes == b"version").unwrap() + 7;
    other[at] += 1;
    assert_eq!(refused(&other, sockets()), StayReason::State);
    assert_eq!(refused(&parked.state, Vec::new()), StayReason::Descriptors);
    assert_eq!(
        refused(&parked.state, sockets()[..1].iter().map(|fd| fd.try_clone().unwrap()).collect()),
        StayReason::Descriptors
    );
    let file = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    assert_eq!(refused(&parked.state, vec![file(), file()]), StayReason::Descriptors);
    let listening = OwnedFd::from(world.brokers.try_clone().unwrap());
    assert_eq!(refused(&parked.state, vec![listening, file()]), StayReason::Descriptors);
    assert_eq!(active(&world.new), 0);
    world.old.worker().end_hand_over();
    world.exchange();
}

/// A state with any byte changed is refused, or is that of another session: nothing panics.
#[test]
fn what_may_be_another_session() {
    let mut world = TwoProxies::new(CONNECT_V5, CONNACK_V5);
    let mut handing_over = HandingOver::start(&world.old);
    let parked = handing_over.next().unwrap();
    for at in 0..parked.state.len() {
        for change in [0x01, 0x80, 0xFF] {
            let mut state = parked.state.clone();
            state[at] ^= change;
            let descriptors = parked.descriptors.iter().map(|fd| fd.try_clone().unwrap()).collect();
            let moved = MovedSession { id: parked.id, state, descriptors };
            drop(world.new.worker().adopt(vec![moved]).blocking_recv().unwrap());
            world.new.worker().give_up_adopted(vec![parked.id]);
        }
    }
    assert!(world.new.worker().adopt(Vec::new()).blocking_recv().unwrap().is_empty());
    assert_eq!(active(&world.new), 0);
    world.old.worker().end_hand_over();
    world.exchange();
}
