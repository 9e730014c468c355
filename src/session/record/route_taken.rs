//! The way that a session went.

use std::sync::Arc;

use super::micros::Micros;
use crate::{
    access_log::DialledAddress,
    labels::RouteKind,
    upstream::{self, DialTarget, HostAddress},
};

/// Where the session went.
pub(in crate::session) struct RouteTaken {
    pub(in crate::session) route: RouteKind,
    pub(in crate::session) endpoint: Arc<upstream::Endpoint>,
    /// The address that was dialled; `None` while none was reached.
    pub(in crate::session) place: Option<HostAddress>,
    pub(in crate::session) dial: Micros,
}

impl RouteTaken {
    /// Where the broker was reached, or else where it is tried first.
    pub(in crate::session) fn address(&self) -> Option<DialledAddress<'_>> {
        if let Some(place) = &self.place {
            return Some(DialledAddress::Ip(**place));
        }
        self.endpoint.target().map(|target| match target {
            DialTarget::Ip(places) => DialledAddress::Ip(**places.first()),
            DialTarget::Unix(path) => DialledAddress::Unix(path),
        })
    }
}
