//! Facts about a client that an operator gives to ask where it would go.

use super::{
    client_fields::{Claim, ClientFields},
    variable::Variable,
};

/// A variable and its value, as an operator writes it: `jwt.tenant=acme`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GivenVariable {
    pub(crate) variable: Variable,
    pub(crate) value: Box<str>,
}

/// Values of variables that have no argument or parameter of their own. Of several values of one
/// variable the first applies, but a certificate may have several names of a kind.
#[derive(Debug, Default)]
pub(crate) struct GivenVariables {
    all: Vec<GivenVariable>,
    claims: Vec<Claim>,
    dns: Vec<Box<str>>,
    uri: Vec<Box<str>>,
    email: Vec<Box<str>>,
}

impl GivenVariable {
    /// Parses `NAME=VALUE`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or("allowed: NAME=VALUE")?;
        let variable = name.parse::<Variable>().map_err(|error| error.to_string())?;
        if matches!(variable, Variable::ClientId | Variable::Username | Variable::SourceIp) {
            return Err(format!("`{name}` has a parameter of its own"));
        }
        Ok(Self { variable, value: value.into() })
    }
}

impl GivenVariables {
    pub(crate) fn new(all: Vec<GivenVariable>) -> Self {
        let names = |wanted: &Variable| {
            let of_kind = all.iter().filter(|given| given.variable == *wanted);
            of_kind.map(|given| given.value.clone()).collect()
        };
        let claims = all.iter().filter_map(|given| match &given.variable {
            Variable::Jwt(name) => Some(Claim { name: name.clone(), value: given.value.clone() }),
            _ => None,
        });
        Self {
            claims: claims.collect(),
            dns: names(&Variable::TlsSanDns),
            uri: names(&Variable::TlsSanUri),
            email: names(&Variable::TlsSanEmail),
            all,
        }
    }

    pub(crate) fn value(&self, wanted: &Variable) -> Option<&str> {
        let found = self.all.iter().find(|given| given.variable == *wanted);
        found.map(|given| &*given.value)
    }

    /// The facts of `client`, and those given here that it lacks.
    pub(crate) fn complete<'a>(&'a self, client: ClientFields<'a>) -> ClientFields<'a> {
        let text = |known: Option<&'a str>, variable| known.or_else(|| self.value(&variable));
        let level = || self.value(&Variable::ProtocolVersion)?.parse().ok();
        ClientFields {
            listener: text(client.listener, Variable::Listener),
            protocol_version: client.protocol_version.or_else(level),
            sni: text(client.sni, Variable::Sni),
            tls_cn: text(client.tls_cn, Variable::TlsCn),
            tls_serial: text(client.tls_serial, Variable::TlsSerial),
            tls_fingerprint: text(client.tls_fingerprint, Variable::TlsFingerprint),
            tls_san_dns: &self.dns,
            tls_san_uri: &self.uri,
            tls_san_email: &self.email,
            claims: &self.claims,
            ..client
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(all: &[&str]) -> GivenVariables {
        GivenVariables::new(all.iter().map(|text| GivenVariable::parse(text).unwrap()).collect())
    }

    #[test]
    fn what_is_given_completes_a_client() {
        let given = given(&[
            "jwt.tenant=acme",
            "jwt.device.id=a=b",
            "tls_san_dns=one",
            "tls_san_dns=two",
            "tls_cn=cn",
            "tls_cn=second",
            "protocol_version=5",
        ]);
        let known = ClientFields { username: Some("anna"), ..ClientFields::default() };
        let client = given.complete(known);
        assert_eq!((client.username, client.tls_cn), (Some("anna"), Some("cn")));
        assert_eq!(client.protocol_version, Some(5));
        assert_eq!(client.tls_san_dns, ["one".into(), "two".into()]);
        let claims: Vec<_> = client.claims.iter().map(|c| (&*c.name, &*c.value)).collect();
        assert_eq!(claims, [("tenant", "acme"), ("device.id", "a=b")]);
    }

    #[test]
    fn what_is_not_a_variable() {
        for (text, says) in [
            ("tenant", "allowed: NAME=VALUE"),
            ("x=1", "unknown variable `x`"),
            ("username=anna", "`username` has a parameter of its own"),
        ] {
            let error = GivenVariable::parse(text).unwrap_err();
            assert!(error.starts_with(says), "{error}");
        }
    }
}
