//! Text with variables.

use std::{borrow::Cow, fmt, str::FromStr};

use thiserror::Error;

use super::{
    client_fields::ClientFields,
    variable::{Variable, VariableError},
};

/// A text such as `${username}/${client_id}`. A `$` that is not followed by `{` stands for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pub(super) parts: Vec<TemplatePart>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TemplatePart {
    Text(Box<str>),
    Variable(Variable),
}

/// Why a template is invalid.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TemplateError {
    #[error(transparent)]
    UnknownVariable(#[from] VariableError),
    #[error("`${{` without `}}`: write a variable as `${{client_id}}`")]
    UnclosedVariable,
}

impl Template {
    /// A template of one variable.
    pub(crate) fn of(variable: Variable) -> Self {
        Self { parts: vec![TemplatePart::Variable(variable)] }
    }

    /// A text without variables.
    pub(super) fn text(text: &str) -> Self {
        let part = || TemplatePart::Text(text.into());
        Self { parts: if text.is_empty() { Vec::new() } else { vec![part()] } }
    }

    /// The same template with the ASCII letters of its texts in lower case.
    pub(super) fn to_ascii_lowercase(&self) -> Self {
        let lower = |part: &TemplatePart| match part {
            TemplatePart::Text(text) => TemplatePart::Text(text.to_ascii_lowercase().into()),
            variable @ TemplatePart::Variable(_) => variable.clone(),
        };
        Self { parts: self.parts.iter().map(lower).collect() }
    }

    /// The variables, in their order.
    pub fn variables(&self) -> impl Iterator<Item = &Variable> + Clone {
        self.parts.iter().filter_map(|part| match part {
            TemplatePart::Variable(variable) => Some(variable),
            TemplatePart::Text(_) => None,
        })
    }

    /// The variable, if the template is nothing else.
    pub(crate) fn as_variable(&self) -> Option<&Variable> {
        match &*self.parts {
            [TemplatePart::Variable(variable)] => Some(variable),
            _ => None,
        }
    }

    /// Appends the text for a client; a variable without a value is left blank.
    pub(crate) fn write(&self, client: &ClientFields<'_>, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                TemplatePart::Text(text) => out.extend_from_slice(text.as_bytes()),
                TemplatePart::Variable(variable) => {
                    out.extend_from_slice(variable.value(client).unwrap_or_default().as_bytes());
                }
            }
        }
    }

    /// The text for a client.
    ///
    /// # Errors
    /// The first variable without a value: the text would not say who the client is.
    pub fn render<'a>(&'a self, client: &ClientFields<'a>) -> Result<Cow<'a, str>, &'a Variable> {
        let value = |variable: &'a Variable| variable.value(client).ok_or(variable);
        if let [TemplatePart::Variable(variable)] = &*self.parts {
            return value(variable);
        }
        let mut text = String::new();
        for part in &self.parts {
            match part {
                TemplatePart::Text(part) => text.push_str(part),
                TemplatePart::Variable(variable) => text.push_str(&value(variable)?),
            }
        }
        Ok(text.into())
    }
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, tail) = after.split_once('}').ok_or(TemplateError::UnclosedVariable)?;
            if !before.is_empty() {
                parts.push(TemplatePart::Text(before.into()));
            }
            parts.push(TemplatePart::Variable(name.parse()?));
            rest = tail;
        }
        if !rest.is_empty() {
            parts.push(TemplatePart::Text(rest.into()));
        }
        Ok(Self { parts })
    }
}

/// As it is written in the configuration.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            TemplatePart::Text(text) => f.write_str(text),
            TemplatePart::Variable(variable) => write!(f, "${{{variable}}}"),
        })
    }
}
