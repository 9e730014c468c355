//! The keys of a listener about where its clients may go.

use std::fmt;

use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
};

use super::{
    common::empty,
    entries::{Entries, OneOrMore},
};
use crate::{
    config::{
        at::At,
        values::{MqttVersion, Name, Network, PatternText, Percentage, ServerReference, Text},
    },
    rules::Refusal,
};

/// With exactly one of `pool`, `refuse` and `redirect`.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Rule {
    /// The name of the rule in the access log, in metrics and for `mqtt-lb ctl rule`; unique in its
    /// listener.
    pub(in crate::config) name: At<Name>,
    /// The clients that it applies to. Absent: all of them.
    #[serde(default = "empty::<When>")]
    pub(in crate::config) when: At<When>,
    /// The pool that these clients go to.
    pub(in crate::config) pool: Option<At<Text>>,
    /// Refuses these clients, each by the code of its version: `banned` (5, or 0x8A in MQTT 5.0),
    /// `not_authorized` (5, 0x87), `bad_credentials` (4, 0x86), `identifier_rejected` (2, 0x85),
    /// `server_unavailable` (3, 0x88), `server_busy` (3, 0x89) or `quota_exceeded` (3, 0x97).
    pub(in crate::config) refuse: Option<At<Refusal>>,
    /// Sends these clients to another server: HOST or HOST:PORT. Clients of MQTT 5.0 are told by
    /// 0x9C and the Server Reference, others by 3, server unavailable.
    pub(in crate::config) redirect: Option<At<ServerReference>>,
}

/// All keys that are given have to hold. Of several entries of one key, one has to match; `*` stands
/// for any characters. The client ID and the username are those that the broker will see.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct When {
    /// The client ID.
    pub(in crate::config) client_id: Option<At<Entries<PatternText>>>,
    /// The username.
    pub(in crate::config) username: Option<At<Entries<PatternText>>>,
    /// The host that the client asked for in TLS; upper and lower case are the same.
    pub(in crate::config) sni: Option<At<Entries<PatternText>>>,
    /// The common name of the client's certificate.
    pub(in crate::config) tls_cn: Option<At<Entries<PatternText>>>,
    /// A URI among the certificate's alternative names.
    pub(in crate::config) tls_san_uri: Option<At<Entries<PatternText>>>,
    /// A host among the certificate's alternative names.
    pub(in crate::config) tls_san_dns: Option<At<Entries<PatternText>>>,
    /// The path of a WebSocket request, without its query.
    pub(in crate::config) path: Option<At<Entries<PatternText>>>,
    /// The client's address: networks and addresses.
    pub(in crate::config) source: Option<At<Entries<Network>>>,
    /// The version of MQTT: 3.1, 3.1.1, 5.0.
    pub(in crate::config) protocol_version: Option<At<OneOrMore<MqttVersion>>>,
    /// Clean Start of MQTT 5.0, Clean Session before.
    pub(in crate::config) clean_start: Option<At<bool>>,
    /// Whether the CONNECT has a password.
    pub(in crate::config) has_password: Option<At<bool>>,
    /// Whether the CONNECT has a will message.
    pub(in crate::config) will: Option<At<bool>>,
    /// A share of the clients, 0 to 100 with up to two decimals, always the same clients: those
    /// whose key has a hash below it. A larger share has all clients of a smaller one. `mqtt-lb ctl
    /// rule NAME --percent N` changes it while the proxy runs.
    pub(in crate::config) percent: Option<At<Percentage>>,
    /// The claims.
    #[serde(rename = "jwt.", default)]
    #[schemars(skip)]
    pub(in crate::config) claims: At<Claims>,
}

/// The keys that begin with `jwt.`.
#[derive(Debug, Default)]
pub(in crate::config) struct Claims(pub(in crate::config) Vec<(String, At<Entries<PatternText>>)>);

impl Serialize for Claims {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, entries)| (key, entries)))
    }
}

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ClaimsVisitor)
    }
}

struct ClaimsVisitor;

impl<'de> Visitor<'de> for ClaimsVisitor {
    type Value = Claims;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("claims")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Claims, A::Error> {
        let mut claims = Vec::new();
        while let Some(claim) = entries.next_entry()? {
            claims.push(claim);
        }
        Ok(Claims(claims))
    }
}
