//! `mqtt-lb schema`: the JSON schema of a configuration, for editors.

use std::process::ExitCode;

use super::check::print;
use crate::config;

pub(super) fn schema() -> ExitCode {
    print(&format!("{:#}\n", config::json_schema()))
}
