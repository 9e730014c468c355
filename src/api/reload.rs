use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::value::Word;

/// A reload that succeeded.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Applied {
    #[schemars(extend("enum" = ["applied"]))]
    pub(crate) outcome: Word,
    /// The number of the configuration now in force.
    #[schemars(range(min = 1))]
    pub(crate) generation: u64,
    /// How it differs from the previous one, a line for each difference.
    pub(crate) changes: Vec<String>,
}

/// How the last reload ended, whatever asked for it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct LastReload {
    /// When it ended.
    #[schemars(extend("format" = "date-time"))]
    pub(crate) at: String,
    #[schemars(extend("enum" = ["applied", "refused"]))]
    pub(crate) outcome: Word,
    /// What is wrong with the configuration that was refused.
    pub(crate) faults: Vec<String>,
}

/// How the last reload of changed files ended, which nothing asked for.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct LastFileReload {
    /// When it ended.
    #[schemars(extend("format" = "date-time"))]
    pub(crate) at: String,
    /// If it was refused, the files that were read before are in use, until these have changed again
    /// or the configuration is reloaded.
    #[schemars(extend("enum" = ["applied", "refused"]))]
    pub(crate) outcome: Word,
    /// Those that had changed.
    pub(crate) files: Vec<String>,
    /// What is wrong with files that were refused.
    pub(crate) faults: Vec<String>,
}
