//! YAML text as a tree in which every value knows its position.

mod merge;
mod node;
mod parse;
mod syntax;

pub(super) use node::{Node, Value};
pub(super) use parse::parse;
