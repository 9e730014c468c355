//! What has to hold of a client.

use std::{borrow::Cow, fmt};

use super::{client_facts::ClientFacts, text_matcher::TextMatcher};
use crate::{
    networks::PrefixSet,
    template::{Pattern, Variable},
};

/// Conditions that all have to hold. The default holds for every client.
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

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::template::ClientFields;

    fn text(field: TextField, patterns: &[&str]) -> TextCondition {
        let patterns = patterns.iter().map(|pattern| pattern.parse().unwrap()).collect();
        TextCondition { field, matcher: TextMatcher { patterns, ..TextMatcher::default() } }
    }

    fn variable(variable: Variable, pattern: &str) -> Conditions {
        let texts = vec![text(TextField::Variable(variable), &[pattern])];
        Conditions { texts, ..Conditions::default() }
    }

    fn networks(networks: &[&str]) -> PrefixSet {
        networks.iter().map(|network| network.parse().unwrap()).collect()
    }

    #[test]
    fn all_have_to_hold_and_an_absent_fact_meets_none() {
        let conditions = Conditions {
            texts: vec![
                text(TextField::Variable(Variable::Username), &["anna", "bert"]),
                text(TextField::Path, &["/mqtt*"]),
            ],
            source: Some(networks(&["10.0.0.0/8"])),
            protocol_version: Some(vec![4, 5]),
            clean_start: Some(true),
            has_password: Some(false),
            will: Some(true),
        };
        let fields = ClientFields {
            username: Some("bert"),
            source_ip: Some(IpAddr::from([10, 1, 2, 3])),
            protocol_version: Some(5),
            ..ClientFields::default()
        };
        let client = ClientFacts {
            fields,
            path: Some("/mqtt/a"),
            clean_start: Some(true),
            has_password: Some(false),
            will: Some(true),
        };
        assert_eq!(conditions.unmet(&client), None);
        let with = |fields| ClientFacts { fields, ..client };
        for (client, unmet, has_fact) in [
            (with(ClientFields { username: Some("carl"), ..fields }), "username", true),
            (with(ClientFields { username: None, ..fields }), "username", false),
            (ClientFacts { path: Some("/"), ..client }, "path", true),
            (ClientFacts { path: None, ..client }, "path", false),
            (
                with(ClientFields { source_ip: Some([11, 0, 0, 1].into()), ..fields }),
                "source",
                true,
            ),
            (with(ClientFields { source_ip: None, ..fields }), "source", false),
            (with(ClientFields { protocol_version: Some(3), ..fields }), "protocol_version", true),
            (with(ClientFields { protocol_version: None, ..fields }), "protocol_version", false),
            (ClientFacts { clean_start: Some(false), ..client }, "clean_start", true),
            (ClientFacts { clean_start: None, ..client }, "clean_start", false),
            (ClientFacts { has_password: Some(true), ..client }, "has_password", true),
            (ClientFacts { has_password: None, ..client }, "has_password", false),
            (ClientFacts { will: Some(false), ..client }, "will", true),
            (ClientFacts { will: None, ..client }, "will", false),
        ] {
            let found = conditions.unmet(&client).unwrap();
            assert_eq!((found.to_string(), found.has_fact(&client)), (unmet.into(), has_fact));
        }
        assert_eq!(Conditions::default().unmet(&ClientFacts::default()), None);
    }

    /// Names in DNS are the same in either case (RFC 4343); patterns are in lower case already.
    #[test]
    fn the_server_name_in_any_case() {
        let conditions = variable(Variable::Sni, "*.eu.example");
        for (sni, holds) in [
            (Some("A.EU.example"), true),
            (Some("a.eu.example"), true),
            (Some("eu.example"), false),
            (None, false),
        ] {
            let fields = ClientFields { sni, ..ClientFields::default() };
            let client = ClientFacts { fields, ..ClientFacts::default() };
            assert_eq!(conditions.unmet(&client).is_none(), holds, "{sni:?}");
        }
    }

    #[test]
    fn one_of_several_names_of_a_certificate() {
        let conditions = variable(Variable::TlsSanDns, "b*");
        let names = ["a.example", "b.example"].map(Box::from);
        for (count, holds) in [(0, false), (1, false), (2, true)] {
            let fields = ClientFields { tls_san_dns: &names[..count], ..ClientFields::default() };
            let client = ClientFacts { fields, ..ClientFacts::default() };
            assert_eq!(conditions.unmet(&client).is_none(), holds, "{count}");
        }
    }

    /// An empty client ID is an absent one, even for `*`.
    #[test]
    fn an_empty_text_is_absent() {
        let conditions = variable(Variable::ClientId, "*");
        let unmet = conditions.unmet(&ClientFacts::default()).unwrap();
        assert!(!unmet.has_fact(&ClientFacts::default()));
    }

    #[test]
    fn conditions_that_cover_others() {
        let id = |pattern| variable(Variable::ClientId, pattern);
        let all = Conditions::default();
        for conditions in [id("*"), id("a-*"), id("${username}-*")] {
            assert!(all.cover(&conditions) && conditions.cover(&conditions));
            assert!(!conditions.cover(&all));
        }
        assert!(id("*").cover(&id("${username}-*")));
        assert!(!id("a-*").cover(&id("*")));
        assert!(!id("*").cover(&variable(Variable::Username, "*")));
        let versions = |levels: &[u8]| Conditions {
            protocol_version: Some(levels.to_vec()),
            ..Conditions::default()
        };
        assert!(versions(&[4, 5]).cover(&versions(&[5])));
        assert!(!versions(&[5]).cover(&versions(&[4, 5])));
        let from =
            |list: &[&str]| Conditions { source: Some(networks(list)), ..Conditions::default() };
        assert!(from(&["10.0.0.0/8"]).cover(&from(&["10.0.0.0/9", "10.128.0.0/9"])));
        assert!(!from(&["10.0.0.0/8"]).cover(&from(&["11.0.0.0/8"])));
        assert!(!from(&["10.0.0.0/8"]).cover(&all));
    }
}
