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

impl TextMatcher {
    pub fn matches(&self, text: &str, client: &ClientFields<'_>) -> bool {
        self.listed.contains(text)
            || self.patterns.iter().any(|pattern| pattern.matches(text, client))
    }
}
