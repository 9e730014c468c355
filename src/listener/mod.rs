//! Listening sockets and the loops that accept from them.

mod accept;
mod bind;
mod inherited;

pub use accept::{Door, accept, close};
pub use bind::{BindError, Listening, bind};
pub use inherited::Inherited;
