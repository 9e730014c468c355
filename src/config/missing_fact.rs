//! Facts that no client of a listener has.

use super::Listener;
use crate::{rules::TextField, template::Variable};

/// What clients of a listener may be without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum MissingFact {
    Token,
    Certificate,
    ServerName,
    Path,
}

impl MissingFact {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Token => "a token",
            Self::Certificate => "a certificate",
            Self::ServerName => "a server name",
            Self::Path => "a path",
        }
    }

    /// The key of a listener that would provide it.
    pub(super) fn source(self) -> &'static str {
        match self {
            Self::Token => "authenticate.jwt",
            Self::Certificate => "client_auth: required",
            Self::ServerName => "tls",
            Self::Path => "websocket",
        }
    }
}

impl Listener {
    /// As [`Self::lacks`], for a condition of a rule.
    pub(super) fn lacks_field(&self, field: &TextField) -> Option<MissingFact> {
        match field {
            TextField::Variable(variable) => self.lacks(variable),
            TextField::Path => self.websocket.is_none().then_some(MissingFact::Path),
        }
    }

    /// What no client of this listener has, so that the variable never has a value; `None` if it may
    /// have one.
    pub(super) fn lacks(&self, variable: &Variable) -> Option<MissingFact> {
        // A balancer in front may have the common name and the server name from its own TLS, and
        // say so in its PROXY headers.
        let proxied = self.proxy_protocol.is_some();
        let has_certificates = self.tls.as_ref().is_some_and(|tls| tls.asks_for_certificates);
        match variable {
            Variable::Sni => {
                let has_tls = self.tls.is_some() || self.tls_passthrough;
                (!has_tls && !proxied).then_some(MissingFact::ServerName)
            }
            Variable::TlsCn => (!has_certificates && !proxied).then_some(MissingFact::Certificate),
            Variable::Jwt(_) => self.identity.jwt.is_none().then_some(MissingFact::Token),
            _ if variable.is_of_certificate() => {
                (!has_certificates).then_some(MissingFact::Certificate)
            }
            _ => None,
        }
    }
}
