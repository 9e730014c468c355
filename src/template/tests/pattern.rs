use proptest::prelude::*;

use crate::template::{ClientFields, Pattern};

fn matches(pattern: &str, text: &str, client: &ClientFields<'_>) -> bool {
    pattern.parse::<Pattern>().unwrap().matches(text, client)
}

#[test]
fn a_star_stands_for_any_characters() {
    let client =
        ClientFields { tls_cn: Some("dev*ice"), username: Some("a"), ..Default::default() };
    for (pattern, text, expected) in [
        ("a", "a", true),
        ("a", "aa", false),
        ("", "", true),
        ("", "a", false),
        ("*", "", true),
        ("*", "a\u{e9}b", true),
        ("a*", "a", true),
        ("a*", "ba", false),
        ("*a", "ba", true),
        ("*a", "ab", false),
        ("a*a", "a", false),
        ("a*a", "aa", true),
        ("a*b*c", "a-b-b-c", true),
        ("a*b*c", "a-c-b", false),
        ("*ab*", "xxabxx", true),
        ("**", "a", true),
        ("*aab", "aaab", true),
        ("${username}-*", "a-1", true),
        ("${username}-*", "b-1", false),
        ("${tls_cn}", "dev*ice", true),
        ("${tls_cn}", "device", false),
        ("${tls_cn}*", "dev*ice-1", true),
        ("${sni}*", "a", false),
        ("${sni}", "", false),
    ] {
        assert_eq!(matches(pattern, text, &client), expected, "{pattern} {text}");
    }
}

#[test]
fn one_of_several_names_has_to_match() {
    let names: Vec<Box<str>> = vec!["a.example".into(), "b.example".into()];
    let client = ClientFields { tls_san_dns: &names, tls_san_uri: &names, ..Default::default() };
    assert!(matches("${tls_san_dns}", "b.example", &client));
    assert!(matches("${tls_san_dns}/${tls_san_uri}", "a.example/b.example", &client));
    assert!(!matches("${tls_san_dns}", "c.example", &client));
    assert!(!matches("${tls_san_email}*", "", &client));
    let many: Vec<Box<str>> = (0..100).map(|n| format!("{n}").into()).collect();
    let client = ClientFields { tls_san_dns: &many, tls_san_uri: &many, ..Default::default() };
    assert!(!matches("${tls_san_dns}${tls_san_uri}${tls_san_dns}", "9999", &client));
    // More combinations than a number can count, and a variable without a value.
    let pattern = "${tls_san_dns}".repeat(40) + "${username}";
    assert!(!matches(&pattern, "0", &client));
}

proptest! {
    /// Compared with a matcher that tries every place.
    #[test]
    fn patterns_match_as_by_trying_every_place(pattern in "[ab*]{0,8}", text in "[ab]{0,8}") {
        fn slow(pattern: &[u8], text: &[u8]) -> bool {
            match pattern {
                [] => text.is_empty(),
                [b'*', rest @ ..] => (0..=text.len()).any(|at| slow(rest, &text[at..])),
                [first, rest @ ..] => text.first() == Some(first) && slow(rest, &text[1..]),
            }
        }
        let expected = slow(pattern.as_bytes(), text.as_bytes());
        prop_assert_eq!(matches(&pattern, &text, &ClientFields::default()), expected);
    }

    #[test]
    fn a_pattern_is_printed_as_it_is_written(pattern in r"([ab*$\{]|\$\{(sni|jwt\.a\*)\}){0,8}") {
        if let Ok(parsed) = pattern.parse::<Pattern>() {
            prop_assert_eq!(parsed.to_string(), pattern);
        }
    }
}
