//! The key that is hashed for a client, made of the fields that its configuration names.

use std::{io::Write as _, net::IpAddr, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How a client without a client ID is routed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EmptyClientId {
    /// The less loaded of two brokers drawn at random.
    #[default]
    LeastConnections,
    /// By the username; without one, by least connections.
    Username,
    /// By the source address; without one (a unix socket), by least connections.
    SourceIp,
    Reject,
}

/// The fields of a client that a key can be made of.
#[derive(Clone, Copy, Debug)]
pub struct ClientFields<'a> {
    /// The CONNECT's client identifier (MQTT 3.1.3.1); may be empty.
    pub client_id: &'a str,
    /// The CONNECT's username (MQTT 3.1.3.5).
    pub username: Option<&'a str>,
    /// `None` on a unix socket.
    pub source_ip: Option<IpAddr>,
    /// The common name of the client's certificate (RFC 5280, section 4.1.2.6).
    pub tls_cn: Option<&'a str>,
    /// The server name that the client asked for (RFC 6066, section 3).
    pub sni: Option<&'a str>,
}

/// How a client is routed to a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice<'a> {
    /// By [`Router::pick`](super::Router::pick).
    Key(&'a [u8]),
    /// Likewise, by its client ID, because all fields of the pool's key are absent.
    FallbackKey(&'a [u8]),
    /// By [`Router::pick_least_connections`](super::Router::pick_least_connections).
    LeastConnections,
    /// Refused.
    Reject,
}

/// A parsed `balance.key`: one of the fields `client_id`, `username`, `source_ip`, `tls_cn` and
/// `sni`, or text with these as variables, such as `${username}/${client_id}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyTemplate {
    /// At least one of them is a field; a bare field is the only part.
    parts: Vec<KeyPart>,
}

/// The fields of a key that distinguish clients with the same client ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantFields {
    pub username: bool,
    pub tls_cn: bool,
    pub sni: bool,
}

/// Why a `balance.key` is invalid.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum KeyError {
    #[error("unknown key field `{0}`: allowed are {ALLOWED}")]
    UnknownField(String),
    #[error("`${{` without `}}`: write a variable as `${{client_id}}`")]
    UnclosedVariable,
}

const ALLOWED: &str = "client_id, username, source_ip, tls_cn, sni, or a template such as \
                       \"${username}/${client_id}\"";

#[derive(Clone, Debug, PartialEq, Eq)]
enum KeyPart {
    Field(KeyField),
    Text(Box<str>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyField {
    ClientId,
    Username,
    SourceIp,
    TlsCn,
    Sni,
}

impl KeyTemplate {
    /// The client's key, or `None` if the template does not identify the client: the client ID is
    /// empty and part of the template, or all fields of the template are empty. If only some fields
    /// are empty, they are left blank.
    ///
    /// A bare field is borrowed, unless it is the address; anything else is rendered into
    /// `scratch`, which is cleared first.
    pub fn render<'a>(
        &self,
        client: &ClientFields<'a>,
        scratch: &'a mut Vec<u8>,
    ) -> Option<&'a [u8]> {
        self.identifies(client).then(|| render(&self.parts, client, scratch))
    }

    /// The fields of the key, if all of them may be absent while the client ID is present.
    pub fn may_be_absent(&self) -> Option<TenantFields> {
        let always = self.uses(KeyField::ClientId) || self.uses(KeyField::SourceIp);
        (!always).then(|| self.tenant_fields())
    }

    /// Whether the client ID is part of the key.
    pub fn uses_client_id(&self) -> bool {
        self.uses(KeyField::ClientId)
    }

    /// The fields that distinguish clients with the same client ID, such as devices of two tenants,
    /// which use one ID on different brokers.
    ///
    /// The client ID always counts, in the key or not: brokers identify a session by it. The source
    /// address never counts: it tells where a device is, not which device it is. A device that has
    /// moved to another network is the same client to its brokers.
    pub fn tenant_fields(&self) -> TenantFields {
        TenantFields {
            username: self.uses(KeyField::Username),
            tls_cn: self.uses(KeyField::TlsCn),
            sni: self.uses(KeyField::Sni),
        }
    }

    fn uses(&self, wanted: KeyField) -> bool {
        self.parts.iter().any(|part| matches!(part, KeyPart::Field(field) if *field == wanted))
    }

