//! Lists of entries in files.

use std::fs;

use super::TwoPools;
use crate::{
    client::{Client, Connect, connack},
    harness::{Proxy, run},
    reload::{refuse, take},
};

const RULE: &str = "{ name: stolen, when: { client_id: { file: stolen.txt, any: [written] } }, \
                    refuse: banned }";

fn start(pools: &TwoPools, list: impl AsRef<[u8]>) -> Proxy {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("stolen.txt"), list).unwrap();
    Proxy::start_in(dir, &pools.with(RULE).text(), |_| crate::harness::program())
}

fn answer(proxy: &Proxy, id: &str, code: u8) {
    drop(Client::exchange(proxy.address(), &Connect::new(4, id).bytes(), &connack(4, code)));
}

#[test]
fn entries_comments_and_patterns() {
    let pools = TwoPools::new();
    let proxy =
        start(&pools, "\u{feff}first\r\n# comment\r\n\r\n  spaced \nfirst\nlot-*-9\n${x}\nlast");
    for (id, code) in [
        ("first", 5),
        ("spaced", 5),
        ("last", 5),
        ("written", 5),
        ("lot--9", 5),
        ("lot-1-9", 5),
        // In a list, variables have no meaning.
        ("${x}", 5),
        ("lot-1-8", 0),
        ("# comment", 0),
        ("First", 0),
        ("", 0),
    ] {
        answer(&proxy, id, code);
    }
}

/// A reload reads the list again; one that is gone or has a fault changes nothing.
#[test]
fn a_list_is_read_again() {
    let pools = TwoPools::new();
    let proxy = start(&pools, "a\n");
    let list = proxy.path("stolen.txt");
    answer(&proxy, "a", 5);
    fs::write(&list, "b\n").unwrap();
    answer(&proxy, "b", 0);
    let said = take(&proxy, &pools.with(RULE));
    assert!(said.iter().any(|line| line.contains("listener mqtt: rules changed")), "{said:?}");
    answer(&proxy, "a", 0);
    answer(&proxy, "b", 5);
    for (text, fault) in [
        (Some(&b"ok\n\xFF\n"[..]), "\"stolen.txt\" line 2: is not UTF-8"),
        (None, "\"stolen.txt\" does not exist"),
    ] {
        match text {
            Some(text) => fs::write(&list, text).unwrap(),
            None => fs::remove_file(&list).unwrap(),
        }
        let said = refuse(&proxy, &pools.with(RULE));
        assert!(said.iter().any(|line| line.contains(fault)), "{said:?}");
        answer(&proxy, "b", 5);
    }
}

/// Only so many entries have a `*`, as each of them is compared with every client.
#[test]
fn too_many_patterns() {
    let pools = TwoPools::new();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("stolen.txt"), "x*\n".repeat(1001)).unwrap();
    let file = dir.path().join("config.yaml");
    fs::write(&file, pools.with(RULE).text()).unwrap();
    let said = run(&["check", "-c", file.to_str().unwrap()], "");
    assert!(!said.status.success());
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(said.contains("line 1001: more than 1000 entries have a *"), "{said}");
}
