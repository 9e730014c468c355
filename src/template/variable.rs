//! The variables of templates.

use std::{borrow::Cow, fmt, str::FromStr};

use thiserror::Error;

use super::client_fields::ClientFields;

/// The name of a fact about a client, as templates write it: `tls_cn`, `jwt.sub`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Variable {
    ClientId,
    Username,
    SourceIp,
    Listener,
    Sni,
    TlsCn,
    TlsSanDns,
    TlsSanUri,
    TlsSanEmail,
    TlsSerial,
    TlsFingerprint,
    ProtocolVersion,
    /// A claim of the client's token.
    Jwt(Box<str>),
}

/// Why a text does not name a variable.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("unknown variable `{0}`: allowed are {ALLOWED}")]
pub struct VariableError(pub(crate) String);

const ALLOWED: &str = "client_id, username, source_ip, listener, sni, tls_cn, tls_san_dns, tls_san_uri, \
                       tls_san_email, tls_serial, tls_fingerprint, protocol_version and jwt.CLAIM";

/// The prefix of claims.
const JWT: &str = "jwt.";

/// The variables other than claims, with their names.
const NAMES: [(Variable, &str); 12] = [
    (Variable::ClientId, "client_id"),
    (Variable::Username, "username"),
    (Variable::SourceIp, "source_ip"),
    (Variable::Listener, "listener"),
    (Variable::Sni, "sni"),
    (Variable::TlsCn, "tls_cn"),
    (Variable::TlsSanDns, "tls_san_dns"),
    (Variable::TlsSanUri, "tls_san_uri"),
    (Variable::TlsSanEmail, "tls_san_email"),
    (Variable::TlsSerial, "tls_serial"),
    (Variable::TlsFingerprint, "tls_fingerprint"),
    (Variable::ProtocolVersion, "protocol_version"),
];

impl Variable {
    /// The client's value; `None` if it is absent or empty. Of several names in a certificate, the
    /// first.
    pub fn value<'a>(&self, client: &ClientFields<'a>) -> Option<Cow<'a, str>> {
        let value = match self {
            // An IPv4 client keeps its text on an IPv6 socket, where it appears as ::ffff:a.b.c.d.
            Self::SourceIp => client.source_ip.map(|ip| ip.to_canonical().to_string().into()),
            Self::ProtocolVersion => client.protocol_version.map(|level| level.to_string().into()),
            _ => self.borrow(client).map(Cow::Borrowed),
        };
        value.filter(|value: &Cow<'_, str>| !value.is_empty())
    }

    /// Whether the client has a value.
    pub(crate) fn is_present(&self, client: &ClientFields<'_>) -> bool {
        match self {
            Self::SourceIp => client.source_ip.is_some(),
            Self::ProtocolVersion => client.protocol_version.is_some(),
            _ => self.borrow(client).is_some_and(|value| !value.is_empty()),
        }
    }

    /// All of the client's values: a certificate may have several names of a kind.
    pub(super) fn values<'a>(&self, client: &ClientFields<'a>) -> Vec<Cow<'a, str>> {
        match self.names(client) {
            Some(names) => names.iter().map(|name| Cow::Borrowed(&**name)).collect(),
            None => self.value(client).into_iter().collect(),
        }
    }

    /// The value, if the client has it as text.
    pub(crate) fn borrow<'a>(&self, client: &ClientFields<'a>) -> Option<&'a str> {
        match self {
            Self::ClientId => Some(client.client_id),
            Self::Username => client.username,
            Self::Listener => client.listener,
            Self::Sni => client.sni,
            Self::TlsCn => client.tls_cn,
            Self::TlsSerial => client.tls_serial,
            Self::TlsFingerprint => client.tls_fingerprint,
            Self::Jwt(name) => {
                client.claims.iter().find(|claim| claim.name == *name).map(|claim| &*claim.value)
            }
            Self::SourceIp | Self::ProtocolVersion => None,
            Self::TlsSanDns | Self::TlsSanUri | Self::TlsSanEmail => {
                self.names(client)?.first().map(|name| &**name)
            }
        }
    }

    /// The values of a variable that may have several.
    pub(crate) fn names<'a>(&self, client: &ClientFields<'a>) -> Option<&'a [Box<str>]> {
        match self {
            Self::TlsSanDns => Some(client.tls_san_dns),
            Self::TlsSanUri => Some(client.tls_san_uri),
            Self::TlsSanEmail => Some(client.tls_san_email),
            _ => None,
        }
    }

    /// Whether the value comes from the client's certificate.
    pub fn is_of_certificate(&self) -> bool {
        match self {
            Self::TlsCn
            | Self::TlsSanDns
            | Self::TlsSanUri
            | Self::TlsSanEmail
            | Self::TlsSerial
            | Self::TlsFingerprint => true,
            Self::ClientId
            | Self::Username
            | Self::SourceIp
            | Self::Listener
            | Self::Sni
            | Self::ProtocolVersion
            | Self::Jwt(_) => false,
        }
    }
}

impl FromStr for Variable {
    type Err = VariableError;

    fn from_str(name: &str) -> Result<Self, VariableError> {
        if let Some(claim) = name.strip_prefix(JWT).filter(|claim| !claim.is_empty()) {
            return Ok(Self::Jwt(claim.into()));
        }
        let known = NAMES.into_iter().find(|(_, known)| *known == name);
        known.map(|(variable, _)| variable).ok_or_else(|| VariableError(name.to_owned()))
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Jwt(claim) = self {
            return write!(f, "{JWT}{claim}");
        }
        let name = NAMES.iter().find(|(known, _)| known == self).map_or("", |(_, name)| name);
        f.write_str(name)
    }
}
