use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a request failed; the body of every response with a status from 400 on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Error {
    /// What happened, and what to do.
    #[schemars(length(min = 1))]
    pub(crate) error: String,
    /// What is wrong with the configuration, with file, line and column: only of a reload that was
    /// refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) faults: Option<Vec<String>>,
}
