//! Detection of the protocol of a connection that is refused after its very first bytes.

use std::{future::poll_fn, pin::pin, time::Duration};

use crate::{
    net::{socket::Socket, timer::deadline},
    proto::first_bytes::{Detection, detect_protocol},
};

/// How long a refused client may take to send the bytes that identify its protocol.
const PREFIX_TIMEOUT: Duration = Duration::from_secs(1);

/// Bytes that suffice to identify every protocol.
const PREFIX_BYTES: usize = 12;

/// Ends our side of a connection that sent too few bytes to identify its protocol, then reads more
/// into `first`. Our side ends first, so that the client does not wait for its refusal.
pub(super) async fn read_protocol_prefix(socket: &Socket, first: &mut Vec<u8>) {
    if detect_protocol(first) != Detection::Undecided {
        return;
    }
    socket.shutdown();
    let reading = async {
        while detect_protocol(first) == Detection::Undecided {
            let mut more = [0; PREFIX_BYTES];
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
    // The protocol is detected from the bytes that have arrived by then.
    let reactor = socket.reactor();
    let _ = deadline(reactor, reactor.now() + PREFIX_TIMEOUT, pin!(reading)).await;
}
