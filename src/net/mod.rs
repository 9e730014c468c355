//! Sockets as a worker sees them: one epoll a thread, futures that wait on it, and timers.
//!
//! A worker owns a [`Reactor`] and every socket of it, so nothing here is shared, locked or atomic,
//! except for [`Notify`], by which other threads wake the worker.

mod acceptor;
mod buffer;
mod loan;
mod pipe;
mod reactor;
mod socket;
mod source;
mod stale;
mod stream;
mod tcp_options;
#[cfg(test)]
mod tests;
mod timer;
mod turn;

pub use acceptor::{Acceptor, Peer};
pub use buffer::Buffer;
pub use loan::{Loan, SharedBuffer};
pub use pipe::{Pipe, Pipes};
pub use reactor::{Notify, Reactor};
pub use socket::{Socket, no_delay};
pub use source::{ConnectError, bind_source, check_source};
pub use stale::remove_stale;
pub use stream::{ClientTlsHandshake, Stream, TlsError};
pub use tcp_options::TcpOptions;
pub use timer::{Elapsed, deadline, sleep};
pub use turn::{FLOW_BYTES, TurnBudget, TurnQueue, TurnTicket};

/// What is read and written at a time of a bulk stream that the kernel cannot move, as it goes
/// through TLS or WebSocket: four full records of TLS (RFC 8446, section 5.1), since each write that
/// wakes the receiver costs as much as several; and little enough for a slow receiver to leave here.
pub const BULK_BYTES: usize = 4 << 14;
