//! The commands that end by themselves.

use std::{
    fs,
    process::{Command, Output},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::run;

const GOOD: &str = "\
listeners: [ { name: mqtt, bind: \"127.0.0.1:1883\", pool: brokers } ]
pools:
  - name: brokers
    upstreams:
      - { name: a, address: \"10.0.0.1:1883\" }
      - { name: b, address: \"10.0.0.2:1883\" }
      - { name: c, address: \"10.0.0.3:1883\" }
";

struct Files(TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        Self(dir)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }
}

/// Exit code, standard output, standard error.
fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn check() {
    let bad = "\
listeners: [ { name: mqtt, bind: \"127.0.0.1:1883\", pool: nowhere } ]
pools:
  - name: brokers
    upstreams: [ { name: a, address: \"10.0.0.1:1883\", weight: 0 } ]
colour: blue
";
    let files = Files::new(&[("good.yaml", GOOD), ("bad.yaml", bad)]);
    let good = run(&["check", "-c", &files.path("good.yaml")], "");
    assert_eq!(told(&good), (0, String::new(), String::new()));

    let (code, out, faults) = told(&run(&["check", "-c", &files.path("bad.yaml")], ""));
    assert_eq!((code, out), (2, String::new()));
    let faults: Vec<_> = faults.lines().collect();
    assert_eq!(faults.len(), 3, "{faults:#?}");
    for (line, parts) in [
        (1, ["listeners[0].pool", "nowhere"]),
        (4, ["pools[0].upstreams[0].weight", "1 to 65535"]),
        (5, ["colour", "unknown"]),
    ] {
        let place = format!("{}:{line}:", files.path("bad.yaml"));
        let fault = faults.iter().find(|fault| fault.starts_with(&place));
        let fault = fault.unwrap_or_else(|| panic!("none at line {line}: {faults:#?}"));
        assert!(parts.iter().all(|part| fault.contains(part)), "{fault}");
    }

    let (code, _, said) = told(&run(&["check", "-c", &files.path("none.yaml")], ""));
    assert_eq!(code, 2);
    assert!(said.contains("none.yaml"), "{said}");
    // What does not check does not run.
    let (code, _, _) = told(&run(&["run", "-c", &files.path("bad.yaml")], ""));
    assert_eq!(code, 2);
}

#[test]
fn usage() {
    for args in [&[][..], &["fly"], &["route"], &["check", "--colour"]] {
        let (code, _, said) = told(&run(args, ""));
        assert_eq!(code, 2, "{args:?}");
        assert!(said.contains("Usage"), "{said}");
    }
    let (code, out, _) = told(&run(&["--version"], ""));
    assert_eq!((code, out), (0, format!("mqtt-lb {}\n", env!("CARGO_PKG_VERSION"))));
}

/// The order that the formula of the design gives, computed here from nothing else.
fn rendezvous(key: &str, names: &[&str]) -> Vec<String> {
    use xxhash_rust::xxh3::xxh3_64_with_seed as hash;
    let score = |name: &str| {
        let h = hash(key.as_bytes(), hash(name.as_bytes(), 0));
        let u = ((h >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        -1.0 / u.ln()
    };
    let mut names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    names.sort_by(|a, b| score(b).total_cmp(&score(a)));
    names
}

#[test]
fn route() {
    let files = Files::new(&[("good.yaml", GOOD)]);
    let config = files.path("good.yaml");
    let ids = ["alpha", "beta", "häus", ""];
    let orders = ids.map(|id| rendezvous(id, &["a", "b", "c"]));
    let route = |more: &[&str], stdin: &str| {
        let (code, out, said) = told(&run(&[&["route", "-c", &config], more].concat(), stdin));
        assert_eq!((code, said), (0, String::new()));
        out
    };
    let lines = |n: usize| -> String {
        let line = |(id, order): (&&str, &Vec<String>)| format!("{id}\t{}\n", order.join(" "));
        ids.iter().zip(&orders).take(n).map(line).collect()
    };
    assert_eq!(route(&ids[..3], ""), lines(3));
    assert_eq!(route(&["-"], "alpha\nbeta\nhäus\n"), lines(3));
    let json: Vec<Value> = route(&["--json", "alpha", ""], "")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        json,
        [
            json!({ "client_id": "alpha", "pool": "brokers", "brokers": orders[0] }),
            json!({ "client_id": "", "pool": "brokers", "why": "no key: least connections" }),
        ]
    );

    let (code, _, said) = told(&run(&["route", "-c", &config, "--pool", "x", "id"], ""));
    assert_eq!(code, 2);
    assert!(said.contains("no such pool; the configuration has brokers"), "{said}");
}

#[test]
fn route_against_another_configuration() {
    let fewer = GOOD.replace("      - { name: c, address: \"10.0.0.3:1883\" }\n", "");
    let moved = GOOD.replace("10.0.0", "10.9.9");
    let files = Files::new(&[("good.yaml", GOOD), ("fewer.yaml", &fewer), ("moved.yaml", &moved)]);
    let ids: String =
        (0..1000).flat_map(|n| ["id-".to_owned(), n.to_string(), "\n".to_owned()]).collect();
    let against = |other: &str, more: &[&str]| {
        let (config, other) = (files.path("good.yaml"), files.path(other));
        let args = [&["route", "-c", &config, "--against", &other], more, &["-"]].concat();
        let (code, out, said) = told(&run(&args, &ids));
        assert_eq!((code, said), (0, String::new()));
        out
    };
    // New addresses move nobody; a broker less moves its own clients and no others.
    assert_eq!(against("moved.yaml", &[]), "0 of 1000 client IDs move (0.00 %)\n");
    let orders: Vec<_> =
        ids.lines().map(|id| rendezvous(id, &["a", "b", "c"])).filter(|o| o[0] == "c").collect();
    let to = |name: &str| orders.iter().filter(|order| order[1] == name).count();
    let wanted = json!({
        "ids": 1000,
        "moved": orders.len(),
        "moves": { "c": { "a": to("a"), "b": to("b") } },
    });
    let told: Value = serde_json::from_str(&against("fewer.yaml", &["--json"])).unwrap();
    assert_eq!(told, wanted);
    let text = against("fewer.yaml", &[]);
    assert!(text.contains(&format!("c -> a: {}\n", to("a"))), "{text}");
}

/// What packages ship: completions and manual pages.
#[test]
fn manual() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, said) = told(&run(&["completions", shell], ""));
        assert_eq!((code, said.as_str()), (0, ""));
        for word in ["mqtt-lb", "route", "against"] {
            assert!(out.contains(word), "{shell}: no {word}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(told(&run(&["man", "--dir", folder.path().to_str().unwrap()], "")).0, 0);
    for (page, part) in [
        ("man1/mqtt-lb.1", "SIGUSR1"),
        ("man1/mqtt-lb-run.1", "SIGUSR1"),
        ("man5/mqtt-lb.yaml.5", "connect_timeout"),
        ("man7/mqtt-lb-ops.7", "END CAUSES"),
    ] {
        let text = fs::read_to_string(folder.path().join(page)).unwrap();
        assert!(text.contains(".TH ") && text.contains(part), "{text}");
    }
    assert_eq!(told(&run(&["man", "--dir", "/dev/null/man"], "")).0, 1);

    let printed = |page: &[&str]| told(&run(&[&["man"], page].concat(), ""));
    let written = |page: &str| fs::read_to_string(folder.path().join(page)).unwrap();
    assert_eq!(printed(&[]).1, written("man1/mqtt-lb.1"));
    assert_eq!(printed(&["ops"]).1, written("man7/mqtt-lb-ops.7"));
    assert_eq!(printed(&["mqtt-lb.yaml"]).1, written("man5/mqtt-lb.yaml.5"));
    let (code, _, said) = printed(&["nothing"]);
    assert!(code == 2 && said.contains("mqtt-lb, yaml, ops"), "{said}");
}

/// groff, through man(1), has nothing to complain about.
#[test]
fn man_shows_every_page() {
    let is_installed = |program| Command::new(program).arg("--version").output().is_ok();
    if !is_installed("man") || !is_installed("groff") {
        eprintln!("skipped: man or groff is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for page in ["mqtt-lb", "yaml", "ops"] {
        let file = folder.path().join("page.roff");
        fs::write(&file, told(&run(&["man", page], "")).1).unwrap();
        let mut man = Command::new("man");
        man.args(["--warnings", "-l"]).arg(&file).env("LC_ALL", "C.UTF-8").env("MANWIDTH", "80");
        let (code, out, said) = told(&man.output().unwrap());
        assert!(code == 0 && said.is_empty(), "{page}: {said}");
        assert!(out.contains("NAME"), "{page}: {out}");
    }
}
