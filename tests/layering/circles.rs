//! No circle of files: where one file uses another, that one does not use it, directly or not.

mod graph;
mod names;

use std::{collections::BTreeMap, fs, path::Path};

use graph::circles;
use names::Sources;

/// Rooms that still have circles.
const STILL: &[&str] = &[];

#[test]
fn no_file_uses_one_that_uses_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    super::collect(&src, &mut files);
    let texts: BTreeMap<_, _> = files
        .iter()
        .map(|file| {
            let path = file.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
            (path, fs::read_to_string(file).unwrap())
        })
        .collect();
    let found = found_in(&texts);
    let room = |circle: &String| circle.split(['/', '.', ' ']).next().unwrap().to_owned();
    let faults: Vec<_> =
        found.iter().filter(|circle| !STILL.contains(&&*room(circle))).cloned().collect();
    assert!(faults.is_empty(), "circles of files:\n{}", faults.join("\n"));
    for still in STILL {
        assert!(
            found.iter().any(|circle| room(circle) == *still),
            "{still} has no circle any more"
        );
    }
}

/// The circles in sources, each as one text.
fn found_in(texts: &BTreeMap<String, String>) -> Vec<String> {
    circles(&Sources::parse(texts).uses())
}

#[test]
fn circles_that_would_be_found() {
    let circles = |files: &[(&str, &str)]| {
        let root = ("lib.rs", "mod a;");
        let texts = files.iter().chain([&root]).map(|&(path, text)| (path.into(), text.into()));
        found_in(&texts.collect())
    };
    let b = ("a/b.rs", "pub struct B(super::c::C);");
    let pair = "a/b.rs -> a/c.rs {C}; a/c.rs -> a/b.rs {B}";
    for c in [
        "use super::b::B; pub struct C;",
        "use crate::a::{self as room, b}; pub struct C; fn f(_: b::B) {}",
        "pub struct C; fn f() { let _ = crate::a::b::B; }",
        "pub struct C; fn f() { println!(\"{:?}\", crate::a::b::B); }",
        "use super::*; pub struct C; fn f(_: B) {}",
        // Through the re-export of the room.
        "use super::B; pub struct C;",
        "pub struct C; fn f(_: crate::a::B) {}",
    ] {
        let room = ("a/mod.rs", "mod b; mod c; pub use b::B; pub use c::C;");
        assert_eq!(circles(&[room, b, ("a/c.rs", c)]), [pair], "{c}");
    }
    // Through files in between, and a parent that uses what uses it.
    let chain = [
        ("a/mod.rs", "mod b; mod c; mod d;"),
        ("a/b.rs", "use super::c::c; pub fn b() {}"),
        ("a/c.rs", "use super::d::d; pub fn c() {}"),
        ("a/d.rs", "use super::b::b; pub fn d() {}"),
    ];
    let circle = "a/b.rs -> a/c.rs {c}; a/c.rs -> a/d.rs {d}; a/d.rs -> a/b.rs {b}";
    assert_eq!(circles(&chain), [circle]);
    let parent = ("a/mod.rs", "mod b; use b::B; pub struct A(B);");
    let child = ("a/b.rs", "use super::A; pub struct B; fn f(_: A) {}");
    assert_eq!(circles(&[parent, child]), ["a/b.rs -> a/mod.rs {A}; a/mod.rs -> a/b.rs {B}"]);

    for c in [
        "pub struct C;",
        "pub struct C; // super::b::B\n/// See [`super::b::B`].\nfn f() {}",
        "pub struct C; pub(in crate::a::b) fn f() {}",
        "pub struct C; #[cfg(test)] mod tests { use crate::a::b::B; }",
        "pub struct C; #[cfg(test)] fn f(_: super::b::B) {}",
        "use crate::a; use std::fmt::Debug as B; pub struct C; fn f(_: &dyn B) {}",
    ] {
        let room = ("a/mod.rs", "mod b; mod c; pub use b::B; pub use c::C;");
        assert_eq!(circles(&[room, b, ("a/c.rs", c)]), [""; 0], "{c}");
    }
    let test = ("a/tests.rs", "use super::b::B; pub struct C;");
    assert_eq!(circles(&[("a/b.rs", "pub struct B(super::tests::C);"), test]), [""; 0]);
}
