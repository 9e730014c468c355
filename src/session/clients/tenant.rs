//! Tells clients with the same client ID apart.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::{
    balance::TenantFields,
    template::{ClientFields, Variable},
};

/// A hash that tells clients with the same ID apart, for any combination of a pool's key fields: 16
/// bits of the username, and 8 bits each of the certificate's common name and the SNI. Different
/// hashes prove different clients; equal hashes prove nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TenantHash(u32);

impl TenantHash {
    pub(crate) fn new(client: &ClientFields<'_>) -> Self {
        let [username, tls_cn, sni] = [client.username, client.tls_cn, client.sni]
            .map(|field| field.map_or(0, |text| xxh3_64(text.as_bytes()) as u32));
        Self(username << 16 | (tls_cn & 0xFF) << 8 | sni & 0xFF)
    }

    /// Whether both may be the same client, by these fields.
    pub(crate) fn may_be(self, other: Self, fields: &TenantFields) -> bool {
        let bits = |variable: &Variable| match variable {
            Variable::Username => 0xFFFF_0000,
            Variable::TlsCn => 0xFF00,
            Variable::Sni => 0xFF,
            _ => 0,
        };
        let mask = fields.0.iter().map(bits).fold(0, |mask, bits| mask | bits);
        (self.0 ^ other.0) & mask == 0
    }
}

/// A hash of a client's full identity: its pool, its client ID and the fields of the pool's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IdentityHash(pub(super) u64);

impl IdentityHash {
    /// `pool` is the pool's [`id`](crate::upstream::Pool::id), `fields` are those of its key.
    pub(crate) fn new(pool: u64, client: &ClientFields<'_>, fields: &TenantFields) -> Self {
        let id = xxh3_64_with_seed(client.client_id.as_bytes(), pool);
        let values = fields.0.iter().map(|variable| variable.borrow(client).unwrap_or_default());
        Self(values.fold(id, |hash, value| xxh3_64_with_seed(value.as_bytes(), hash)))
    }
}

/// The fields of a pool's key in full, for an exact comparison.
pub(crate) fn tenant_key(client: &ClientFields<'_>, fields: &TenantFields) -> Box<[u8]> {
    let mut key = Vec::new();
    for variable in fields.0.iter() {
        let value = variable.borrow(client).unwrap_or_default();
        key.extend((value.len() as u64).to_be_bytes());
        key.extend(value.as_bytes());
    }
    key.into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: &[Variable] = &[];
    const USERNAME: &[Variable] = &[Variable::Username];
    const ALL: &[Variable] = &[Variable::Username, Variable::TlsCn, Variable::Sni];

    fn client<'a>(username: &'a str, tls_cn: &'a str, sni: &'a str) -> ClientFields<'a> {
        let field = |text: &'a str| Some(text).filter(|text| !text.is_empty());
        ClientFields {
            client_id: "id",
            username: field(username),
            tls_cn: field(tls_cn),
            sni: field(sni),
            ..ClientFields::default()
        }
    }

    #[test]
    fn only_the_fields_of_the_key_tell_clients_apart() {
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
            let fields = &TenantFields(fields.into());
            let hashes = [TenantHash::new(&one), TenantHash::new(&other)];
            assert_eq!(hashes[0].may_be(hashes[1], fields), same, "{other:?}");
            assert_eq!(tenant_key(&one, fields) == tenant_key(&other, fields), same, "{other:?}");
            let hashes = [&one, &other].map(|client| IdentityHash::new(7, client, fields));
            assert_eq!(hashes[0] == hashes[1], same, "{other:?}");
        }
    }

    #[test]
    fn field_boundaries_count() {
        let tenant_key = |client: &ClientFields<'_>, fields: &[Variable]| {
            tenant_key(client, &TenantFields(fields.into()))
        };
        assert_ne!(
            tenant_key(&client("ab", "c", ""), ALL),
            tenant_key(&client("a", "bc", ""), ALL)
        );
        assert_ne!(tenant_key(&client("a", "", ""), ALL), tenant_key(&client("", "a", ""), ALL));
        assert_eq!(tenant_key(&client("a", "b", "c"), NOTHING), Box::default());
    }
}
