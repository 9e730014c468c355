//! Templates of facts about a client.

use super::scalar::{Invalid, scalar};
use crate::{
    config::fault::quote,
    template::{Pattern, Template},
};

const VARIABLES: &str = "text with variables such as ${tls_cn}";

scalar!(
    /// A text made of facts about a client.
    struct TemplateText(Template): Template, VARIABLES, template, { "type": "string", "minLength": 1 }
);

fn template(text: &str) -> Result<TemplateText, Invalid> {
    let parsed: Template =
        text.parse().map_err(|error| Invalid::new(format!("{error}")).allowed(""))?;
    sendable(text, parsed.variables().count()).map(|()| TemplateText(parsed))
}

scalar!(
    /// Such a text, in which `*` stands for any characters.
    struct PatternText(Pattern):
    Template, "text with variables such as ${tls_cn}; * stands for any characters", pattern,
    { "type": "string", "minLength": 1 }
);

fn pattern(text: &str) -> Result<PatternText, Invalid> {
    let parsed: Pattern =
        text.parse().map_err(|error| Invalid::new(format!("{error}")).allowed(""))?;
    sendable(text, parsed.variables().count()).map(|()| PatternText(parsed))
}

scalar!(
    /// The word `none`. Another text may be a password, so that no message has it.
    struct NoPassword(&'static str): String, "none; a new password is in a file: password_file", no_password,
    { "enum": ["none"] }
);

fn no_password(text: &str) -> Result<NoPassword, Invalid> {
    if text == "none" { Ok(NoPassword("none")) } else { Err(Invalid::new("is not a word for it")) }
}

/// The most bytes and variables of a template. A variable can have 64 KiB: more of them would be
/// more than a worker's turn allows.
const MAX_BYTES: usize = 1024;
const MAX_VARIABLES: usize = 8;

/// Strings of MQTT should have no control characters (3.1.1 and 5.0, section 1.5).
fn sendable(text: &str, variables: usize) -> Result<(), Invalid> {
    match text {
        _ if text.len() > MAX_BYTES || variables > MAX_VARIABLES => {
            let what =
                format!("{} has {} bytes and {variables} variables", quote(text), text.len());
            let allowed = format!("up to {MAX_BYTES} bytes with up to {MAX_VARIABLES} variables");
            Err(Invalid::new(what).allowed(allowed))
        }
        "" => Err(Invalid::new("is empty")),
        _ if text.contains(char::is_control) => {
            Err(Invalid::new(format!("{} has a control character", quote(text))))
        }
        _ => Ok(()),
    }
}
