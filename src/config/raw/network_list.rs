//! A list of networks, in the file or in one of its own.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::common::List;
use crate::config::{
    at::At,
    values::{FilePath, Network},
};

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct NetworkList {
    /// Networks and addresses. A list in place of this section sets them.
    #[schemars(length(min = 1))]
    pub(in crate::config) networks: Option<At<List<Network>>>,
    /// A text file of further networks and addresses, one a line, up to a million. What follows a #
    /// is a comment. SIGHUP reads it again.
    pub(in crate::config) file: Option<At<FilePath>>,
}

/// The schema of a list, or of the section.
pub(super) fn list_or_section(generator: &mut SchemaGenerator) -> Schema {
    let list = generator.subschema_for::<List<Network>>();
    let section = generator.subschema_for::<NetworkList>();
    json_schema!({ "anyOf": [list, section] })
}
