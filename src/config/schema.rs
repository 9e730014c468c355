//! The JSON schema of the file, for editors and for the manual.

use super::raw;

/// The schema of a configuration file, in JSON Schema 2020-12.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(raw::Config).to_value()
}
