//! TLVs of an accepted header that are kept, for the log and for brokers.

use serde::{Deserialize, Serialize};

use super::tlv::Tlvs;

/// The most TLVs that are kept of one header.
const MAX_KEPT_TLVS: usize = 16;

/// The longest value that is kept. A shortened one could be that of another client.
const MAX_KEPT_BYTES: usize = 256;

/// Some TLVs of a header, as they came in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptTlvs {
    /// One of each type.
    tlvs: Vec<(u8, Box<[u8]>)>,
    omitted: usize,
}

impl KeptTlvs {
    /// The first TLV of each of these types; `None` if the header has no such TLV. Those beyond the limits are counted.
    pub(super) fn of(tlvs: Tlvs<'_>, types: &[u8]) -> Option<Box<Self>> {
        let mut kept = Self::default();
        for tlv in tlvs.flatten().filter(|tlv| types.contains(&tlv.kind)) {
            let is_repeated = kept.tlvs.iter().any(|(kind, _)| *kind == tlv.kind);
            let has_room = kept.tlvs.len() < MAX_KEPT_TLVS && tlv.value.len() <= MAX_KEPT_BYTES;
            if has_room && !is_repeated {
                kept.tlvs.push((tlv.kind, tlv.value.into()));
            } else {
                kept.omitted += 1;
            }
        }
        (kept != Self::default()).then(|| Box::new(kept))
    }

    /// Type and value of each, in the order of the header.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u8, &[u8])> {
        self.tlvs.iter().map(|(kind, value)| (*kind, &**value))
    }

    /// TLVs of the wanted types that were not kept: repeated ones, values that are too long, and
    /// those beyond the number that is kept.
    pub(crate) fn omitted(&self) -> usize {
        self.omitted
    }
}
