//! Sessions that the proxy ends by itself, a few at a time and the oldest first, so that their
//! clients do not all come back at once.

mod drain;
mod lost;
mod oldest;

pub use drain::{Drain, drain};
pub(super) use lost::{Lost, LostViews, is_lost};
