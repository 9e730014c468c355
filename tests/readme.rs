//! The README: its configurations are good, its links lead somewhere, its tables are whole.

use std::{collections::BTreeSet, ffi::OsStr, fs, path::Path, process::Command};

use mqtt_lb::{
    labels::{EndBy, EndCause, EndPhase},
    proto::mqtt::{Version, reason},
};
use serde_yaml::{Mapping, Value};

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The part under a heading, up to the next one of its level or above.
fn section<'a>(readme: &'a str, heading: &str) -> &'a str {
    let (_, section) = readme.split_once(&format!("\n{heading}\n")).expect(heading);
    let level = heading.find(' ').unwrap();
    let mut end = section.len();
    for level in 2..=level {
        end = end.min(section.find(&format!("\n{} ", "#".repeat(level))).unwrap_or(end));
    }
    &section[..end]
}

/// The cells of all rows of tables.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let lines = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---"));
    lines.map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

/// What stands between backticks.
fn words(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// Fenced blocks of a language.
fn blocks<'a>(readme: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("\n```{language}\n");
    readme.split(&fence).skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect()
}

/// Every configuration in the README: blocks of YAML, files that a shell is to write, and the keys
/// of a pool that a table shows.
fn configurations(readme: &str) -> Vec<String> {
    let mut found: Vec<String> = blocks(readme, "yaml").into_iter().map(Into::into).collect();
    for script in blocks(readme, "sh") {
        let written = script.split("<<'YAML'\n").skip(1);
        found.extend(written.map(|rest| rest.split("\nYAML").next().unwrap().to_owned()));
    }
    let pool = "## When brokers fail, fill up, drain, move and come back";
    for row in rows(section(readme, pool)) {
        let keys = row[0].trim_start_matches('`').split('`').next().unwrap();
        if keys.contains(": ") {
            found.push(format!("pools: [{{ name: brokers, {keys} }}]"));
        }
    }
    found
}

/// A block may leave out what is not its subject: listeners are then one for its first pool, pools
/// those of its listeners, and a pool's brokers one.
fn completed(text: &str) -> Value {
    let mut config: Mapping = serde_yaml::from_str(text).expect(text);
    if !config.contains_key("listeners") {
        let pool = config.get("pools").map_or("brokers", |all| all[0]["name"].as_str().unwrap());
        let listener = format!("[{{ name: mqtt, bind: \"127.0.0.1:0\", pool: {pool} }}]");
        config.insert("listeners".into(), serde_yaml::from_str(&listener).unwrap());
    }
    if !config.contains_key("pools") {
        let pool = config["listeners"][0]["pool"].as_str().unwrap();
        let pools = serde_yaml::from_str(&format!("[{{ name: {pool} }}]")).unwrap();
        config.insert("pools".into(), pools);
    }
    for pool in config.get_mut("pools").unwrap().as_sequence_mut().unwrap() {
        let pool = pool.as_mapping_mut().unwrap();
        if !pool.contains_key("upstreams") && !pool.contains_key("discover") {
            let brokers = "[{ name: broker-1, address: \"127.0.0.1:1883\" }]";
            pool.insert("upstreams".into(), serde_yaml::from_str(brokers).unwrap());
        }
    }
    Value::Mapping(config)
}

