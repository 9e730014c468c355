//! Texts made of facts about a client: `${username}/${client_id}`.
//!
//! - [`ClientFields`]: the facts
//! - [`Variable`]: the name of a fact
//! - [`GivenVariables`]: facts that an operator gives
//! - [`Template`]: text and variables
//! - [`Pattern`]: likewise, where `*` stands for any characters

mod client_fields;
mod given_variables;
mod pattern;
#[expect(clippy::module_inception, reason = "the room is named after its main type")]
mod template;
#[cfg(test)]
mod tests;
mod variable;

pub(crate) use client_fields::Claim;
pub use client_fields::ClientFields;
pub(crate) use given_variables::{GivenVariable, GivenVariables};
pub(crate) use pattern::Pattern;
pub(crate) use template::{Template, TemplateError};
pub(crate) use variable::Variable;
#[cfg(test)]
pub(crate) use variable::VariableError;
