//! The MQTT packets that open and end a connection, decoded without sockets, clocks or copies.
//!
//! - [`connect`]: the client's CONNECT, in MQTT 3.1, 3.1.1 and 5.0
//! - [`rewrite`]: the same CONNECT with some of its fields changed
//! - [`connack`]: the broker's answer
//! - `disconnect`: how a session ends
//! - [`reason`]: the codes of these two: their names, and those that this proxy sends itself
//! - [`malformed`], [`InvalidConnect`]: what can be wrong with a packet, and the answer to its
//!   sender
//! - [`Boundary`]: where in a stream one packet ends and the next begins
//! - [`KeepAliveChange`]: the packet by which a client of EMQX changes its keep alive
//! - `packet`, `reader`, `writer`, `properties`: fixed header, fields, and 5.0 properties
//!
//! Section numbers in comments are those of the OASIS standards ("3.1.1 §3.1.2.3", "5.0 §2.2.2.2");
//! "3.1" is IBM's MQTT V3.1 Protocol Specification, on which the OASIS standards are based.

mod boundary;
pub mod connack;
pub mod connect;
mod connect_flags;
pub(crate) mod disconnect;
mod invalid_connect;
mod keep_alive_change;
pub(crate) mod malformed;
mod packet;
mod properties;
mod reader;
pub mod reason;
pub mod rewrite;
mod strictness;
mod version;
mod writer;

pub(crate) use boundary::Boundary;
pub use connack::Connack;
pub use connect::Connect;
pub use connect_flags::Qos;
pub use invalid_connect::InvalidConnect;
pub(crate) use keep_alive_change::KeepAliveChange;
pub use malformed::Malformed;
pub use packet::{Progress, first_packet_is_auth, packet_len};
pub use reader::Span;
pub use reason::RejectReason;
pub(crate) use reason::{ConnackPacket, DisconnectReason};
pub use rewrite::{ConnectEdits, PasswordEdit, RewriteError};
pub use strictness::Strictness;
pub use version::Version;
