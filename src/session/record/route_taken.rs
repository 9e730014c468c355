//! The broker and address that a connection was routed to.

use std::sync::Arc;

use super::micros::Micros;
use crate::{
    access_log::Endpoint,
    labels::RouteKind,
    upstream::{self, HostAddress, Target},
};

/// The broker that a connection was routed to, and why.
pub(crate) struct RouteTaken {
    pub(crate) kind: RouteKind,
    pub(crate) endpoint: Arc<upstream::Endpoint>,
    /// The address that was reached; `None` if the dial failed.
    pub(crate) address: Option<HostAddress>,
    /// How long the dial took.
    pub(crate) dial: Micros,
}

impl RouteTaken {
    /// The address at which the broker was reached, or else the one that is tried first.
    pub(crate) fn address(&self) -> Option<Endpoint<'_>> {
        if let Some(address) = &self.address {
            return Some(Endpoint::Ip(**address));
        }
        self.endpoint.target().map(|target| match target {
            Target::Ip(addresses) => Endpoint::Ip(**addresses.first()),
            Target::Unix(path) => Endpoint::Unix(path),
        })
    }
}
