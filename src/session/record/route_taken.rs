//! The broker and address that a connection was routed to.

use std::sync::Arc;

use super::micros::Micros;
use crate::{
    access_log::DialledAddress,
    labels::RouteKind,
    upstream::{self, DialTarget, HostAddress},
};

/// The broker that a connection was routed to, and why.
pub(crate) struct RouteTaken {
    pub(crate) kind: RouteKind,
    pub(crate) endpoint: Arc<upstream::Endpoint>,
    /// The address at which the broker was reached; `None` if the dial failed.
    pub(crate) address: Option<HostAddress>,
    /// How long the dial took.
    pub(crate) dial: Micros,
}

impl RouteTaken {
    /// The address at which the broker was reached, otherwise the address that is tried first.
    pub(crate) fn address(&self) -> Option<DialledAddress<'_>> {
        if let Some(address) = &self.address {
            return Some(DialledAddress::Ip(**address));
        }
        self.endpoint.target().map(|target| match target {
            DialTarget::Ip(addresses) => DialledAddress::Ip(**addresses.first()),
            DialTarget::Unix(path) => DialledAddress::Unix(path),
        })
    }
}
