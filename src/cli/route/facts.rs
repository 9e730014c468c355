//! The facts about clients that `mqtt-lb route` is given.

use super::args::RouteArgs;
use crate::{
    rules::ClientFacts,
    template::{Claim, ClientFields, Variable},
};

/// What is the same for all clients of the command.
pub(super) struct GivenFacts<'a> {
    args: &'a RouteArgs,
    claims: Vec<Claim>,
    dns: Vec<Box<str>>,
    uri: Vec<Box<str>>,
    email: Vec<Box<str>>,
}

impl<'g> GivenFacts<'g> {
    pub(super) fn new(args: &'g RouteArgs) -> Self {
        let names = |wanted: &Variable| {
            let of_kind = args.variables.iter().filter(|(variable, _)| variable == wanted);
            of_kind.map(|(_, value)| value.as_str().into()).collect()
        };
        let claims = args.variables.iter().filter_map(|(variable, value)| match variable {
            Variable::Jwt(name) => Some(Claim { name: name.clone(), value: value.as_str().into() }),
            _ => None,
        });
        Self {
            args,
            claims: claims.collect(),
            dns: names(&Variable::TlsSanDns),
            uri: names(&Variable::TlsSanUri),
            email: names(&Variable::TlsSanEmail),
        }
    }

    pub(super) fn username(&self) -> Option<&'g str> {
        self.args.username.as_deref()
    }

    /// A client with this ID and username, of a listener if it is known.
    pub(super) fn fields<'a>(
        &'a self,
        client_id: &'a str,
        username: Option<&'a str>,
        listener: Option<&'a str>,
    ) -> ClientFields<'a> {
        let level = || self.value(&Variable::ProtocolVersion).and_then(|v| v.parse().ok());
        ClientFields {
            client_id,
            username,
            source_ip: Some(self.args.source),
            listener: listener.or_else(|| self.value(&Variable::Listener)),
            protocol_version: self.args.protocol_version.or_else(level),
            sni: self.args.sni.as_deref(),
            tls_cn: self.args.tls_cn.as_deref(),
            tls_serial: self.value(&Variable::TlsSerial),
            tls_fingerprint: self.value(&Variable::TlsFingerprint),
            tls_san_dns: &self.dns,
            tls_san_uri: &self.uri,
            tls_san_email: &self.email,
            tls_passthrough: false,
            claims: &self.claims,
        }
    }

    /// What the conditions of rules are about.
    pub(super) fn client<'a>(&'a self, fields: ClientFields<'a>) -> ClientFacts<'a> {
        ClientFacts {
            fields,
            path: self.args.path.as_deref(),
            clean_start: self.args.clean_start,
            has_password: self.args.has_password,
            will: self.args.will,
        }
    }

    fn value(&self, wanted: &Variable) -> Option<&str> {
        let found = self.args.variables.iter().find(|(variable, _)| variable == wanted);
        found.map(|(_, value)| value.as_str())
    }

    /// The first of these variables that has neither a value nor an option of its own.
    pub(super) fn missing<'v>(
        &self,
        mut variables: impl Iterator<Item = &'v Variable>,
        listener_is_known: bool,
    ) -> Option<&'v Variable> {
        variables.find(|variable| {
            let is_known = match variable {
                Variable::ClientId
                | Variable::Username
                | Variable::SourceIp
                | Variable::TlsCn
                | Variable::Sni => true,
                Variable::Listener => listener_is_known,
                Variable::ProtocolVersion => self.args.protocol_version.is_some(),
                _ => false,
            };
            !is_known && self.value(variable).is_none()
        })
    }
}
