//! The hand-over from a running process (the old one) to the next (the new one), over a pair of
//! unix stream sockets.
//!
//! ```text
//! old                                             new
//!     Hello { versions, program, pid }      ->
//!                                           <-    Hello { version }
//!     Listeners, AdminListener,             ->    takes the sockets, binds what is new,
//!     InheritedSockets, State                     starts its workers
//!                                           <-    Ready
//!     stops accepting, then Go              ->
//!                                           <-    Accepting, then it accepts
//!     parks sessions, then Sessions         ->    adopts them
//!                                           <-    Answers, then it starts those it has taken
//!     releases these, resumes those refused
//!     Totals and Remaining, once a second   ->
//!     Finished, once it has no session      ->
//! ```
//!
//! **Commit points.** Each thing passes to the new process by one message from it: the listening
//! sockets by `Accepting`, a session by its answer. The new process acts on it only after the
//! frame has been written whole; the old one reads until the end of the stream before it takes
//! back what has not been answered. What is in the buffer of a unix socket can still be read after
//! its writer has closed it or has died, so both always agree.
//!
//! **Until `Accepting`**, any failure on either side leaves the old process as if nothing had been
//! asked, and ends the new one. If the old one dies before it, the new one accepts as soon as it is
//! ready, provided that it has the state. **After it**, the old process keeps its listening sockets, unpolled,
//! until all sessions that can move have moved: if the new process dies before that, the old one
//! accepts again. Both have the same open sockets, so connections that wait in their queues are not
//! lost. If only the stream ends, both go on: sessions that have not moved stay.
//!
//! The drivers (in `control`) do the actions of [`Giver`] and [`Taker`] in order, and report each
//! message that was not sent. The old process's driver reads until [`GiverEvent::Closed`] even if
//! sending fails or the new process has exited, and never drops its [`Receiver`] before.
//!
//! A new process that does not close its end in time is killed if something is undecided
//! ([`Giver`]): otherwise the old process could neither take it back nor give it up.

mod connection;
mod frame;
mod giver;
mod message;
mod taker;

#[cfg(test)]
mod tests;

pub(crate) use connection::{Error, Receiver, Sender, connect, from_stdin, pair};
pub(crate) use giver::{Giver, GiverAction, GiverEvent, MAX_UNANSWERED};
pub(crate) use message::{
    HandedAdminListener, HandedInheritedSocket, HandedListener, HandedSession, ProcessState, ToNew,
    ToOld, decode, encode, encode_secret,
};
pub(crate) use taker::{Taker, TakerAction, TakerEvent};

/// The environment variable that tells a process to take over from the one that started it, whose
/// socket is its standard input.
pub(crate) const ENVIRONMENT: &str = "MQTT_LB_UPGRADE";
