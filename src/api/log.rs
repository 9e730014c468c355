use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::value::Word;

/// The last lines of the program log.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Log {
    /// In order of their numbers.
    #[schemars(length(max = 500))]
    pub(crate) lines: Vec<LogLine>,
    /// The number of the last line written; 0 before the first.
    pub(crate) last: u64,
}

/// A line of the program log.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct LogLine {
    /// Its number, from 1.
    #[schemars(range(min = 1))]
    pub(crate) seq: u64,
    #[schemars(extend("format" = "date-time"))]
    pub(crate) time: String,
    #[schemars(extend("enum" = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"]))]
    pub(crate) level: Word,
    pub(crate) message: String,
}
