//! Sets of networks, made for fast look-ups of addresses.

mod prefix_set;
mod ranges;
#[cfg(test)]
mod tests;

pub use prefix_set::PrefixSet;
