//! Who the clients of a listener have to be, and what their brokers are told.

use std::{borrow::Cow, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Secret;
use crate::{
    jwt,
    template::{ClientFields, Pattern, Template, Variable},
};

/// The identity of a listener's clients. The default asks for nothing and changes nothing.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    pub jwt: Option<Jwt>,
    /// All have to hold.
    pub require: Vec<Requirement>,
    pub rewrite: Option<Rewrite>,
    /// A CONNECT that violates the standard is passed on if it can be routed.
    pub lenient: bool,
}

impl Jwt {
    fn is_same(&self, other: &Self) -> bool {
        self.from == other.from
            && self.closes_on_expiry == other.closes_on_expiry
            && self.verifier == other.verifier
    }
}

/// The token that clients prove their identity with.
#[derive(Clone, Debug)]
pub struct Jwt {
    pub(crate) from: TokenSource,
    pub(crate) verifier: Arc<jwt::Verifier>,
    /// A session ends when its token expires.
    pub(crate) closes_on_expiry: bool,
}

/// The field of a CONNECT that has the client's token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TokenSource {
    #[default]
    Password,
    Username,
}

/// Wherever in the file it is.
impl PartialEq for Requirement {
    fn eq(&self, other: &Self) -> bool {
        (self.index, self.field, &self.pattern) == (other.index, other.field, &other.pattern)
    }
}

/// What a field of the CONNECT has to be.
#[derive(Clone, Debug)]
pub struct Requirement {
    /// The line of the configuration file, counted from 1.
    pub line: usize,
    /// Its index in the list of the listener.
    pub index: usize,
    pub field: RequiredField,
    pub pattern: Pattern,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequiredField {
    ClientId,
    Username,
}

/// The changes to a CONNECT; `None`: unchanged.
#[derive(Clone, Debug, PartialEq)]
pub struct Rewrite {
    pub client_id: Option<Template>,
    pub username: Option<Template>,
    pub password: PasswordRewrite,
    /// Names and values.
    pub user_properties: Vec<(Arc<str>, Template)>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum PasswordRewrite {
    Keep,
    Remove,
    Set(Secret),
}

impl Identity {
    /// Whether it asks for nothing and changes nothing.
    pub fn is_default(&self) -> bool {
        self.jwt.is_none() && self.require.is_empty() && self.rewrite.is_none()
    }

    /// Whether clients are asked and told the same.
    pub fn is_same(&self, other: &Self) -> bool {
        let same_jwt = match (&self.jwt, &other.jwt) {
            (None, None) => true,
            (Some(jwt), Some(other)) => jwt.is_same(other),
            _ => false,
        };
        same_jwt
            && self.require == other.require
            && self.rewrite == other.rewrite
            && self.lenient == other.lenient
    }

    /// The variables of all templates.
    pub fn variables(&self) -> impl Iterator<Item = &Variable> {
        let required = self.require.iter().flat_map(|required| required.pattern.variables());
        required.chain(self.rewrite.iter().flat_map(Rewrite::variables))
    }
}

/// What a broker is sent in place of what the client sent; `None`: the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RewrittenNames<'a> {
    pub(crate) client_id: Option<Cow<'a, str>>,
    pub(crate) username: Option<Cow<'a, str>>,
}

impl Rewrite {
    /// The client ID and the username that the broker would be sent for a client.
    ///
    /// # Errors
    /// A template needs a variable that has no value, so that the client is refused.
    pub(crate) fn names<'a>(
        &'a self,
        client: &ClientFields<'a>,
    ) -> Result<RewrittenNames<'a>, String> {
        let render = |key: &str, template: &'a Option<Template>| {
            let rendered = template.as_ref().map(|template| template.render(client)).transpose();
            rendered.map_err(|variable| {
                format!("rewrite.{key} needs ${{{variable}}}, which has no value")
            })
        };
        Ok(RewrittenNames {
            client_id: render("client_id", &self.client_id)?,
            username: render("username", &self.username)?,
        })
    }

    fn variables(&self) -> impl Iterator<Item = &Variable> {
        let names = self.client_id.iter().chain(&self.username);
        let values = self.user_properties.iter().map(|(_, value)| value);
        names.chain(values).flat_map(Template::variables)
    }
}