    /// How to route `client`: by its key; by its client ID if all fields of the key are absent; by
    /// `policy` if it has no client ID.
    pub fn choose<'a>(
        &self,
        policy: EmptyClientId,
        client: &ClientFields<'a>,
        scratch: &'a mut Vec<u8>,
    ) -> Choice<'a> {
        if self.identifies(client) {
            return Choice::Key(render(&self.parts, client, scratch));
        }
        if !client.client_id.is_empty() {
            return Choice::FallbackKey(client.client_id.as_bytes());
        }
        let field = match policy {
            EmptyClientId::LeastConnections => return Choice::LeastConnections,
            EmptyClientId::Username => KeyField::Username,
            EmptyClientId::SourceIp => KeyField::SourceIp,
            EmptyClientId::Reject => return Choice::Reject,
        };
        if field.is_empty(client) {
            return Choice::LeastConnections;
        }
        Choice::Key(render(&[KeyPart::Field(field)], client, scratch))
    }

    fn identifies(&self, client: &ClientFields<'_>) -> bool {
        let mut fields = self.parts.iter().filter_map(|part| match part {
            KeyPart::Field(field) => Some(*field),
            KeyPart::Text(_) => None,
        });
        // Without the client ID, "user/" would send all such clients of a user to one broker, by a
        // key that identifies none of them.
        let lacks_client_id =
            client.client_id.is_empty() && fields.clone().any(|field| field == KeyField::ClientId);
        !lacks_client_id && fields.any(|field| !field.is_empty(client))
    }
}

/// The client ID.
impl Default for KeyTemplate {
    fn default() -> Self {
        Self { parts: vec![KeyPart::Field(KeyField::ClientId)] }
    }
}

impl FromStr for KeyTemplate {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        if !text.contains("${") {
            return Ok(Self { parts: vec![KeyPart::Field(text.parse()?)] });
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, tail) = after.split_once('}').ok_or(KeyError::UnclosedVariable)?;
            if !before.is_empty() {
                parts.push(KeyPart::Text(before.into()));
            }
            parts.push(KeyPart::Field(name.parse()?));
            rest = tail;
        }
        if !rest.is_empty() {
            parts.push(KeyPart::Text(rest.into()));
        }
        Ok(Self { parts })
    }
}

impl FromStr for KeyField {
    type Err = KeyError;

    fn from_str(name: &str) -> Result<Self, KeyError> {
        match name {
            "client_id" => Ok(Self::ClientId),
            "username" => Ok(Self::Username),
            "source_ip" => Ok(Self::SourceIp),
            "tls_cn" => Ok(Self::TlsCn),
            "sni" => Ok(Self::Sni),
            _ => Err(KeyError::UnknownField(name.to_owned())),
        }
    }
}

impl KeyField {
    /// The field's text, if the client has it as text.
    fn borrow<'a>(self, client: &ClientFields<'a>) -> Option<&'a [u8]> {
        match self {
            Self::ClientId => Some(client.client_id),
            Self::Username => Some(client.username.unwrap_or_default()),
            Self::TlsCn => Some(client.tls_cn.unwrap_or_default()),
            Self::Sni => Some(client.sni.unwrap_or_default()),
            Self::SourceIp => None,
        }
        .map(str::as_bytes)
    }

    fn write(self, client: &ClientFields<'_>, out: &mut Vec<u8>) {
        if let Some(text) = self.borrow(client) {
            out.extend_from_slice(text);
        } else if let Some(ip) = client.source_ip {
            // An IPv4 client keeps its key on an IPv6 socket, where it appears as ::ffff:a.b.c.d.
            let canonical = ip.to_canonical();
            write!(out, "{canonical}").expect("a Vec takes all that is written");
        }
    }

    fn is_empty(self, client: &ClientFields<'_>) -> bool {
        match self {
            Self::SourceIp => client.source_ip.is_none(),
            _ => self.borrow(client).is_none_or(<[u8]>::is_empty),
        }
    }
}

fn render<'a>(parts: &[KeyPart], client: &ClientFields<'a>, scratch: &'a mut Vec<u8>) -> &'a [u8] {
    if let [KeyPart::Field(field)] = parts
        && let Some(text) = field.borrow(client)
    {
        return text;
    }
    scratch.clear();
    for part in parts {
        match part {
            KeyPart::Text(text) => scratch.extend_from_slice(text.as_bytes()),
            KeyPart::Field(field) => field.write(client, scratch),
        }
    }
    scratch
}
