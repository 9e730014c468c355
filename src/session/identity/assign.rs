//! IDs for clients without one.

use aws_lc_rs::rand;

use crate::{
    labels::{EndCause, EndPhase},
    proto::mqtt::{Connect, RejectReason, Version},
    session::{pending::PendingClient, reject::Rejection},
};

/// 131 bits: nobody guesses one, and no two are alike.
const ID_BYTES: usize = 22;

/// The characters that every server has to accept in an ID (3.1.1 and 5.0, section 3.1.3.1).
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// An ID for this client. Before 5.0, a client that wants to find its session again cannot be told
/// its ID, and is refused ([MQTT-3.1.3-8]).
pub(super) fn new_client_id(
    client: &PendingClient<'_>,
    connect: &Connect,
) -> Result<String, Rejection> {
    if connect.version != Version::V5 && !connect.clean_start {
        let refused =
            client.refuse(RejectReason::IdentifierRejected, EndPhase::Connect, EndCause::Refused);
        return Err(
            refused.with("empty client ID without clean session: before MQTT 5.0, a client cannot be told an assigned ID")
        );
    }
    random_id().ok_or_else(|| {
        let refused =
            client.refuse(RejectReason::ServerUnavailable, EndPhase::Connect, EndCause::Error);
        refused.with("cannot assign a client ID: the system has no random numbers")
    })
}

fn random_id() -> Option<String> {
    /// Bytes from here on would prefer some characters.
    const END: u8 = 248;
    let mut id = String::with_capacity(ID_BYTES);
    while id.len() < ID_BYTES {
        let mut random = [0; 2 * ID_BYTES];
        rand::fill(&mut random).ok()?;
        let fair = random.iter().filter(|byte| **byte < END);
        let chars = fair.map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]));
        id.extend(chars.take(ID_BYTES - id.len()));
    }
    Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_of_the_alphabet_and_differ() {
        let mut ids: Vec<_> = (0..1000).map(|_| random_id().unwrap()).collect();
        assert!(
            ids.iter().all(|id| id.len() == 22 && id.bytes().all(|b| b.is_ascii_alphanumeric()))
        );
        for wanted in ALPHABET {
            assert!(ids.iter().any(|id| id.as_bytes().contains(wanted)));
        }
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 1000);
    }
}
