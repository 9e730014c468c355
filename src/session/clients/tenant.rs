//! Which of the clients with one ID a client is.

use xxhash_rust::xxh3::xxh3_64;

use crate::balance::{ClientFields, TenantFields};

/// What tells clients with one ID apart, whichever fields the pool's key has: 16 bits of the username,
/// 8 each of the certificate's name and the host asked for. Those of two clients may be equal, so
/// it can only say that they are different.
#[derive(Clone, Copy, Debug)]
pub(in crate::session) struct TenantHash(u32);

impl TenantHash {
    pub(in crate::session) fn new(client: &ClientFields<'_>) -> Self {
        let [username, tls_cn, sni] = [client.username, client.tls_cn, client.sni]
            .map(|field| field.map_or(0, |text| xxh3_64(text.as_bytes()) as u32));
        Self(username << 16 | (tls_cn & 0xFF) << 8 | sni & 0xFF)
    }

    /// Whether the two may be the same, by these fields.
    pub(in crate::session) fn may_be(self, other: Self, fields: TenantFields) -> bool {
        let mut mask = 0;
        for (is_in, bits) in
            [(fields.username, 0xFFFF_0000), (fields.tls_cn, 0xFF00), (fields.sni, 0xFF)]
        {
            mask |= if is_in { bits } else { 0 };
        }
        (self.0 ^ other.0) & mask == 0
    }
}

/// The same in full, for a comparison that is to be certain.
pub(in crate::session) fn tenant(client: &ClientFields<'_>, fields: TenantFields) -> Box<[u8]> {
    let mut tenant = Vec::new();
    for (is_in, field) in [
        (fields.username, client.username),
        (fields.tls_cn, client.tls_cn),
        (fields.sni, client.sni),
    ] {
        if is_in {
            let field = field.unwrap_or_default();
            tenant.extend((field.len() as u64).to_be_bytes());
            tenant.extend(field.as_bytes());
        }
    }
    tenant.into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: TenantFields = TenantFields { username: false, tls_cn: false, sni: false };
    const USERNAME: TenantFields = TenantFields { username: true, ..NOTHING };
    const ALL: TenantFields = TenantFields { username: true, tls_cn: true, sni: true };

    fn client<'a>(username: &'a str, tls_cn: &'a str, sni: &'a str) -> ClientFields<'a> {
        let field = |text: &'a str| Some(text).filter(|text| !text.is_empty());
        ClientFields {
            client_id: "id",
            username: field(username),
            source_ip: None,
            tls_cn: field(tls_cn),
            sni: field(sni),
        }
    }

    #[test]
    fn clients_are_told_apart_by_the_fields_of_the_key_alone() {
        let one = client("anna", "cn", "host");
        for (other, fields, same) in [
            (client("bert", "nc", "tsoh"), NOTHING, true),
            (client("anna", "nc", "tsoh"), USERNAME, true),
            (client("bert", "cn", "host"), USERNAME, false),
            (client("", "cn", "host"), USERNAME, false),
            (client("anna", "nc", "host"), ALL, false),
            (client("anna", "cn", "tsoh"), ALL, false),
            (client("anna", "cn", "host"), ALL, true),
        ] {
            let hashes = [TenantHash::new(&one), TenantHash::new(&other)];
            assert_eq!(hashes[0].may_be(hashes[1], fields), same, "{other:?}");
            assert_eq!(tenant(&one, fields) == tenant(&other, fields), same, "{other:?}");
        }
    }

    #[test]
    fn where_one_field_ends_and_the_next_begins_counts() {
        assert_ne!(tenant(&client("ab", "c", ""), ALL), tenant(&client("a", "bc", ""), ALL));
        assert_ne!(tenant(&client("a", "", ""), ALL), tenant(&client("", "a", ""), ALL));
        assert_eq!(tenant(&client("a", "b", "c"), NOTHING), Box::default());
    }
}
