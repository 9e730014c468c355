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

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(listed: &[&str], patterns: &[&str]) -> TextMatcher {
        let mut matcher = TextMatcher::default();
        assert!(listed.iter().all(|text| matcher.listed.insert(text)));
        matcher.patterns = patterns.iter().map(|pattern| pattern.parse().unwrap()).collect();
        matcher
    }

    #[test]
    fn listed_texts_and_patterns() {
        let matcher = matcher(&["a", "b*"], &["c-*", "${username}"]);
        let client = ClientFields { username: Some("anna"), ..ClientFields::default() };
        for (text, is_match) in [
            ("a", true),
            ("b*", true),
            ("b", false),
            ("c-", true),
            ("anna", true),
            ("bert", false),
            ("", false),
        ] {
            assert_eq!(matcher.matches(text, &client), is_match, "{text}");
        }
    }

    #[test]
    fn what_covers_what() {
        let wide = matcher(&["x", "y"], &["a-*"]);
        for (narrow, covered) in [
            (matcher(&["x"], &[]), true),
            (matcher(&["x", "a-1"], &["a-*"]), true),
            (matcher(&["z"], &[]), false),
            (matcher(&[], &["a-*-b"]), false),
            (TextMatcher::default(), true),
        ] {
            assert_eq!(wide.covers(&narrow), covered, "{narrow:?}");
        }
        assert!(matcher(&[], &["*"]).covers(&wide));
        // What a variable stands for is not known.
        assert!(!matcher(&[], &["${username}"]).covers(&matcher(&["x"], &[])));
    }

    /// The time is linear in the length of the text, however many `*` a pattern has: with
    /// backtracking, this would not end.
    #[test]
    fn ten_thousand_stars() {
        let pattern = Pattern::literal(&"*a".repeat(10_000));
        let matcher = TextMatcher { patterns: vec![pattern], ..TextMatcher::default() };
        let (long, short) = ("ab".repeat(32_000), "b".repeat(64_000));
        for _ in 0..100 {
            assert!(!matcher.matches(&long, &ClientFields::default()));
            assert!(!matcher.matches(&short, &ClientFields::default()));
        }
    }
}
