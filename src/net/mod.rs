//! A worker's sockets: one epoll per thread, futures that wait for it, and timers.
//!
//! A worker owns its [`Reactor`] and every socket on it, so nothing here is shared, locked or
//! atomic, except for [`Notify`], with which other threads wake the worker.

mod acceptor;
mod aead_keys;
mod buffer;
mod loan;
mod notify;
mod pipe;
mod reactor;
mod readiness;
mod socket;
mod source;
mod stale;
mod stream;
mod tcp_options;
#[cfg(test)]
mod tests;
mod timer;
mod timers;
mod turn;

pub(crate) use acceptor::{Acceptor, PeerAddress};
pub(crate) use buffer::Buffer;
pub(crate) use loan::SharedBuffer;
pub(crate) use notify::Notify;
pub(crate) use pipe::{Pipe, Pipes};
pub(crate) use reactor::Reactor;
pub(crate) use socket::{Socket, no_delay, reset};
pub(crate) use source::{ConnectError, check_source, start_connect, start_connect_unix};
pub(crate) use stale::remove_stale;
pub(crate) use stream::{
    CaptureError, ClientTlsHandshake, KeyUse, Ping, RestoreError, Stream, StreamState, TlsError,
    is_key_used_up,
};
pub use stream::{EstablishedTls, TlsReceived, TlsRole};
pub use tcp_options::TcpOptions;
pub(crate) use timer::{Elapsed, deadline, sleep};
pub(crate) use turn::{FLOW_BYTES, TurnTicket};

/// Bytes read and written per call on a bulk stream that the kernel cannot move, because it goes
/// through TLS or WebSocket: four full TLS records (RFC 8446, section 5.1). Each write that wakes
/// the receiver costs as much as several records; with more than four, a slow receiver would leave
/// too much in our memory.
pub(crate) const BULK_BYTES: usize = 4 << 14;
