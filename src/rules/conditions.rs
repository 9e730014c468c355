//! What has to hold of a client.

use std::{borrow::Cow, fmt};

use super::{client_facts::ClientFacts, text_matcher::TextMatcher};
use crate::{
    networks::PrefixSet,
    template::{Pattern, Variable},
};

/// Conditions that all have to hold; by default there are none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conditions {
    pub texts: Vec<TextCondition>,
    /// The networks of its address; `None`: any.
    pub source: Option<PrefixSet>,
    /// Protocol levels; `None`: any.
    pub protocol_version: Option<Vec<u8>>,
    pub clean_start: Option<bool>,
    pub has_password: Option<bool>,
    pub will: Option<bool>,
}

/// What a text about the client has to be.
#[derive(Clone, Debug, PartialEq)]
pub struct TextCondition {
    pub field: TextField,
    pub matcher: TextMatcher,
}

/// A fact that is a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextField {
    Variable(Variable),
    /// The path of a WebSocket request.
    Path,
}

/// The first condition that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnmetCondition<'a> {
    Text(&'a TextField),
    Source,
    ProtocolVersion,
    CleanStart,
    HasPassword,
    Will,
}

impl Conditions {
    /// The variables that the conditions are about, and those of their patterns.
    pub fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.texts.iter().flat_map(|condition| {
            let own = match &condition.field {
                TextField::Variable(variable) => Some(variable),
                TextField::Path => None,
            };
            let patterns = condition.matcher.patterns.iter();
            own.into_iter().chain(patterns.flat_map(Pattern::variables))
        })
    }

    /// The first condition that does not hold; `None` if all do.
    pub fn unmet(&self, client: &ClientFacts<'_>) -> Option<UnmetCondition<'_>> {
        let fields = &client.fields;
        if let Some(levels) = &self.protocol_version
            && !fields.protocol_version.is_some_and(|level| levels.contains(&level))
        {
            return Some(UnmetCondition::ProtocolVersion);
        }
        for (wanted, fact, unmet) in [
            (self.clean_start, client.clean_start, UnmetCondition::CleanStart),
            (self.has_password, client.has_password, UnmetCondition::HasPassword),
            (self.will, client.will, UnmetCondition::Will),
        ] {
            if wanted.is_some() && wanted != fact {
                return Some(unmet);
            }
        }
        if let Some(networks) = &self.source
            && !fields.source_ip.is_some_and(|ip| networks.contains(ip))
        {
            return Some(UnmetCondition::Source);
        }
        let unmet = self.texts.iter().find(|condition| !condition.holds(client));
        unmet.map(|condition| UnmetCondition::Text(&condition.field))
    }
}

impl Conditions {
    /// Whether these certainly hold for all clients that `other` holds for.
    pub fn cover(&self, other: &Self) -> bool {
        let covers_text = |condition: &TextCondition| {
            let same_field = |narrow: &&TextCondition| narrow.field == condition.field;
            let narrow = other.texts.iter().find(same_field);
            narrow.is_some_and(|narrow| condition.matcher.covers(&narrow.matcher))
        };
        let covers_levels = self.protocol_version.as_ref().is_none_or(|levels| {
            let narrow = other.protocol_version.as_ref();
            narrow.is_some_and(|narrow| narrow.iter().all(|level| levels.contains(level)))
        });
        let covers_flags = [
            (self.clean_start, other.clean_start),
            (self.has_password, other.has_password),
            (self.will, other.will),
        ]
        .iter()
        .all(|(wide, narrow)| wide.is_none() || wide == narrow);
        covers_levels
            && covers_flags
            && (self.source.is_none() || self.source == other.source)
            && self.texts.iter().all(covers_text)
    }
}

impl TextCondition {
    fn holds(&self, client: &ClientFacts<'_>) -> bool {
        let is_match = |text: &str| self.matcher.matches(text, &client.fields);
        match &self.field {
            TextField::Path => client.path.is_some_and(is_match),
            TextField::Variable(Variable::Sni) => client.fields.sni.is_some_and(|sni| {
                // Names in DNS are the same in either case (RFC 4343).
                let is_mixed = sni.bytes().any(|byte| byte.is_ascii_uppercase());
                let lower = || Cow::Owned(sni.to_ascii_lowercase());
                is_match(&if is_mixed { lower() } else { Cow::Borrowed(sni) })
            }),
            TextField::Variable(variable) => match variable.names(&client.fields) {
                Some(names) => names.iter().any(|name| is_match(name)),
                None => variable.value(&client.fields).is_some_and(|value| is_match(&value)),
            },
        }
    }
}

impl fmt::Display for TextField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(variable) => variable.fmt(f),
            Self::Path => f.write_str("path"),
        }
    }
}

impl UnmetCondition<'_> {
    /// Whether the client has the fact that the condition is about.
    pub fn has_fact(&self, client: &ClientFacts<'_>) -> bool {
        let fields = &client.fields;
        match self {
            Self::Text(TextField::Path) => client.path.is_some(),
            Self::Text(TextField::Variable(variable)) => variable.is_present(fields),
            Self::Source => fields.source_ip.is_some(),
            Self::ProtocolVersion => fields.protocol_version.is_some(),
            Self::CleanStart => client.clean_start.is_some(),
            Self::HasPassword => client.has_password.is_some(),
            Self::Will => client.will.is_some(),
        }
    }
}

/// The key of the configuration.
impl fmt::Display for UnmetCondition<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(field) => field.fmt(f),
            Self::Source => f.write_str("source"),
            Self::ProtocolVersion => f.write_str("protocol_version"),
            Self::CleanStart => f.write_str("clean_start"),
            Self::HasPassword => f.write_str("has_password"),
            Self::Will => f.write_str("will"),
        }
    }
}
