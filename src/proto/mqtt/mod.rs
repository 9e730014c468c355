//! The MQTT packets that open a connection, decoded without sockets, clocks or copies.
//!
//! - [`connect`]: the client's CONNECT, in MQTT 3.1, 3.1.1 and 5.0
//! - [`connack`]: the broker's answer
//! - [`reason`]: the codes of that answer: their names, and those that this proxy sends itself
//! - [`malformed`], [`InvalidConnect`]: what can be wrong with a packet, and the answer to its
//!   sender
//! - [`Boundary`]: where in a stream one packet ends and the next begins
//! - [`KeepAliveChange`]: the packet by which a client of EMQX changes its keep alive
//! - `packet`, `reader`, `properties`: fixed header, fields, and 5.0 properties
//!
//! Section numbers in comments are those of the OASIS standards ("3.1.1 §3.1.2.3", "5.0 §2.2.2.2");
//! "3.1" is IBM's MQTT V3.1 Protocol Specification, on which the OASIS standards are based.

mod boundary;
pub mod connack;
pub mod connect;
mod invalid_connect;
mod keep_alive_change;
pub(crate) mod malformed;
mod packet;
mod properties;
mod reader;
pub mod reason;
mod version;

pub(crate) use boundary::{Boundary, PacketPart};
pub use connack::Connack;
pub use connect::{Connect, Qos};
pub use invalid_connect::InvalidConnect;
pub(crate) use keep_alive_change::KeepAliveChange;
pub use malformed::Malformed;
pub use packet::{Progress, first_packet_is_auth, packet_len};
pub use reader::Span;
pub use reason::RejectReason;
pub(crate) use reason::{ConnackPacket, DisconnectReason};
pub use version::Version;
