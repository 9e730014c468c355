//! The set, and what is written for it.

use proptest::prelude::*;
use regex::Regex;

use super::*;

#[test]
fn the_set_is_that_of_unicode_and_of_the_dashboard() {
    let class = r"[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]";
    let unicode = Regex::new(class).unwrap();
    let mut utf8 = [0; 4];
    for c in '\0'..=char::MAX {
        assert_eq!(is_unsafe(c), unicode.is_match(c.encode_utf8(&mut utf8)), "{c:?}");
    }
    // Of JavaScript's strings, which can have halves of pairs, too.
    let of_dashboard = format!("/{}/gu;", class.replace(']', r"\p{Cs}]"));
    assert!(include_str!("../admin/dashboard/dom.js").contains(&of_dashboard), "{of_dashboard}");
}

#[test]
fn how_it_is_written() {
    let text = "a\tb\n\u{1b}[2J\u{9b}\u{202e}\u{feff}\u{e0041}é日\\\"";
    let wanted = r#"a\tb\n\u{1b}[2J\u{9b}\u{202e}\u{feff}\u{e0041}é日\""#;
    assert_eq!(plain(text), wanted);
    let wanted = r#""a\tb\n\u001b[2J\u009b\u202e\ufeff\udb40\udc41é日\\\"""#;
    assert_eq!(json(&text).unwrap(), wanted);
    assert_eq!(plain_lines("one\n\u{7f}two\r\n"), "one\n\\u{7f}two");
}

proptest! {
    #[test]
    fn nothing_unsafe_is_left_and_json_says_the_same(
        text in r"([\p{Cc}\p{Cf}\p{Zl}\p{Zp}\x{e0000}-\x{e01ff}]|\PC|[\x{0}-\x{10ffff}]){0,40}"
    ) {
        prop_assert!(!plain(&text).contains(is_unsafe));
        let written = json(&[&text]).unwrap();
        prop_assert!(!written.contains(is_unsafe), "{:?}", written);
        prop_assert_eq!(serde_json::from_str::<[String; 1]>(&written).unwrap(), [text]);
    }
}
