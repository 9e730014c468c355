//! The README and the manual pages: their configurations are valid, their links resolve, and their
//! tables are complete.

use std::{
    collections::BTreeSet, ffi::OsStr, fs, os::unix::fs::PermissionsExt, path::Path,
    process::Command,
};

use mqtt_lb::testing::{
    labels::{EndBy, EndCause, EndPhase},
    proto::mqtt::{Version, reason},
};
use serde_yaml::{Mapping, Value};

#[allow(dead_code, reason = "shared with the tests of tokens, which use all of it")]
#[path = "../src/jwt/tests/issuer.rs"]
mod issuer;

use issuer::{Issuer, jwk_set};

const README: &str = "README.md";
const COMMANDS: &str = "deploy/man/mqtt-lb.1.md";
const KEYS: &str = "deploy/man/mqtt-lb.yaml.5.md";
const OPS: &str = "deploy/man/mqtt-lb-ops.7.md";

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The part under a heading, up to the next one of its level or above.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let (_, section) = page.split_once(&format!("\n{heading}\n")).expect(heading);
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
    lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// The text between backticks.
fn words(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// Fenced blocks of a language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("\n```{language}\n");
    page.split(&fence).skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect()
}

/// Every configuration in a page: blocks of YAML, and files that a shell block writes.
fn configurations(page: &str) -> Vec<String> {
    let mut found: Vec<String> = blocks(page, "yaml").into_iter().map(Into::into).collect();
    for script in blocks(page, "sh") {
        let written = script.split("<<'YAML'\n").skip(1);
        found.extend(written.map(|rest| rest.split("\nYAML").next().unwrap().to_owned()));
    }
    found
}

/// The keys of a pool that the table of failover shows.
fn pool_keys(ops: &str) -> Vec<String> {
    let rows = rows(section(ops, "## Failover"));
    let keys = rows.iter().map(|row| row[0].trim_start_matches('`').split('`').next().unwrap());
    let keys = keys.filter(|keys| keys.contains(": "));
    keys.map(|keys| format!("pools: [{{ name: brokers, {keys} }}]")).collect()
}

/// A block may leave out what is not its subject. Filled in are a listener for its first pool, the
/// pool of its first listener, and one broker for a pool.
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

/// All strings in a configuration.
fn texts(config: &Value) -> Vec<&str> {
    match config {
        Value::String(text) => vec![text],
        Value::Sequence(all) => all.iter().flat_map(texts).collect(),
        Value::Mapping(all) => all.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn every_configuration_is_valid() {
    let issued = rcgen::generate_simple_self_signed(["broker.internal".to_owned()]).unwrap();
    let (certificate, key) = (issued.cert.pem(), issued.signing_key.serialize_pem());
    let issuers = ["RSA", "P-256", "Ed25519"].map(|kind| Issuer::new(kind, "key"));
    let keys_of_tokens = jwk_set(&issuers.each_ref().map(Issuer::jwk));
    let password = "s3cret".to_owned();
    let networks = "192.0.2.0/24\n".to_owned();
    let ticket_keys = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n".to_owned();
    let pages = [README, COMMANDS, KEYS, OPS].map(read);
    let mut configurations: Vec<_> = pages.iter().flat_map(|page| configurations(page)).collect();
    configurations.extend(pool_keys(&read(OPS)));
    assert!(configurations.len() > 20, "only {}", configurations.len());
    let schema = jsonschema::validator_for(&mqtt_lb::testing::config::json_schema()).unwrap();
    for text in configurations {
        let folder = tempfile::tempdir().unwrap();
        let config = completed(&text);
        let wrong: Vec<_> = schema
            .iter_errors(&serde_json::to_value(&config).unwrap())
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}\nof:\n{text}");
        // One certificate and key serve as all the files it names.
        for name in texts(&config) {
            let content = match Path::new(name).extension().and_then(OsStr::to_str) {
                Some("pem") => &certificate,
                Some("key") => &key,
                Some("json") => &keys_of_tokens,
                Some("password") => &password,
                Some("txt") => &networks,
                Some("keys") => &ticket_keys,
                _ => continue,
            };
            let file = folder.path().join(name);
            fs::write(&file, content).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        }
        let file = folder.path().join("config.yaml");
        // Unchanged if it is complete, so that its YAML is tested as well.
        let whole = serde_yaml::from_str::<Value>(&text).unwrap() == config;
        let written = if whole { text.clone() } else { serde_yaml::to_string(&config).unwrap() };
        fs::write(&file, written).unwrap();
        let mut check = Command::new(env!("CARGO_BIN_EXE_mqtt-lb"));
        let checked = check.arg("check").arg("-c").arg(&file).output().unwrap();
        let said = String::from_utf8([checked.stdout, checked.stderr].concat()).unwrap();
        assert!(checked.status.success() && said.is_empty(), "{said}of:\n{text}");
    }
}

/// The anchor that GitHub gives a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// Headings outside of fenced blocks, each with its level.
fn headings(page: &str) -> Vec<(usize, &str)> {
    let outside = page.split("\n```").step_by(2);
    let lines = outside.flat_map(str::lines).filter(|line| line.starts_with('#'));
    lines.filter_map(|line| Some((line.find(' ')?, line.split_once(' ')?.1))).collect()
}

fn has_anchor(file: &Path, wanted: &str) -> bool {
    let page = fs::read_to_string(file).unwrap();
    headings(&page).iter().any(|(_, heading)| anchor(heading) == wanted)
}

#[test]
fn links_resolve() {
    for file in [README, "CHANGELOG.md", COMMANDS, KEYS, OPS] {
        let path = root().join(file);
        let page = read(file);
        let targets = page.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
        for target in targets.filter(|target| !target.starts_with("https://")) {
            let (linked, anchor) = target.split_once('#').unwrap_or((target, ""));
            let linked = match linked {
                "" => path.clone(),
                linked => path.parent().unwrap().join(linked),
            };
            assert!(linked.exists(), "{file} links to {target}");
            let resolves = anchor.is_empty() || has_anchor(&linked, anchor);
            assert!(resolves, "{file} links to {target}: no such heading");
        }
    }
}

#[test]
fn contents_are_complete() {
    let in_contents = |file: &str, contents: &str, skipped: &[&str]| {
        let page = read(file);
        for (_, heading) in headings(&page).iter().filter(|(level, _)| *level == 2) {
            let is_listed = contents.contains(&format!("(#{})", anchor(heading)));
            assert!(is_listed || skipped.contains(heading), "{file}: {heading}");
        }
    };
    let readme = read(README);
    in_contents(README, readme.split("\n## ").next().unwrap(), &["Licence"]);
    let ops = read(OPS);
    let contents = section(&ops, "## Description");
    in_contents(OPS, contents, &["Name", "Description", "See also"]);
}

#[test]
fn every_key_of_the_example_is_described() {
    let page = read(KEYS);
    let mut found = 0;
    for line in read("config.yaml.example").lines() {
        let text = line.trim_start_matches([' ', '-']);
        let Some((key, _)) = text.split_once(':') else { continue };
        if !key.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
            continue;
        }
        found += 1;
        let is_there = page.contains(&format!("`{key}`")) || page.contains(&format!("## {key}\n"));
        assert!(is_there, "{KEYS} does not describe {key}: {line}");
    }
    assert!(found > 50, "only {found}");
}

