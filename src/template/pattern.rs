//! Templates in which `*` stands for any characters.

use std::{borrow::Cow, fmt, str::FromStr};

use super::{
    client_fields::ClientFields,
    template::{Template, TemplateError, TemplatePart},
    variable::Variable,
};

/// A template with `*`, such as `${username}-*`. A `*` in the value of a variable is an ordinary
/// character: no certificate and no token can widen a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// The text between the `*`; one more than there are of them.
    pieces: Vec<Template>,
    /// The same with the `*`, if there are no variables: in one piece, as a listener may have many
    /// patterns, and each connection finds them outside of the processor's caches.
    literal: Option<Box<str>>,
}

/// The most combinations of names that are tried, where a pattern has variables with several values.
const MAX_COMBINATIONS: usize = 4096;

impl Pattern {
    /// A pattern in which only `*` has a meaning.
    pub fn literal(text: &str) -> Self {
        Self::new(text.split('*').map(Template::text).collect())
    }

    fn new(pieces: Vec<Template>) -> Self {
        let texts: Option<Vec<_>> = pieces.iter().map(literal_text).collect();
        Self { literal: texts.map(|texts| texts.join("*").into()), pieces }
    }

    /// The same pattern with its ASCII letters in lower case, but for the names of variables.
    pub fn to_ascii_lowercase(&self) -> Self {
        Self::new(self.pieces.iter().map(Template::to_ascii_lowercase).collect())
    }

    /// The text that it stands for, if there are no variables and no `*`.
    pub fn as_text(&self) -> Option<&str> {
        self.literal.as_deref().filter(|text| !text.contains('*'))
    }

    /// Whether it matches any text.
    pub fn is_any(&self) -> bool {
        let is_star = |byte: u8| byte == b'*';
        self.literal.as_deref().is_some_and(|text| !text.is_empty() && text.bytes().all(is_star))
    }

    /// The variables, in their order.
    pub fn variables(&self) -> impl Iterator<Item = &Variable> + Clone {
        self.pieces.iter().flat_map(Template::variables)
    }

    /// Whether `text` matches. A variable without a value matches nothing. Of a variable with
    /// several values, such as the DNS names of a certificate, one has to match.
    pub fn matches(&self, text: &str, client: &ClientFields<'_>) -> bool {
        if let Some(literal) = &self.literal {
            return is_match(literal.split('*'), text);
        }
        let values: Vec<_> = self.variables().map(|variable| variable.values(client)).collect();
        if values.iter().any(Vec::is_empty) {
            return false;
        }
        let combinations = values.iter().map(Vec::len).fold(1, usize::saturating_mul);
        let combinations = combinations.min(MAX_COMBINATIONS);
        (0..combinations).any(|mut number| {
            let mut chosen = values.iter().map(|values| {
                let value = values.get(number % values.len()).map_or("", |value| &**value);
                number /= values.len();
                value
            });
            let pieces: Vec<_> = self.pieces.iter().map(|piece| fill(piece, &mut chosen)).collect();
            is_match(pieces.iter().map(|piece| &**piece), text)
        })
    }
}

/// The text of a piece without variables.
fn literal_text(piece: &Template) -> Option<&str> {
    match &*piece.parts {
        [] => Some(""),
        [TemplatePart::Text(text)] => Some(text),
        _ => None,
    }
}

/// The text of a piece, with these values for its variables.
fn fill<'a>(piece: &'a Template, values: &mut impl Iterator<Item = &'a str>) -> Cow<'a, str> {
    let mut text = |part: &'a TemplatePart| match part {
        TemplatePart::Text(text) => &**text,
        TemplatePart::Variable(_) => values.next().unwrap_or_default(),
    };
    match &*piece.parts {
        [] => "".into(),
        [part] => text(part).into(),
        parts => parts.iter().map(text).collect(),
    }
}

/// Whether `text` is these pieces in their order, with any characters between them.
fn is_match<'a>(mut pieces: impl Iterator<Item = &'a str>, text: &str) -> bool {
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(mut last) = pieces.next() else { return rest.is_empty() };
    for piece in pieces {
        // The earliest place leaves the most for the pieces that follow.
        let Some(at) = rest.find(last) else { return false };
        rest = &rest[at + last.len()..];
        last = piece;
    }
    rest.ends_with(last)
}

impl FromStr for Pattern {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        // A `*` inside `${}` belongs to the name of a claim.
        let mut pieces = Vec::new();
        let (mut from, mut inside) = (0, false);
        for (at, c) in text.char_indices() {
            match c {
                '$' if text[at..].starts_with("${") => inside = true,
                '}' => inside = false,
                '*' if !inside => {
                    pieces.push(text[from..at].parse()?);
                    from = at + 1;
                }
                _ => {}
            }
        }
        pieces.push(text[from..].parse()?);
        Ok(Self::new(pieces))
    }
}

/// As it is written in the configuration.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, piece) in self.pieces.iter().enumerate() {
            let star = if index == 0 { "" } else { "*" };
            write!(f, "{star}{piece}")?;
        }
        Ok(())
    }
}
