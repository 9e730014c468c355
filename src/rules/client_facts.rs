//! What the conditions of rules are about.

use crate::template::ClientFields;

/// What is known about a client when its rule is chosen. A fact that is absent meets no condition.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientFacts<'a> {
    /// The client ID and the username are those that the broker will see.
    pub fields: ClientFields<'a>,
    /// The path of its WebSocket request.
    pub path: Option<&'a str>,
    /// Clean Start (5.0 §3.1.2.4), or Clean Session (3.1.1 §3.1.2.4).
    pub clean_start: Option<bool>,
    /// Whether its CONNECT has a password.
    pub has_password: Option<bool>,
    /// Whether its CONNECT has a will message.
    pub will: Option<bool>,
}
