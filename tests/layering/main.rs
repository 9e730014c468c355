//! The direction of imports: between rooms as the map in `src/lib.rs` gives it, and between the files
//! of a room, where no file may use another that uses it. Both are read from the sources.

mod circles;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The rooms from the door inwards. Each may name those of later rows: none of an earlier one, and
/// none of its own row but itself.
const ROWS: &[&[&str]] = &[
    &["main"],
    &["cli"],
    &["control"],
    &["upgrade"],
    &["admin", "worker"],
    &["snapshot"],
    &["session"],
    &["listener"],
    &["upstream"],
    &["limits"],
    &["net"],
    &["access_log", "program_log"],
    &["metrics"],
    &["proto"],
    &["config"],
    &["rules"],
    &["api", "balance", "tls", "jwt", "join", "escape", "labels", "networks", "timestamp"],
    &["template", "secret_bytes"],
];

/// Rooms without sockets, clock or runtime, and what would bring those in.
const PURE: &[&str] =
    &["api", "proto", "config", "balance", "networks", "rules", "template", "escape"];
const IMPURE: &[&str] = &[
    "tokio",
    "tracing",
    "rustix",
    "socket2",
    "hyper",
    "hickory_resolver",
    "prometheus",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "UnixListener",
    "UnixDatagram",
    "ToSocketAddrs",
    "Instant",
    "SystemTime",
    "UNIX_EPOCH",
];

#[test]
fn imports_point_one_way() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&src, &mut files);
    assert!(files.len() > 40, "{} files: is this still where the sources are?", files.len());
    let mut rooms_seen = Vec::new();
    let mut faults = Vec::new();
    for file in &files {
        let path = file.strip_prefix(&src).unwrap();
        // The root and its facade name every room.
        if ["lib.rs", "testing.rs"].map(Path::new).contains(&path) || path.starts_with("testing") {
            continue;
        }
        rooms_seen.push(room(path));
        faults.extend(check(path, &fs::read_to_string(file).unwrap()));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    for name in ROWS.iter().copied().flatten() {
        assert!(rooms_seen.iter().any(|seen| seen == name), "there is no room {name} any more");
    }
}

#[test]
fn what_would_be_found() {
    let faults = |path: &str, source: &str| check(Path::new(path), source);
    for (path, source, fault) in [
        ("proto/mqtt/connect.rs", "use crate::session::Shard;", "proto names session"),
        ("balance/mod.rs", "use crate::{\n    proto::mqtt,\n};", "balance names proto"),
        ("balance/mod.rs", "fn f() { crate::config::load() }", "balance names config"),
        ("net/socket.rs", "use crate::{config, session::{End, upstream}};", "net names session"),
        ("session/relay.rs", "use super::super::worker::Setup;", "session names worker"),
        ("session/deep/er.rs", "use super::super::super::{control};", "session names control"),
        ("worker.rs", "use super::admin;", "worker names admin"),
        ("config/mod.rs", "use std::net::{IpAddr, TcpStream};", "config uses TcpStream"),
        ("config/mod.rs", "use std::time::Instant;", "config uses Instant"),
        ("proto/mqtt/mod.rs", "tokio::spawn(async {});", "proto uses tokio"),
        ("session/gate.rs", "use anyhow::Context;", "session uses anyhow"),
        ("main.rs", "mqtt_lb::nowhere::main()", "main names nowhere"),
        ("garage/mod.rs", "", "garage is in no row"),
    ] {
        assert_eq!(faults(path, source), [format!("{path}: {fault}")], "{source}");
    }
    for (path, source) in [
        (
            "session/relay.rs",
            "use super::{end::End, shard};\nuse crate::{proto::mqtt::{self, Connect}, session};",
        ),
        ("session/relay.rs", "// crate::worker starts this\n/// See [`crate::worker`].\nfn f() {}"),
        (
            "config/mod.rs",
            "use crate::balance::Algorithm;\nuse std::{net::SocketAddr, time::Duration};",
        ),
        ("balance/mod.rs", "let n = fastrand::usize(..);"),
        ("proto/mod.rs", "let tokio_like = Instantly; // tokio"),
        ("control/mod.rs", "use anyhow::Context;\nuse crate::{admin, worker, session};"),
        ("main.rs", "mqtt_lb::cli::main()"),
    ] {
        assert_eq!(faults(path, source), [""; 0], "{source}");
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The folder or file right under `src`.
fn room(path: &Path) -> String {
    let first = path.iter().next().unwrap().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

fn row(room: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&room))
}

fn check(path: &Path, source: &str) -> Vec<String> {
    let here = room(path);
    let fault = |what: String| format!("{}: {what}", path.display());
    let Some(row_here) = row(&here) else {
        return vec![fault(format!("{here} is in no row"))];
    };
    let code: String = source.lines().flat_map(|line| [before_comment(line), "\n"]).collect();
    let mut faults = Vec::new();
    for name in rooms_named(path, &code) {
        if name != here && row(&name).is_none_or(|row| row <= row_here) {
            faults.push(fault(format!("{here} names {name}")));
        }
    }
    let words = || code.split(|c: char| !c.is_alphanumeric() && c != '_');
    let uses = |word: &&&str| words().any(|used| used == **word);
    if PURE.contains(&&*here) {
        for word in IMPURE.iter().filter(uses) {
            faults.push(fault(format!("{here} uses {word}")));
        }
    }
    // Errors below the composition root are types of their own.
    if !["cli", "control"].contains(&&*here) && uses(&&"anyhow") {
        faults.push(fault(format!("{here} uses anyhow")));
    }
    faults
}

fn before_comment(line: &str) -> &str {
    line.split_once("//").map_or(line, |(code, _)| code)
}

/// What follows a path to the root of the crate, wherever it stands.
fn rooms_named(path: &Path, code: &str) -> Vec<String> {
    let mut depth = path.iter().count();
    if path.ends_with("mod.rs") {
        depth -= 1;
    }
    // From a module this deep, so many `super` lead to the root.
    let up = "super::".repeat(depth);
    let mut named = Vec::new();
    for root in ["crate::", "mqtt_lb::", &up] {
        for (at, _) in code.match_indices(root) {
            let is_word_start =
                !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
            if is_word_start {
                named.extend(first_names(&code[at + root.len()..]));
            }
        }
    }
    named
}

/// The first segment of a path, or of each path in braces.
fn first_names(path: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let Some(group) = path.strip_prefix('{') else { return vec![word(path)] };
    let mut names = vec![word(group)];
    let mut depth = 1;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => names.push(word(&group[at + 1..])),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names.retain(|name| !name.is_empty());
    names
}
