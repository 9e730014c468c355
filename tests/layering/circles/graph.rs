//! The strongly connected parts of a graph of files.

use std::collections::{BTreeMap, BTreeSet};

/// For each file the files that it uses, with the names that it uses of them.
pub(crate) type Uses = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// The circles, each as its files and what ties them.
pub(crate) fn circles(uses: &Uses) -> Vec<String> {
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        uses.keys().map(|file| (&**file, reach(uses, file))).collect();
    let together = |a: &str, b: &str| {
        let from = |a: &str, b: &str| reached.get(a).is_some_and(|files| files.contains(b));
        from(a, b) && from(b, a)
    };
    let mut seen = BTreeSet::new();
    let mut circles = Vec::new();
    for file in uses.keys() {
        let circle: Vec<&String> = uses.keys().filter(|other| together(file, other)).collect();
        if circle.len() < 2 || !seen.insert(circle.clone()) {
            continue;
        }
        let mut ties = Vec::new();
        for from in &circle {
            for (to, names) in uses[*from].iter().filter(|(to, _)| circle.contains(to)) {
                let names: Vec<_> = names.iter().map(String::as_str).collect();
                ties.push(format!("{from} -> {to} {{{}}}", names.join(" ")));
            }
        }
        circles.push(ties.join("; "));
    }
    circles
}

/// The files that `file` uses, directly or not.
fn reach<'a>(uses: &'a Uses, file: &'a str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next = vec![file];
    while let Some(file) = next.pop() {
        for used in uses.get(file).into_iter().flat_map(BTreeMap::keys) {
            if reached.insert(&**used) {
                next.push(used);
            }
        }
    }
    reached
}
