//! Who a client is: tokens, requirements, assigned IDs, and changes to the CONNECT.

mod assigned;
mod certificates;
#[path = "../../../src/jwt/tests/issuer.rs"]
pub(crate) mod issuer;
mod lenient;
mod mistakes;
mod packets;
mod pieces;
mod reloads;
mod required;
mod rewritten;
mod tokens;
mod transports;
