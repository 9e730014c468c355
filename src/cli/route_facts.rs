//! The facts about clients that `mqtt-lb route` is given.

use crate::template::{Claim, ClientFields, Variable};

/// The values of variables without an option of their own.
pub(super) struct GivenFacts {
    claims: Vec<Claim>,
    dns: Vec<Box<str>>,
    uri: Vec<Box<str>>,
    email: Vec<Box<str>>,
    values: Vec<(Variable, String)>,
}

/// Parses `NAME=VALUE`.
pub(super) fn variable(text: &str) -> Result<(Variable, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    let variable = name.parse::<Variable>().map_err(|error| error.to_string())?;
    Ok((variable, value.to_owned()))
}

impl GivenFacts {
    pub(super) fn new(values: &[(Variable, String)]) -> Self {
        let names = |wanted: &Variable| {
            let of_kind = values.iter().filter(|(variable, _)| variable == wanted);
            of_kind.map(|(_, value)| value.as_str().into()).collect()
        };
        let claims = values.iter().filter_map(|(variable, value)| match variable {
            Variable::Jwt(name) => Some(Claim { name: name.clone(), value: value.as_str().into() }),
            _ => None,
        });
        Self {
            claims: claims.collect(),
            dns: names(&Variable::TlsSanDns),
            uri: names(&Variable::TlsSanUri),
            email: names(&Variable::TlsSanEmail),
            values: values.to_vec(),
        }
    }

    /// A client with these facts, and with those of `client` that have options of their own.
    pub(super) fn fields<'a>(&'a self, client: ClientFields<'a>) -> ClientFields<'a> {
        ClientFields {
            listener: self.value(&Variable::Listener),
            protocol_version: self.value(&Variable::ProtocolVersion).and_then(|v| v.parse().ok()),
            tls_serial: self.value(&Variable::TlsSerial),
            tls_fingerprint: self.value(&Variable::TlsFingerprint),
            tls_san_dns: &self.dns,
            tls_san_uri: &self.uri,
            tls_san_email: &self.email,
            claims: &self.claims,
            ..client
        }
    }

    fn value(&self, wanted: &Variable) -> Option<&str> {
        let found = self.values.iter().find(|(variable, _)| variable == wanted);
        found.map(|(_, value)| value.as_str())
    }

    /// The first of these variables that has neither a value nor an option of its own.
    pub(super) fn missing<'v>(
        &self,
        mut variables: impl Iterator<Item = &'v Variable>,
    ) -> Option<&'v Variable> {
        variables.find(|variable| {
            let has_option = matches!(
                variable,
                Variable::ClientId
                    | Variable::Username
                    | Variable::SourceIp
                    | Variable::TlsCn
                    | Variable::Sni
            );
            !has_option && self.value(variable).is_none()
        })
    }
}