/// The texts in a configuration, of whatever key.
fn texts(config: &Value) -> Vec<&str> {
    match config {
        Value::String(text) => vec![text],
        Value::Sequence(all) => all.iter().flat_map(texts).collect(),
        Value::Mapping(all) => all.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn every_configuration_is_good() {
    let issued = rcgen::generate_simple_self_signed(["broker.internal".to_owned()]).unwrap();
    let (certificate, key) = (issued.cert.pem(), issued.signing_key.serialize_pem());
    let configurations = configurations(&readme());
    assert!(configurations.len() > 15, "only {}", configurations.len());
    for text in configurations {
        let folder = tempfile::tempdir().unwrap();
        let config = completed(&text);
        // Those that it names are all one and the same.
        for name in texts(&config) {
            let content = match Path::new(name).extension().and_then(OsStr::to_str) {
                Some("pem") => &certificate,
                Some("key") => &key,
                _ => continue,
            };
            fs::write(folder.path().join(name), content).unwrap();
        }
        let file = folder.path().join("config.yaml");
        // As it stands, where it is whole: what YAML makes of it is then tested as well.
        let whole = serde_yaml::from_str::<Value>(&text).unwrap() == config;
        let written = if whole { text.clone() } else { serde_yaml::to_string(&config).unwrap() };
        fs::write(&file, written).unwrap();
        let mut check = Command::new(env!("CARGO_BIN_EXE_mqtt-lb"));
        let checked = check.arg("check").arg("-c").arg(&file).output().unwrap();
        let said = String::from_utf8([checked.stdout, checked.stderr].concat()).unwrap();
        assert!(checked.status.success() && said.is_empty(), "{said}of:\n{text}");
    }
}

/// As GitHub makes an anchor of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// Headings outside of fenced blocks, each with its level.
fn headings(readme: &str) -> Vec<(usize, &str)> {
    let outside = readme.split("\n```").step_by(2);
    let lines = outside.flat_map(str::lines).filter(|line| line.starts_with('#'));
    lines.filter_map(|line| Some((line.find(' ')?, line.split_once(' ')?.1))).collect()
}

#[test]
fn links_lead_somewhere_and_every_chapter_is_in_the_contents() {
    let readme = readme();
    let anchors: BTreeSet<_> = headings(&readme).iter().map(|(_, text)| anchor(text)).collect();
    let targets = readme.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
    for target in targets.filter(|target| !target.starts_with("https://")) {
        let is_there = match target.strip_prefix('#') {
            Some(anchor) => anchors.contains(anchor),
            None => root().join(target).exists(),
        };
        assert!(is_there, "a link to {target}");
    }
    let contents = readme.split("\n## ").next().unwrap();
    for (_, heading) in headings(&readme).iter().filter(|(level, _)| *level == 2) {
        let is_listed = contents.contains(&format!("(#{})", anchor(heading)));
        assert!(is_listed || ["Licence", "Troubleshoot"].contains(heading), "{heading}");
    }
}

/// `by/phase/cause` of all that a table explains.
fn explained(table: &[Vec<&str>]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for row in table {
        let (mut by, mut phase) = ("", "");
        for word in words(row[0]) {
            // `client relay reset`, and then `timeout` alone for the same by and phase.
            let cause = match *word.split(' ').collect::<Vec<_>>() {
                [a, b, cause] => {
                    (by, phase) = (a, b);
                    cause
                }
                ["…", cause] => {
                    (by, phase) = ("…", "…");
                    cause
                }
                [cause] => cause,
                _ => panic!("{word}"),
            };
            found.insert(format!("{by}/{phase}/{cause}"));
        }
    }
    found
}

#[test]
fn every_end_is_explained() {
    let readme = readme();
    let section = section(&readme, "### By how a connection ended");
    let explained = explained(&rows(section)[1..]);
    let covers = |by: &str, phase: &str, cause: &str| {
        [format!("{by}/{phase}/{cause}"), format!("{by}/…/{cause}"), format!("…/…/{cause}")]
            .iter()
            .any(|end| explained.contains(end))
    };
    for cause in EndCause::ALL.iter().map(|cause| cause.as_str()) {
        assert!(explained.iter().any(|end| end.ends_with(&format!("/{cause}"))), "{cause}");
    }
    // And no word in it is one that the log does not have.
    for end in &explained {
        let [by, phase, cause] = *end.split('/').collect::<Vec<_>>() else { panic!("{end}") };
        assert!(by == "…" || EndBy::ALL.iter().any(|known| known.as_str() == by), "{end}");
        assert!(phase == "…" || EndPhase::ALL.iter().any(|known| known.as_str() == phase), "{end}");
        assert!(EndCause::ALL.iter().any(|known| known.as_str() == cause), "{end}");
    }
    // All that the tests of the running proxy have seen.
    let mut seen = BTreeSet::new();
    collect_ends(&root().join("tests/proxy"), &mut seen);
    assert!(seen.len() > 20, "{seen:?}");
    for end in seen {
        let [by, phase, cause] = *end.split('/').collect::<Vec<_>>() else { panic!("{end}") };
        assert!(covers(by, phase, cause), "{end} is not explained");
    }
}

/// What looks like `"by/phase/cause"` in the sources of a folder.
fn collect_ends(folder: &Path, ends: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect_ends(&path, ends);
            continue;
        }
        let source = fs::read_to_string(&path).unwrap();
        ends.extend(source.split('"').filter(|text| is_end(text)).map(Into::into));
    }
}

fn is_end(text: &str) -> bool {
    let parts: Vec<_> = text.split('/').collect();
    let [by, phase, cause] = *parts else { return false };
    EndBy::ALL.iter().any(|known| known.as_str() == by)
        && EndPhase::ALL.iter().any(|known| known.as_str() == phase)
        && cause.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

#[test]
fn every_reason_is_explained() {
    let readme = readme();
    let rows = rows(section(&readme, "### By the CONNACK's reason"));
    let explains = |column: usize, code: &str, name: &str| {
        rows.iter().any(|row| {
            row[column].split(", ").any(|cell| cell == code) && words(row[2]).contains(&name)
        })
    };
    for code in 0..=u8::MAX {
        let name = reason::name(Version::V311, code);
        assert!(name == "unknown" || explains(0, &code.to_string(), name), "3.x: {code} {name}");
        let name = reason::name(Version::V5, code);
        // Those of 3.x, which a broker without 5.0 may give, are explained there.
        let is_known = name == "unknown"
            || explains(1, &format!("{code:#04X}").replace("0X", "0x"), name)
            || explains(0, &code.to_string(), name);
        assert!(is_known, "5.0: {code:#x} {name}");
    }
}

/// The kernel that runs this has each of them, but for those of modules that are not loaded.
#[test]
fn settings_of_the_kernel_exist() {
    let readme = readme();
    let mut found = 0;
    for name in rows(section(&readme, "## Tune the kernel")).iter().flat_map(|row| words(row[0])) {
        let file = Path::new("/proc/sys").join(name.replace('.', "/"));
        if !["net.", "fs."].iter().any(|group| name.starts_with(group)) {
            continue;
        }
        found += 1;
        let is_absent_module =
            name.starts_with("net.netfilter.") && !file.parent().unwrap().exists();
        assert!(file.exists() || is_absent_module, "{name}");
    }
    assert!(found >= 10, "{found}");
}
