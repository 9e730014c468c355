//! Who a client is: tokens, requirements, assigned IDs, and changes to the CONNECT.

mod assigned;
#[path = "../../../src/jwt/tests/issuer.rs"]
mod issuer;
mod lenient;
mod packets;
mod required;
mod rewritten;
mod tokens;
