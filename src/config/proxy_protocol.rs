//! PROXY headers: from which peers they come, and what brokers are sent.

use std::net::IpAddr;

use crate::{networks::PrefixSet, template::Template};

/// Types of TLVs that the proxy writes itself, so that a header never has two of one: ALPN,
/// AUTHORITY, CRC32C, UNIQUE_ID and SSL (proxy-protocol.txt, section 2.2).
pub(crate) const WRITTEN_TLV_TYPES: [u8; 5] = [0x01, 0x02, 0x03, 0x05, 0x20];

/// The peers whose connections begin with a PROXY header; it is refused from all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyProtocolIn {
    pub from: PrefixSet,
    /// Peers on a unix socket, which have no address, are trusted as well.
    pub unix: bool,
    /// Whether connections of these peers have to begin with a header.
    pub required: bool,
    /// The types of TLVs that are kept.
    pub tlvs: Vec<u8>,
}

impl ProxyProtocolIn {
    /// Whether a header from a peer is trusted; `None` is a peer on a unix socket.
    pub fn is_from(&self, peer: Option<IpAddr>) -> bool {
        peer.map_or(self.unix, |ip| self.from.contains(ip))
    }
}

/// The version of the PROXY header that brokers are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyProtocolOut {
    V1,
    V2 {
        /// In place of the common name of the client's certificate.
        cn: Option<Template>,
        tlvs: PassedTlvs,
    },
}

/// The TLVs of an accepted header that brokers are sent; never one of [`WRITTEN_TLV_TYPES`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PassedTlvs {
    /// All that the listener keeps.
    All,
    /// Those of these types.
    Listed(Vec<u8>),
}

impl PassedTlvs {
    pub(crate) fn contains(&self, kind: u8) -> bool {
        let is_selected = match self {
            Self::All => true,
            Self::Listed(types) => types.contains(&kind),
        };
        is_selected && !WRITTEN_TLV_TYPES.contains(&kind)
    }
}
