//! A serde deserializer over the tree of a file that notes faults with their places and goes on.

mod item;
mod keys;
mod reader;

pub(super) use item::Item;
pub(super) use reader::Reader;
