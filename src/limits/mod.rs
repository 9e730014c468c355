//! How many may connect, how fast, and who has to wait.

mod address;
mod admission;
mod connect_rate;
mod connections;
mod permit;

pub(crate) use address::CountedAddress;
pub use admission::{Admission, AdmissionQueue};
pub use connections::ConnectionLimiter;
pub use permit::ConnectionPermit;
pub(crate) use permit::{FarOverLimit, Limit};
