//! A close that lets the peer read what it was sent last.
//!
//! Closing a TCP socket with unread data, or one whose peer sends more, resets the connection (RFC
//! 1122, section 4.2.2.13), and the reset can overtake or discard what was sent last: a CONNACK, a
//! DISCONNECT, the last messages. HTTP servers therefore end their side first, and discard what
//! still arrives (RFC 9112, section 9.6); so does the proxy.

use std::{future::poll_fn, pin::pin, rc::Rc, time::Duration};

use tokio::task::{spawn_local, yield_now};

use super::context::WorkerContext;
use crate::net::{BULK_BYTES, Stream, deadline};

/// How long input is discarded for, from the end of the session on.
pub(super) const LINGER_TIMEOUT: Duration = Duration::from_secs(1);

/// The most bytes that are discarded of one peer: more than the largest receive buffer and send
/// buffer (`tcp_rmem` and `tcp_wmem` of Linux are 6 MiB and 4 MiB), which a flow that was held back
/// may have filled.
const MAX_LINGER_BYTES: usize = 16 << 20;

/// Bytes that are discarded before other tasks get their turn.
const DISCARD_BYTES_PER_TURN: usize = 256 * 1024;

/// The most connections of a worker that linger at a time. They no longer count as sessions and
/// hold a descriptor each; others are closed at once.
const MAX_LINGERING: u32 = 256;

/// Counts a connection for as long as it lingers.
struct Lingering(Rc<WorkerContext>);

impl Lingering {
    fn begin(context: &Rc<WorkerContext>) -> Option<Self> {
        let count = &context.lingering;
        (count.get() < MAX_LINGERING).then(|| {
            count.set(count.get() + 1);
            Self(context.clone())
        })
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let count = &self.0.lingering;
        count.set(count.get() - 1);
    }
}

/// Ends our side of the connection, and closes it once the peer has ended its side, or at the limits
/// in time and bytes.
pub(super) fn close_lingering(context: &Rc<WorkerContext>, stream: Stream) {
    let Some(lingering) = Lingering::begin(context) else {
        stream.send_close();
        return;
    };
    stream.shutdown();
    spawn_local(async move {
        let context = &lingering.0;
        let until = context.reactor.now() + LINGER_TIMEOUT;
        let discarding = pin!(discard_input(context, &stream, MAX_LINGER_BYTES));
        let _ = deadline(&context.reactor, until, discarding).await;
    });
}

/// Reads and discards data that still arrives, below TLS and WebSocket, up to the peer's end or a
/// failure. Meanwhile writes what the layers could not write before.
pub(super) async fn discard_input(context: &WorkerContext, stream: &Stream, max_bytes: usize) {
    let socket = stream.socket();
    let (mut discarded, mut in_turn) = (0, 0);
    while discarded < max_bytes {
        let read = poll_fn(|cx| {
            stream.watch(cx);
            // If the socket has failed, the read says so.
            let _ = stream.try_flush();
            context.scratch.lend().receive(BULK_BYTES, |room| socket.try_recv(room))
        })
        .await;
        let Ok(n @ 1..) = read else { return };
        (discarded, in_turn) = (discarded + n, in_turn + n);
        if in_turn >= DISCARD_BYTES_PER_TURN {
            in_turn = 0;
            yield_now().await;
        }
    }
}
