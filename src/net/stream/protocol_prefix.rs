//! The first bytes of a connection that was refused before they told its protocol.

use std::{future::poll_fn, pin::pin, time::Duration};

use crate::{
    net::{socket::Socket, timer::deadline},
    proto::first_bytes::{Detection, detect_protocol},
};

/// How long a client that was refused too early to be recognized may take for some bytes more.
const HEAR_OUT: Duration = Duration::from_secs(1);

/// Bytes that are enough for every protocol.
const ENOUGH: usize = 12;

/// Ends our side of what began wrongly and too early to be recognized, and adds the few bytes to
/// `first` that tell: the client is not kept waiting for its refusal.
pub(super) async fn read_protocol_prefix(socket: &Socket, first: &mut Vec<u8>) {
    if detect_protocol(first) != Detection::Undecided {
        return;
    }
    socket.shutdown();
    let hearing = async {
        while detect_protocol(first) == Detection::Undecided {
            let mut more = [0; ENOUGH];
            let read = poll_fn(|cx| {
                socket.watch(cx);
                socket.try_recv(&mut more)
            });
            match read.await {
                Ok(count @ 1..) => first.extend_from_slice(&more[..count]),
                _ => return,
            }
        }
    };
    // What has come by then is judged.
    let reactor = socket.reactor();
    let _ = deadline(reactor, reactor.now() + HEAR_OUT, pin!(hearing)).await;
}
