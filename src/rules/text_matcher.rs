//! What a text has to be.

use super::text_set::TextSet;
use crate::template::{ClientFields, Pattern};

/// Matches texts that are in a list or match one of several patterns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TextMatcher {
    pub patterns: Vec<Pattern>,
    /// Entries without `*`.
    pub listed: TextSet,
}

/// The most listed texts that are compared with another matcher: a million with a thousand patterns
/// would take a minute.
const MAX_COMPARED: usize = 1000;

impl TextMatcher {
    /// Whether this certainly matches all texts that `other` matches, for every client.
    pub fn covers(&self, other: &Self) -> bool {
        let any = || self.patterns.iter().any(Pattern::is_any);
        let covers_lists = || {
            // Without values for variables, only patterns without them match.
            let unknown = ClientFields::default();
            other.listed.len() <= MAX_COMPARED
                && other.listed.iter().all(|text| self.matches(text, &unknown))
        };
        let covers_patterns =
            || other.patterns.iter().all(|pattern| self.patterns.contains(pattern));
        self == other || any() || (covers_patterns() && covers_lists())
    }

    pub fn matches(&self, text: &str, client: &ClientFields<'_>) -> bool {
        self.listed.contains(text)
            || self.patterns.iter().any(|pattern| pattern.matches(text, client))
    }
}
