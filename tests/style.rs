//! What readers and operators meet is written in plain modern English, and a file is one idea.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Phrases that a plain sentence does without, in lower case.
const BANNED: &[&str] = &[
    "is none",
    "are none",
    "that is no ",
    "anew",
    "beside",
    "for want of",
    "whoever",
    "whomever",
    "thereof",
    "thereby",
    "henceforth",
];

/// The longest source file, in lines.
const MAX_FILE_LINES: usize = 350;

#[test]
fn plain_english() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut faults = Vec::new();
    for place in [
        "src",
        "deploy",
        "examples",
        "tests",
        "README.md",
        "CHANGELOG.md",
        "config.yaml.example",
        "Cargo.toml",
    ] {
        for file in files(&root.join(place)) {
            // It quotes them.
            if file.ends_with("tests/style.rs") || is_python(&file) {
                continue;
            }
            let Ok(text) = fs::read_to_string(&file) else { continue };
            for (number, line) in (1..).zip(text.lines()) {
                for phrase in found(line) {
                    let file = file.strip_prefix(root).unwrap().display();
                    faults.push(format!("{file}:{number}: {phrase:?} in {:?}", line.trim()));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn a_file_is_one_idea() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let long: Vec<_> = files(&src)
        .into_iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "rs"))
        .map(|file| (fs::read_to_string(&file).unwrap().lines().count(), file))
        .filter(|(lines, _)| *lines > MAX_FILE_LINES)
        .collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn what_would_be_found() {
    assert_eq!(found("a port that is none"), ["is none"]);
    assert_eq!(found("Whoever asks, asks anew."), ["anew", "whoever"]);
    assert_eq!(found("a renewed certificate"), [""; 0]);
}

/// The banned phrases in a line, as whole words.
fn found(line: &str) -> Vec<&'static str> {
    let line = line.to_lowercase();
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let stands = |phrase: &&&str| {
        line.match_indices(**phrase).any(|(at, _)| {
            !is_word(line[..at].chars().next_back())
                && !is_word(line[at + phrase.trim_end().len()..].chars().next())
        })
    };
    BANNED.iter().filter(stands).copied().collect()
}

/// `is None` is an operator of Python.
fn is_python(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "py" || extension == "pyc")
}

fn files(place: &Path) -> Vec<PathBuf> {
    if place.is_file() {
        return vec![place.to_owned()];
    }
    // Built, or installed.
    if place.ends_with("target") || place.ends_with("node_modules") {
        return Vec::new();
    }
    let entries = fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|entry| files(&entry)).collect()
}
