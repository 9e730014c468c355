//! Which sessions a client has, over all workers.

mod directory;
mod held;
mod places;
mod tenant;

pub use directory::ClientDirectory;
pub(super) use directory::{ClientHash, Successor};
pub(super) use held::{Held, Newer};
pub(super) use places::{Place, Question, StandIn};
pub(super) use tenant::{TenantHash, tenant};
