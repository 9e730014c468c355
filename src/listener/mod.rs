//! Listening sockets and the loops that accept from them.

mod accept;
mod bind;

pub use accept::accept;
pub use bind::{BindError, Listening, bind};
