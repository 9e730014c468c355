//! The keys of a listener about who its clients are.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::List;
use crate::config::{
    Idle,
    at::At,
    values::{FilePath, MqttString, NoPassword, PatternText, TemplateText},
};

/// What has to hold of a client. With both keys, both have to.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Requirement {
    /// What the client ID has to be, such as "${tls_cn}" or "${username}-*"; else CONNACK 2, or 0x85
    /// in MQTT 5.0. * stands for any characters; a variable without a value matches nothing; of
    /// several names in a certificate, one has to match.
    pub(in crate::config) client_id: Option<At<PatternText>>,
    /// Likewise the username; else CONNACK 5, or 0x87 in MQTT 5.0.
    pub(in crate::config) username: Option<At<PatternText>>,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Rewrite {
    /// The client ID for the broker. A client for which one of the variables has no value is refused:
    /// CONNACK 2, or 0x85 in MQTT 5.0.
    pub(in crate::config) client_id: Option<At<TemplateText>>,
    /// The username for the broker. A client for which one of the variables has no value is refused:
    /// CONNACK 5, or 0x87 in MQTT 5.0.
    pub(in crate::config) username: Option<At<TemplateText>>,
    /// `none`: the broker is sent no password.
    pub(in crate::config) password: Option<At<NoPassword>>,
    /// The password for the broker, in a file of its own.
    pub(in crate::config) password_file: Option<At<FilePath>>,
    /// User properties that are added to the CONNECT of MQTT 5.0. One whose variables have no value
    /// is left out.
    #[schemars(length(min = 1))]
    pub(in crate::config) user_properties: Option<At<List<UserProperty>>>,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct UserProperty {
    pub(in crate::config) name: At<MqttString>,
    /// Text with variables.
    pub(in crate::config) value: At<TemplateText>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum ConnectCheck {
    #[default]
    Strict,
    Lenient,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ListenerTimeouts {
    /// How long this listener's sessions may be silent, in place of timeouts.idle. Absent: as long as
    /// that says.
    pub(in crate::config) idle: Option<At<Idle>>,
}