#[test]
fn the_map_has_every_module() {
    let readme = read(README);
    let map = blocks(section(&readme, "## Architecture"), "text").concat();
    let words: Vec<_> = map.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let mut found = 0;
    for line in read("src/lib.rs").lines() {
        let Some(module) = line.strip_prefix("mod ") else { continue };
        let module = module.trim_end_matches(';');
        assert!(words.contains(&module), "README.md: Architecture lacks {module}");
        found += 1;
    }
    assert!(found > 15, "only {found} modules in src/lib.rs");
}

/// A reader gets through it in one sitting; details belong in the pages.
#[test]
fn the_readme_is_short() {
    let lines = read(README).lines().count();
    assert!(lines <= 420, "{lines} lines");
}

/// The `by/phase/cause` of each end that a table explains.
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
    let ops = read(OPS);
    let section = section(&ops, "## End causes");
    let explained = explained(&rows(section)[1..]);
    let covers = |by: &str, phase: &str, cause: &str| {
        [format!("{by}/{phase}/{cause}"), format!("{by}/…/{cause}"), format!("…/…/{cause}")]
            .iter()
            .any(|end| explained.contains(end))
    };
    for cause in EndCause::ALL.iter().map(|cause| cause.as_str()) {
        assert!(explained.iter().any(|end| end.ends_with(&format!("/{cause}"))), "{cause}");
    }
    // The table uses only words that the log has.
    for end in &explained {
        let [by, phase, cause] = *end.split('/').collect::<Vec<_>>() else { panic!("{end}") };
        assert!(by == "…" || EndBy::ALL.iter().any(|known| known.as_str() == by), "{end}");
        assert!(phase == "…" || EndPhase::ALL.iter().any(|known| known.as_str() == phase), "{end}");
        assert!(EndCause::ALL.iter().any(|known| known.as_str() == cause), "{end}");
    }
    // Every end that the tests of the running proxy expect.
    let mut seen = BTreeSet::new();
    collect_ends(&root().join("tests/proxy"), &mut seen);
    assert!(seen.len() > 20, "{seen:?}");
    for end in seen {
        let [by, phase, cause] = *end.split('/').collect::<Vec<_>>() else { panic!("{end}") };
        assert!(covers(by, phase, cause), "{end} is not explained");
    }
}

/// Every `"by/phase/cause"` in the sources of a folder.
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
    let ops = read(OPS);
    let rows = rows(section(&ops, "## CONNACK reasons"));
    let explains = |column: usize, code: &str, name: &str| {
        rows.iter().any(|row| {
            row[column].split(", ").any(|cell| cell == code) && words(row[0]).contains(&name)
        })
    };
    for code in 0..=u8::MAX {
        let name = reason::name(Version::V311, code);
        assert!(name == "unknown" || explains(1, &code.to_string(), name), "3.x: {code} {name}");
        let name = reason::name(Version::V5, code);
        // A broker without 5.0 may answer with codes of 3.x.
        let is_known = name == "unknown"
            || explains(2, &format!("{code:#04X}").replace("0X", "0x"), name)
            || explains(1, &code.to_string(), name);
        assert!(is_known, "5.0: {code:#x} {name}");
    }
}

/// The running kernel has each setting, except those of modules that are not loaded.
#[test]
fn settings_of_the_kernel_exist() {
    let ops = read(OPS);
    let mut found = 0;
    for name in rows(section(&ops, "## Kernel settings")).iter().flat_map(|row| words(row[0])) {
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
