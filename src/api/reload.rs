use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::value::Word;

/// A reload that succeeded.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Applied {
    #[schemars(extend("enum" = ["applied"]))]
    pub outcome: Word,
    /// The number of the configuration now in force.
    #[schemars(range(min = 1))]
    pub generation: u64,
    /// How it differs from the previous one, a line for each difference.
    pub changes: Vec<String>,
}

/// How the last reload ended, whatever asked for it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct LastReload {
    /// When it ended.
    #[schemars(extend("format" = "date-time"))]
    pub at: String,
    #[schemars(extend("enum" = ["applied", "refused"]))]
    pub outcome: Word,
    /// What is wrong with the configuration that was refused.
    pub faults: Vec<String>,
}
