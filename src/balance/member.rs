//! A broker as an algorithm sees it.

use std::num::NonZeroU32;

/// A broker of one tier, with its index among the pool's brokers.
#[derive(Clone, Copy)]
pub(super) struct TierMember<'a> {
    pub(super) index: usize,
    pub(super) name: &'a str,
    pub(super) weight: NonZeroU32,
}
