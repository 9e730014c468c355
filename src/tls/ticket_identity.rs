//! The settings of a listener that a session ticket is bound to.

use aws_lc_rs::digest::{Context, SHA256};

use super::{clients::Clients, sni::Presented, ticket_keys::Identity};

/// The hash of everything that a client and a listener know of each other's identity, so that a
/// ticket of a listener that admits other clients, or is another server, is of no use here. It does
/// not depend on the order within files, and a renewed certificate of the same names does not
/// change it.
pub(super) fn identity(certificates: &[Presented], clients: &Clients) -> Identity {
    let mut hash = SetHash(Context::new(&SHA256));
    let names = certificates.iter().flat_map(Presented::names);
    hash.add("names", names.map(|name| name.as_bytes().to_vec()).collect());
    if let Clients::Of { authorities, revoked, required } = clients {
        let anchors = authorities.roots.iter().map(|anchor| {
            let constraints = anchor.name_constraints.iter().map(|der| &**der);
            let parts = [&*anchor.subject, &anchor.subject_public_key_info];
            parts.into_iter().chain(constraints).flatten().copied().collect()
        });
        hash.add("client_auth", vec![vec![u8::from(*required)]]);
        hash.add("client_ca", anchors.collect());
        hash.add("client_crl", revoked.iter().map(|list| list.to_vec()).collect());
    }
    hash.finish()
}

/// Hashes sets, each under a name, so that different ones never become the same bytes.
struct SetHash(Context);

impl SetHash {
    fn add(&mut self, name: &str, mut entries: Vec<Vec<u8>>) {
        entries.sort_unstable();
        entries.dedup();
        self.add_bytes(name.as_bytes());
        self.0.update(&(entries.len() as u64).to_be_bytes());
        for entry in &entries {
            self.add_bytes(entry);
        }
    }

    fn add_bytes(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    fn finish(self) -> Identity {
        let mut identity = Identity::default();
        // Both have the 32 bytes of SHA-256.
        identity.copy_from_slice(self.0.finish().as_ref());
        identity
    }
}
