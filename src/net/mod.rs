//! A worker's sockets: one epoll per thread, futures that wait for it, and timers.
//!
//! A worker owns its [`Reactor`] and every socket on it, so nothing here is shared, locked or atomic,
//! except for [`Notify`], with which other threads wake the worker.

mod acceptor;
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

pub use acceptor::{Acceptor, PeerAddress};
pub use buffer::Buffer;
pub use loan::{Loan, SharedBuffer};
pub use notify::Notify;
pub use pipe::{Pipe, Pipes};
pub use reactor::Reactor;
pub use socket::{Socket, no_delay};
pub use source::{ConnectError, check_source, start_connect, start_connect_unix};
pub use stale::remove_stale;
pub use stream::{ClientTlsHandshake, Stream, TlsError};
pub use tcp_options::TcpOptions;
pub use timer::{Elapsed, deadline, sleep};
pub use turn::{FLOW_BYTES, TurnBudget, TurnQueue, TurnTicket};

/// Bytes read and written per call on a bulk stream that the kernel cannot move, because it goes
/// through TLS or WebSocket: four full TLS records (RFC 8446, section 5.1). Each write that wakes the
/// receiver costs as much as several records; more than four would be much for a slow receiver to
/// leave in our memory.
pub const BULK_BYTES: usize = 4 << 14;
