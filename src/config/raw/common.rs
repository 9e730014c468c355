//! What several sections have.

use std::num::NonZeroU32;

use serde::de::{
    DeserializeOwned,
    value::{Error, MapDeserializer},
};

use crate::config::{
    at::At,
    values::{HOUR, Number, Time, YEAR},
};

/// A list, whose entries have places of their own.
pub(in crate::config) type List<T> = Vec<At<T>>;

pub(in crate::config) type Positive = Number<NonZeroU32, 1, { u32::MAX as u64 }>;
pub(in crate::config) type Percent = Number<u32, 0, 100>;
pub(in crate::config) type Port = Number<u16, 1, 65_535>;
/// 0s is allowed.
pub(in crate::config) type AnyTime = Time<0, YEAR>;
/// More than ten a second would be an attack on what is asked.
pub(in crate::config) type Interval = Time<100, { 24 * HOUR }>;
/// The section of a file with all of its keys absent.
pub(super) fn empty<T: DeserializeOwned>() -> At<T> {
    let nothing = MapDeserializer::<_, Error>::new(std::iter::empty::<((), ())>());
    T::deserialize(nothing).map_or(At::MISSING, At::default_of)
}
