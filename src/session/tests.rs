use super::{active::ActiveSession, relay::Relay};

/// The bytes of an idle session: its relay's future and its entry in the table. (Its names, two
/// slots of the reactor and one of the table come on top.) The limits make any growth a deliberate
/// decision.
#[test]
fn an_idle_session_is_small() {
    assert!(size_of::<Relay>() <= 96, "Relay is {} bytes", size_of::<Relay>());
    assert!(
        size_of::<ActiveSession>() <= 392,
        "ActiveSession is {} bytes",
        size_of::<ActiveSession>()
    );
}

/// The future of a handshake is copied several times until it is in its task.
#[test]
fn a_handshake_is_not_large() {
    fn size<A, F>(_: impl Fn(A) -> F) -> usize {
        size_of::<F>()
    }
    let handshake = size(|(context, accepted, fd, peer)| super::serve(context, accepted, fd, peer));
    assert!(handshake <= 1824, "{handshake} bytes");
}
