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
    let parsed = text.parse().map_err(|error| Invalid::new(format!("{error}")).allowed(""))?;
    sendable(text).map(|()| TemplateText(parsed))
}

scalar!(
    /// Such a text, in which `*` stands for any characters.
    struct PatternText(Pattern):
    Template, "text with variables such as ${tls_cn}; * stands for any characters", pattern,
    { "type": "string", "minLength": 1 }
);

fn pattern(text: &str) -> Result<PatternText, Invalid> {
    let parsed = text.parse().map_err(|error| Invalid::new(format!("{error}")).allowed(""))?;
    sendable(text).map(|()| PatternText(parsed))
}

/// Strings of MQTT should have no control characters (3.1.1 and 5.0, section 1.5).
fn sendable(text: &str) -> Result<(), Invalid> {
    match text {
        "" => Err(Invalid::new("is empty")),
        _ if text.contains(char::is_control) => {
            Err(Invalid::new(format!("{} has a control character", quote(text))))
        }
        _ => Ok(()),
    }
}
