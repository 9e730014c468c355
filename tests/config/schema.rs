//! The JSON schema that editors use: it is the one that is shipped, it agrees with what is read, and
//! every configuration that is shipped is valid by it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use jsonschema::Validator;
use mqtt_lb::testing::config;
use serde_json::{Value, json};

use crate::{SMALLEST, example, parse};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn validator() -> Validator {
    jsonschema::validator_for(&config::json_schema()).unwrap()
}

#[track_caller]
fn assert_valid(name: &str, config: &Value) {
    let wrong: Vec<_> = validator()
        .iter_errors(config)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(wrong.is_empty(), "{name}: {wrong:#?}");
}

fn yaml(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap_or_else(|error| panic!("{error} in:\n{text}"))
}

/// `mqtt-lb schema > deploy/config.schema.json` renews it.
#[test]
fn the_shipped_schema_is_the_current_one() {
    let shipped = fs::read_to_string(root().join("deploy/config.schema.json")).unwrap();
    assert!(shipped == format!("{:#}\n", config::json_schema()), "renew deploy/config.schema.json");
    let schema = config::json_schema();
    let meta = jsonschema::meta::validate(&schema);
    assert!(meta.is_ok(), "{:?}", meta.err());
}

#[test]
fn the_example_is_valid_with_and_without_its_commented_keys() {
    assert_valid("example", &yaml(example::EXAMPLE));
    assert_valid("example, uncommented", &yaml(&example::uncommented().1));
    assert_valid("smallest", &yaml(SMALLEST));
}

/// Every document under `deploy/` that is a configuration, or has one inside.
#[test]
fn deployed_configurations_are_valid() {
    let mut found = Vec::new();
    let mut folders = vec![root().join("deploy")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                found.extend(configurations(&path));
            }
        }
    }
    let names: Vec<&str> = found.iter().map(|(name, _)| &**name).collect();
    for name in ["deploy/debian", "deploy/docker", "deploy/kubernetes", "deploy/helm"] {
        assert!(names.iter().any(|found| found.starts_with(name)), "none in {name}: {names:?}");
    }
    for (name, config) in &found {
        assert_valid(name, config);
    }
}

fn configurations(path: &Path) -> Vec<(String, Value)> {
    let name = path.strip_prefix(root()).unwrap().display().to_string();
    let text = fs::read_to_string(path).unwrap();
    if text.contains("{{") {
        // A template, which is no YAML; what it makes of values.yaml is that file's `config`.
        return Vec::new();
    }
    let mut found = Vec::new();
    for document in text.split("\n---\n") {
        let document: Value = yaml(document);
        let config = match &document {
            _ if document.get("listeners").is_some() => Some(document.clone()),
            _ if document["config"].get("listeners").is_some() => Some(document["config"].clone()),
            _ => document["data"]["config.yaml"].as_str().map(yaml),
        };
        found.extend(config.map(|config| (name.clone(), config)));
    }
    found
}

/// What one of them refuses, the other does, too, but for what a schema cannot say.
#[test]
fn the_schema_and_the_reader_agree() {
    let validator = validator();
    for (section, value, is_good) in [
        ("limits", json!({ "max_connections": 7 }), true),
        ("limits", json!({ "max_connections": "${MAX:-7}" }), true),
        ("limits", json!({ "max_connections": "7" }), false),
        ("limits", json!({ "max_connections": -7 }), false),
        ("limits", json!({ "max_connection": 7 }), false),
        ("limits", json!({ "connect_packet": 512 }), true),
        ("limits", json!({ "connect_packet": "64KB" }), false),
        ("limits", json!({ "connect_packet": null }), true),
        ("limits", Value::Null, true),
        ("limits", json!([]), false),
        ("timeouts", json!({ "idle": "none" }), true),
        ("timeouts", json!({ "idle": "10s" }), true),
        ("timeouts", json!({ "idle": "10 s" }), false),
        ("timeouts", json!({ "idle": 10 }), false),
        ("timeouts", json!({ "tcp_keepalive": "20s" }), true),
        ("timeouts", json!({ "tcp_keepalive": { "idle": "20s", "count": 2 } }), true),
        ("timeouts", json!({ "tcp_keepalive": { "idle": "20s", "counts": 2 } }), false),
        ("log", json!({ "level": "debug" }), true),
        ("log", json!({ "level": "${LEVEL:-debug}" }), true),
        ("log", json!({ "level": "loud" }), false),
        ("access_log", json!([{ "stdout": true, "events": ["reject"] }]), true),
        ("access_log", json!([{ "events": ["reject"] }]), false),
        ("access_log", json!([{ "stdout": true, "path": "/dev/x" }]), false),
        ("access_log", json!([{ "stdout": true, "events": [] }]), false),
        ("x-anything", json!({ "a": 1 }), true),
        ("anything", json!({ "a": 1 }), false),
    ] {
        let mut config = yaml(SMALLEST);
        config[section] = value;
        let read = parse(&config.to_string());
        assert_eq!(read.is_ok(), is_good, "{config}\n{read:?}");
        assert_eq!(validator.is_valid(&config), is_good, "{config}");
    }
    for (health, is_good) in [
        (json!({ "type": "tcp" }), true),
        (json!({ "type": "tcp", "port": 1 }), false),
        (json!({ "type": "mqtt", "expect": [0, 5] }), true),
        (json!({ "type": "mqtt", "path": "/" }), false),
        (json!({ "type": "http", "port": 1, "path": "/" }), true),
        (json!({ "type": "http" }), false),
        (json!({ "interval": "1s" }), false),
    ] {
        let mut config = yaml(SMALLEST);
        config["pools"][0]["health"] = json!({ "active": health });
        assert_eq!(parse(&config.to_string()).is_ok(), is_good, "{config}");
        assert_eq!(validator.is_valid(&config), is_good, "{config}");
    }
}
