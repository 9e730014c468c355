//! How many may connect, how fast, and who has to wait.

mod address;
mod admission;
mod connect_rate;
mod connections;
mod permit;

pub(crate) use address::Counted;
pub use admission::{Admission, AdmissionQueue};
pub use connections::Gate;
pub use permit::Pass;
pub(crate) use permit::{FarOver, Limit};
