//! The words of fields that have a few.

use std::time::Duration;

use super::{lines::template, minimal};
use crate::{
    access_log::entry::Entry,
    labels::{EndCause, RouteKind},
};

#[test]
fn the_words_of_routes_and_causes() {
    let routes: Vec<_> = RouteKind::ALL.iter().map(|route| route.as_str()).collect();
    assert_eq!(
        routes,
        ["hash", "fallback", "bounded", "referred", "empty_id", "fallback_key", "balanced"]
    );
    let causes: Vec<_> = EndCause::ALL.iter().map(|cause| cause.as_str()).collect();
    assert_eq!(
        causes,
        [
            "closed",
            "reset",
            "timeout",
            "idle",
            "malformed",
            "limit",
            "denied",
            "refused",
            "no_upstream",
            "drain",
            "down",
            "removed",
            "rebalance",
            "rule",
            "taken_over",
            "duplicate",
            "key_limit",
            "expired",
            "kicked",
            "banned",
            "error",
        ]
    );
    let entry = Entry {
        route: Some(RouteKind::Referred),
        queue_ms: Some(Duration::ZERO),
        end_cause: Some(EndCause::TakenOver),
        ..minimal()
    };
    assert_eq!(
        template("${route} ${queue_ms} ${end_cause}", &entry),
        "referred 0.000 taken_over\n"
    );
}
