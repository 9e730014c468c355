//! How the clients of a listener prove who they are.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::List;
use crate::{
    config::{
        TokenSource,
        at::At,
        values::{FilePath, HOUR, MqttString, Time, at_time},
    },
    jwt::Algorithm,
};

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Authenticate {
    /// By a JSON Web Token (RFC 7519) in the CONNECT.
    pub(in crate::config) jwt: At<Jwt>,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Jwt {
    /// Where the token is: `password` or `username`. With `username`, no log, API or template has the
    /// username.
    #[serde(default)]
    pub(in crate::config) from: At<TokenSource>,
    /// The public keys that sign tokens: a JWK set (RFC 7517), or PEM. The file is read
    /// again when it changes.
    pub(in crate::config) keys: At<FilePath>,
    /// The signatures that are accepted: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384,
    /// EdDSA.
    #[schemars(length(min = 1))]
    pub(in crate::config) algorithms: At<List<Algorithm>>,
    /// What the claim `iss` has to be. Absent: anything, or nothing.
    pub(in crate::config) issuer: Option<At<MqttString>>,
    /// What the claim `aud` has to be or to contain. Absent: anything, or nothing.
    pub(in crate::config) audience: Option<At<MqttString>>,
    /// How far the clocks may differ, for `exp` and `nbf`; up to 1h.
    #[serde(default = "at_time::<30_000, Time<0, HOUR>>")]
    pub(in crate::config) leeway: At<Time<0, HOUR>>,
    /// What happens to a session when its token expires: it goes on with `keep`; with `close` it
    /// ends at `exp` plus `leeway`, and a 5.0 client is told by a DISCONNECT (0x87).
    #[serde(default)]
    pub(in crate::config) on_expiry: At<OnExpiry>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum OnExpiry {
    #[default]
    Keep,
    Close,
}
