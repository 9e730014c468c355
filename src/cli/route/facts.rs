//! The facts about clients that `mqtt-lb route` is given.

use std::net::{IpAddr, Ipv4Addr};

use crate::{
    cli::client_args::ClientArgs,
    rules::ClientFacts,
    template::{ClientFields, GivenVariables, Variable},
};

/// What is the same for all clients of the command.
pub(super) struct GivenFacts<'a> {
    args: &'a ClientArgs,
    variables: GivenVariables,
}

impl<'g> GivenFacts<'g> {
    pub(super) fn new(args: &'g ClientArgs) -> Self {
        let variables = args.variables.iter().map(|(_, given)| given.clone());
        Self { args, variables: GivenVariables::new(variables.collect()) }
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
        self.variables.complete(ClientFields {
            client_id,
            username,
            source_ip: self.args.source.or(Some(IpAddr::V4(Ipv4Addr::LOCALHOST))),
            listener,
            protocol_version: self.args.protocol_version,
            sni: self.args.sni.as_deref(),
            tls_cn: self.args.tls_cn.as_deref(),
            ..ClientFields::default()
        })
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
            !is_known && self.variables.value(variable).is_none()
        })
    }
}
