//! No text panics, and every fault has a place and a line of its own.

use proptest::prelude::*;

use crate::{example::EXAMPLE, parse};

fn yaml_like() -> impl Strategy<Value = String> {
    const WORDS: &[&str] = &[
        "listeners",
        "pools",
        "upstreams",
        "name",
        "bind",
        "tls",
        ":",
        ": ",
        "- ",
        "\n",
        "\n  ",
        "\n    ",
        "{",
        "}",
        "[",
        "]",
        ",",
        "\"",
        "'",
        "${",
        "}",
        "&a",
        "*a",
        "!t",
        "|",
        ">",
        "#",
        "%",
        "@",
        "?",
        "~",
        "0",
        "-1",
        "10s",
        "\t",
        "---",
        "...",
        "\u{feff}",
        "\u{85}",
        "é",
        "<<",
        "\r",
        "\\",
    ];
    proptest::collection::vec(proptest::sample::select(WORDS), 0..60)
        .prop_map(|words| words.concat())
}

/// Faults have a place inside the text, each on a line of its own.
fn read_without_panic(text: &str) {
    if let Err(found) = parse(text) {
        assert!(found.iter().count() > 0);
        assert_eq!(found.to_string().lines().count(), found.iter().count(), "{text:?}\n{found}");
        assert!(found.iter().all(|fault| fault.line >= 1 && fault.column >= 1));
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC*|(?s).{0,200}") {
        read_without_panic(&text);
    }

    #[test]
    fn no_yaml_like_text_panics(text in yaml_like()) {
        read_without_panic(&text);
    }

    #[test]
    fn no_damaged_example_panics(at in 0..EXAMPLE.len(), length in 0..40_usize, with in yaml_like()) {
        let (start, end) = (at, (at + length).min(EXAMPLE.len()));
        read_without_panic(&format!("{}{with}{}", &EXAMPLE[..start], &EXAMPLE[end..]));
    }
}
