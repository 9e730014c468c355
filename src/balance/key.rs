//! What of a client is hashed.

use std::{io::Write as _, net::IpAddr, str::FromStr};

use thiserror::Error;

/// What becomes of a client that gave no client ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmptyClientId {
    LeastConnections,
    /// By the username; without one, by least connections.
    Username,
    /// By the source address; without one (a unix socket), by least connections.
    SourceIp,
    Reject,
}

/// What a key can be made of.
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
    /// The host that the client asked for (RFC 6066, section 3).
    pub sni: Option<&'a str>,
}

/// How a client finds its broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice<'a> {
    /// By [`Router::pick`](super::Router::pick).
    Key(&'a [u8]),
    /// Likewise, by its client ID, as it has none of the fields that the pool's key is made of.
    FallbackKey(&'a [u8]),
    /// By [`Router::pick_least_connections`](super::Router::pick_least_connections).
    LeastConnections,
    /// Not at all.
    Reject,
}

/// A parsed `balance.key`: `client_id`, `username`, `source_ip`, `tls_cn`, `sni`, or text with these
/// as variables, such as `${username}/${client_id}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyTemplate {
    /// A bare field is one part; there is always at least one field.
    parts: Vec<Part>,
}

/// Which fields of a key tell clients with one client ID apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantFields {
    pub username: bool,
    pub tls_cn: bool,
    pub sni: bool,
}

/// Why a `balance.key` was refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum KeyError {
    #[error("unknown key field `{0}`: allowed are {ALLOWED}")]
    UnknownField(String),
    #[error("`${{` without its `}}`: a variable is written `${{client_id}}`")]
    UnclosedVariable,
}

const ALLOWED: &str = "client_id, username, source_ip, tls_cn, sni, or a template such as \
                       \"${username}/${client_id}\"";

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Field(Field),
    Text(Box<str>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    ClientId,
    Username,
    SourceIp,
    TlsCn,
    Sni,
}

impl KeyTemplate {
    /// The client's key, or `None` where it has no identity by this template: it gave no client ID
    /// and the template has one in it, or all fields of the template are empty. Any other
    /// field that is missing beside a client ID is left blank.
    ///
    /// A bare field is borrowed, unless it is the address; all else is written to `scratch`, whose former
    /// content is dropped.
    pub fn render<'a>(
        &self,
        client: &ClientFields<'a>,
        scratch: &'a mut Vec<u8>,
    ) -> Option<&'a [u8]> {
        self.identifies(client).then(|| render(&self.parts, client, scratch))
    }

    /// The fields of the key, where all of them may be absent although there is a client ID.
    pub fn may_be_absent(&self) -> Option<TenantFields> {
        let always = self.uses(Field::ClientId) || self.uses(Field::SourceIp);
        (!always).then(|| self.tenant_fields())
    }

    /// Whether the client ID is part of the key.
    pub fn uses_client_id(&self) -> bool {
        self.uses(Field::ClientId)
    }

    /// By which of its fields two clients with one client ID are different ones, such as devices of
    /// two tenants, which have one ID and are on different brokers for good.
    ///
    /// The client ID itself always counts, in the key or not: it is what a broker knows a session
    /// by. The source address never does, as it says where a device is and not which one: one that
    /// has moved to another network is still the same to its brokers.
    pub fn tenant_fields(&self) -> TenantFields {
        TenantFields {
            username: self.uses(Field::Username),
            tls_cn: self.uses(Field::TlsCn),
            sni: self.uses(Field::Sni),
        }
    }

    fn uses(&self, wanted: Field) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Field(field) if *field == wanted))
    }

    /// How `client` finds its broker: by its key; by its client ID where all fields of the key are
    /// absent; by `policy` where it has no client ID.
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
            EmptyClientId::Username => Field::Username,
            EmptyClientId::SourceIp => Field::SourceIp,
            EmptyClientId::Reject => return Choice::Reject,
        };
        if field.is_empty(client) {
            return Choice::LeastConnections;
        }
        Choice::Key(render(&[Part::Field(field)], client, scratch))
    }

    fn identifies(&self, client: &ClientFields<'_>) -> bool {
        let mut fields = self.parts.iter().filter_map(|part| match part {
            Part::Field(field) => Some(*field),
            Part::Text(_) => None,
        });
        // Without the client ID, "user/" would put all such clients of a user on one broker, under
        // a key that is none of them.
        let lacks_client_id =
            client.client_id.is_empty() && fields.clone().any(|field| field == Field::ClientId);
        !lacks_client_id && fields.any(|field| !field.is_empty(client))
    }
}

impl FromStr for KeyTemplate {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        if !text.contains("${") {
            return Ok(Self { parts: vec![Part::Field(text.parse()?)] });
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, tail) = after.split_once('}').ok_or(KeyError::UnclosedVariable)?;
            if !before.is_empty() {
                parts.push(Part::Text(before.into()));
            }
            parts.push(Part::Field(name.parse()?));
            rest = tail;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        Ok(Self { parts })
    }
}

impl FromStr for Field {
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

impl Field {
    /// The field's text where the client carries it as such.
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

    fn is_empty(self, client: &ClientFields<'_>) -> bool {
        match self {
            Self::SourceIp => client.source_ip.is_none(),
            _ => self.borrow(client).is_none_or(<[u8]>::is_empty),
        }
    }
}

fn render<'a>(parts: &[Part], client: &ClientFields<'a>, scratch: &'a mut Vec<u8>) -> &'a [u8] {
    if let [Part::Field(field)] = parts
        && let Some(text) = field.borrow(client)
    {
        return text;
    }
    scratch.clear();
    for part in parts {
        match part {
            Part::Text(text) => scratch.extend_from_slice(text.as_bytes()),
            Part::Field(field) => field.write(client, scratch),
        }
    }
    scratch
}

impl Field {
    fn write(self, client: &ClientFields<'_>, out: &mut Vec<u8>) {
        if let Some(text) = self.borrow(client) {
            out.extend_from_slice(text);
        } else if let Some(ip) = client.source_ip {
            // An IPv4 client keeps its key on an IPv6 socket, where it comes as ::ffff:a.b.c.d.
            let canonical = ip.to_canonical();
            write!(out, "{canonical}").expect("a Vec takes all that is written");
        }
    }
}
