//! A rule of a listener.

use std::sync::Arc;

use super::{conditions::Conditions, percent::Percent, refusal::Refusal};

/// Which clients it applies to, and what becomes of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    pub name: Arc<str>,
    pub when: Conditions,
    /// The configured share of these clients.
    pub percent: Percent,
    pub action: Action,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// The index of a pool in the configuration.
    Pool(usize),
    Refuse(Refusal),
    /// The server that the clients are sent to: HOST or HOST:PORT.
    Redirect(Arc<str>),
}
