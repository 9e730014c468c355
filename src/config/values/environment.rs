//! Environment variables in values.

use crate::config::fault::quote;

/// Replaces every `${NAME}` by the variable, and every `${NAME:-default}` by the default where the
/// variable is unset or empty.
pub(in crate::config) fn expand(
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<String, String> {
    let allowed = "${NAME} of a variable that is set, or ${NAME:-default}";
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (variable, after) = after
            .split_once('}')
            .ok_or_else(|| format!("{} has ${{ without }}; allowed: {allowed}", quote(text)))?;
        let value = match variable.split_once(":-") {
            Some((name, default)) => {
                Some(env(name).filter(|value| !value.is_empty()).unwrap_or(default.to_owned()))
            }
            None => env(variable),
        };
        let value = value.ok_or_else(|| {
            format!("the environment variable {} is not set; allowed: {allowed}", quote(variable))
        })?;
        expanded.push_str(before);
        expanded.push_str(&value);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}
