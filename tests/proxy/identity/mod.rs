//! Who a client is: assigned IDs, requirements, and changes to the CONNECT.

mod assigned;
mod packets;
mod required;
mod rewritten;
