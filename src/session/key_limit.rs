//! The end of a session whose TLS 1.2 keys have encrypted nearly as many records as they may.
//!
//! At the limit rustls closes a connection wherever it is in the stream. A session therefore ends
//! before: between two packets, and at a record number of its own, so that the sessions of a fleet
//! that connected at once do not end at once.

use xxhash_rust::xxh3::xxh3_64;

use super::{active::ActiveSession, context::WorkerContext, end::End};
use crate::{
    labels::{EndBy, EndCause},
    net::{KeyUse, Stream},
};

/// A session ends when this fraction of its limit is left, or up to [`SPREAD_DIVISOR`] later.
const REST_DIVISOR: u64 = 8;

/// The fraction of the limit over which the ends of sessions are spread: at a hundred records a
/// second and the limit of AES-GCM, nearly three hours.
const SPREAD_DIVISOR: u64 = 16;

/// Makes the relay end the session between two packets if one of its keys is nearly used up.
/// Called by each sweep. Returns whether the session ends.
pub(crate) fn end_if_near(session: &ActiveSession) -> bool {
    let is_ending = session.ends_after_packets();
    if !is_ending && connection(session).is_none() {
        return false;
    }
    let sweeps = &session.counters.last_packet_sweeps;
    sweeps.set(sweeps.get().saturating_add(1));
    if !is_ending {
        session.client.wake();
    }
    true
}

/// Completes the end with cause `key_limit` with the connection that it is about, and counts it.
pub(super) fn explain(context: &WorkerContext, session: &ActiveSession, end: End) -> End {
    let Some((side, key_use)) = connection(session).filter(|_| end.cause == EndCause::KeyLimit)
    else {
        return end;
    };
    context.metrics().count_key_limit(side);
    let KeyUse { sent, received, limit } = key_use;
    let (peer, remedy) = match side {
        EndBy::Upstream => ("broker", "enable TLS 1.3 at the broker"),
        _ => ("client", "let the client use TLS 1.3 or ChaCha20-Poly1305"),
    };
    let direction = if sent >= received { "to" } else { "by" };
    end.with(format!(
        "{} of the {limit} records that one AES-GCM key may encrypt in TLS 1.2 were sent {direction} \
         the {peer}; {remedy}",
        key_use.records(),
    ))
}

/// The connection with a key that is nearly used up.
fn connection(session: &ActiveSession) -> Option<(EndBy, KeyUse)> {
    let session_id = session.record.session_id;
    let near = |stream: &Stream| {
        stream.key_use().filter(|used| used.records() >= max_records(used.limit, session_id))
    };
    let of_client = near(&session.client).map(|used| (EndBy::Client, used));
    of_client.or_else(|| near(&session.upstream).map(|used| (EndBy::Upstream, used)))
}

/// How many records one key of a session encrypts before the session ends.
fn max_records(limit: u64, session_id: u64) -> u64 {
    let spread = (limit / SPREAD_DIVISOR).max(1);
    limit - limit / REST_DIVISOR + xxh3_64(&session_id.to_le_bytes()) % spread
}

#[cfg(test)]
mod tests {
    use rustls::{SupportedCipherSuite, crypto::aws_lc_rs::ALL_CIPHER_SUITES};

    use super::*;

    /// The limit of rustls for AES-GCM in TLS 1.2.
    const LIMIT: u64 = 1 << 24;

    /// Sessions end long before rustls stops, with a sixteenth of all records left.
    #[test]
    fn sessions_end_before_the_limit() {
        for suite in ALL_CIPHER_SUITES {
            let SupportedCipherSuite::Tls12(suite) = suite else { continue };
            let limit = suite.common.confidentiality_limit;
            assert!(limit == LIMIT || limit == u64::MAX, "{suite:?}");
        }
        let ends = (0..10_000).map(|session_id| max_records(LIMIT, session_id));
        assert!(ends.clone().min() >= Some(LIMIT / 8 * 7));
        assert!(ends.max() < Some(LIMIT / 16 * 15));
    }

    /// The sessions of a fleet, whose IDs follow each other, end evenly.
    #[test]
    fn the_ends_of_a_fleet_are_spread() {
        const SESSIONS: u64 = 16_000;
        let mut ends = [0; 16];
        for session_id in 0x1234_0000_0000_0000..0x1234_0000_0000_0000 + SESSIONS {
            let place = max_records(LIMIT, session_id) - LIMIT / 8 * 7;
            ends[(place * 16 / (LIMIT / 16)) as usize] += 1;
        }
        assert!(ends.iter().all(|share| (850..1150).contains(share)), "{ends:?}");
    }
}
