//! The key that is hashed for a client, made of the fields that its configuration names.

use std::{str::FromStr, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::template::{ClientFields, Template, TemplateError, Variable};

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
    /// By an ID that the proxy makes for it.
    Assign,
    Reject,
}

/// How a client is routed to a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice<'a> {
    /// By [`Router::pick`](super::Router::pick).
    Key(&'a [u8]),
    /// Likewise, because all fields of the pool's key are absent: by its client ID, or by its address
    /// if its TLS is passed through.
    FallbackKey(&'a [u8]),
    /// By [`Router::pick_least_connections`](super::Router::pick_least_connections).
    LeastConnections,
    /// By an ID that is yet to be made.
    Assign,
    /// Refused.
    Reject,
}

/// A parsed `balance.key`: the name of a variable, or text with variables, such as
/// `${username}/${client_id}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyTemplate {
    /// With at least one variable.
    template: Template,
    tenant: TenantFields,
}

/// The variables of a key that distinguish clients with the same client ID, such as devices of two
/// tenants, which use one ID on different brokers.
///
/// The client ID always counts, in the key or not: brokers identify a session by it. The source
/// address and the protocol version never count: they tell where a device is and what it speaks, not
/// which device it is. A device that has moved to another network is the same client to its brokers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantFields(pub Arc<[Variable]>);

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
        self.identifies(client).then(|| render(&self.template, client, scratch))
    }

    /// The variables of the key, if all of them may be absent while the client ID is present.
    pub fn may_be_absent(&self) -> Option<impl Iterator<Item = &Variable>> {
        let is_always = |variable: &Variable| {
            matches!(
                variable,
                Variable::ClientId
                    | Variable::SourceIp
                    | Variable::Listener
                    | Variable::ProtocolVersion
            )
        };
        let mut variables = self.variables();
        (!variables.any(is_always)).then(|| self.variables())
    }

    /// Whether the client ID is part of the key.
    pub fn uses_client_id(&self) -> bool {
        self.variables().any(|variable| *variable == Variable::ClientId)
    }

    /// The variables of the key, in their order.
    pub fn variables(&self) -> impl Iterator<Item = &Variable> + Clone {
        self.template.variables()
    }

    /// The variables that distinguish clients with the same client ID.
    pub fn tenant_fields(&self) -> TenantFields {
        self.tenant.clone()
    }

    /// How to route `client`: by its key; by its client ID if all fields of the key are absent; by
    /// `policy` if it has no client ID. A client whose TLS is passed through has no client ID that
    /// could be read, so that the policy does not apply: it is routed by its address.
    pub fn choose<'a>(
        &self,
        policy: EmptyClientId,
        client: &ClientFields<'a>,
        scratch: &'a mut Vec<u8>,
    ) -> Choice<'a> {
        let policy = if client.tls_passthrough { EmptyClientId::SourceIp } else { policy };
        if self.identifies(client)
            && !(policy == EmptyClientId::Assign && client.client_id.is_empty())
        {
            return Choice::Key(render(&self.template, client, scratch));
        }
        if !client.client_id.is_empty() {
            return Choice::FallbackKey(client.client_id.as_bytes());
        }
        let variable = match policy {
            EmptyClientId::LeastConnections => return Choice::LeastConnections,
            EmptyClientId::Username => Variable::Username,
            EmptyClientId::SourceIp => Variable::SourceIp,
            EmptyClientId::Assign => return Choice::Assign,
            EmptyClientId::Reject => return Choice::Reject,
        };
        if variable.value(client).is_none() {
            return Choice::LeastConnections;
        }
        let key = render(&Template::of(variable), client, scratch);
        if client.tls_passthrough { Choice::FallbackKey(key) } else { Choice::Key(key) }
    }

    fn new(template: Template) -> Self {
        let tells_tenants = |variable: &&Variable| {
            !matches!(variable, Variable::ClientId | Variable::SourceIp | Variable::ProtocolVersion)
        };
        let tenant = template.variables().filter(tells_tenants).cloned().collect();
        Self { template, tenant: TenantFields(tenant) }
    }

    fn identifies(&self, client: &ClientFields<'_>) -> bool {
        // Without the client ID, "user/" would send all such clients of a user to one broker, by a
        // key that identifies none of them.
        let lacks_client_id = client.client_id.is_empty() && self.uses_client_id();
        !lacks_client_id && self.variables().any(|variable| variable.is_present(client))
    }
}

/// The client ID.
impl Default for KeyTemplate {
    fn default() -> Self {
        Self::new(Template::of(Variable::ClientId))
    }
}

impl FromStr for KeyTemplate {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        if text.contains("${") {
            return Ok(Self::new(text.parse()?));
        }
        Ok(Self::new(Template::of(text.parse()?)))
    }
}

fn render<'a>(
    template: &Template,
    client: &ClientFields<'a>,
    scratch: &'a mut Vec<u8>,
) -> &'a [u8] {
    if let Some(text) = template.as_variable().and_then(|variable| variable.borrow(client)) {
        return text.as_bytes();
    }
    scratch.clear();
    template.write(client, scratch);
    scratch
}
