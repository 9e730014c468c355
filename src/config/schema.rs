//! The JSON schema of the file, for editors and for the manual.

use serde_json::{Map, Value, json};

use super::raw::{self, KEYS_OF_OTHER_TYPES};

const VARIABLE: &str = "Variable";

/// The schema of a configuration file, in JSON Schema 2020-12.
///
/// A property has its `description`, its `default`, and in `anyOf` its type, a text with environment
/// variables unless its type is any string, and null unless it is required.
pub fn json_schema() -> Value {
    let mut root = schemars::schema_for!(raw::Config).to_value();
    let mut definitions = match root.get_mut("$defs").map(Value::take) {
        Some(Value::Object(definitions)) => definitions,
        _ => Map::new(),
    };
    let is_section: Vec<String> = definitions
        .iter()
        .filter(|(_, definition)| definition.get("properties").is_some())
        .map(|(name, _)| format!("#/$defs/{name}"))
        .collect();
    for definition in definitions.values_mut() {
        widen_properties(definition, &is_section);
        if let Some(definition) = definition.as_object_mut() {
            add_numbers(definition);
        }
    }
    widen_properties(&mut root, &is_section);
    relations(&mut definitions);
    add_claims(&mut definitions);
    definitions.insert(
        VARIABLE.to_owned(),
        json!({
            "type": "string",
            "pattern": "\\$\\{",
            "description": "A value with environment variables: ${NAME}, or ${NAME:-default} for a \
                            default where that is unset or empty.",
        }),
    );
    root["title"] = "The configuration of mqtt-lb".into();
    // For anchors that other sections use.
    root["patternProperties"] = json!({ "^x-": true });
    root["$defs"] = definitions.into();
    root
}

fn widen_properties(section: &mut Value, sections: &[String]) {
    let required = section.get("required").cloned().unwrap_or_default();
    let is_required =
        |key: &str| required.as_array().is_some_and(|all| all.iter().any(|one| one == key));
    let Some(properties) = section.get_mut("properties").and_then(Value::as_object_mut) else {
        return;
    };
    for (key, property) in properties {
        widen(property, !is_required(key), sections);
    }
}

/// Lets a property be what the file can have in its place.
fn widen(property: &mut Value, nullable: bool, sections: &[String]) {
    let Some(schema) = property.as_object_mut() else { return };
    let mut widened = Map::new();
    if let Some(Value::String(text)) = schema.remove("description") {
        // The comment of the key, whose lines are as long as those of this program.
        widened.insert("description".to_owned(), text.replace('\n', " ").into());
    }
    let default = schema.remove("default").filter(|value| !value.is_null()).map(without_nulls);
    widened.extend(default.map(|value| ("default".to_owned(), value)));
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = &types[..] {
            schema["type"] = only.clone();
        }
    }
    if let Some(items) = schema.get_mut("items") {
        widen(items, false, sections);
    }
    let mut alternatives = match schema.remove("anyOf") {
        Some(Value::Array(alternatives)) => alternatives,
        _ => vec![Value::Object(std::mem::take(schema))],
    };
    alternatives.retain(|schema| schema["type"] != "null");
    if !alternatives.iter().any(|schema| takes_any_text(schema, sections)) {
        alternatives.push(json!({ "$ref": format!("#/$defs/{VARIABLE}") }));
    }
    if nullable {
        alternatives.push(json!({ "type": "null" }));
    }
    match alternatives.pop() {
        Some(Value::Object(only)) if alternatives.is_empty() => widened.extend(only),
        last => {
            alternatives.extend(last);
            widened.insert("anyOf".to_owned(), alternatives.into());
        }
    }
    *schema = widened;
}

/// An absent key is left out of the default of its section.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(entries) => {
            let entries = entries.into_iter().filter(|(_, value)| !value.is_null());
            entries.map(|(key, value)| (key, without_nulls(value))).collect()
        }
        value => value,
    }
}

/// Versions are words that YAML takes for numbers.
fn add_numbers(schema: &mut Map<String, Value>) {
    let Some(Value::Array(words)) = schema.get_mut("enum") else { return };
    let numbers = words.iter().filter_map(|word| word.as_str()?.parse::<f64>().ok());
    let numbers: Vec<Value> = numbers.map(Value::from).collect();
    if !numbers.is_empty() {
        words.extend(numbers);
        schema.remove("type");
    }
}

/// Whether a text with variables is valid without more, or has no place here.
fn takes_any_text(schema: &Value, sections: &[String]) -> bool {
    let is_section = schema["$ref"].as_str().is_some_and(|name| sections.iter().any(|s| s == name));
    let is_plain =
        ["pattern", "enum", "const", "maxLength"].iter().all(|key| schema.get(key).is_none());
    is_section || schema["type"] == "array" || (schema["type"] == "string" && is_plain)
}

/// Conditions on the claims of tokens, which have any name, are as those on other texts.
fn add_claims(definitions: &mut Map<String, Value>) {
    if let Some(when) = definitions.get_mut("When") {
        let mut claim = when["properties"]["username"].clone();
        // The title names the keys in the manual page.
        claim["title"] = "jwt.CLAIM".into();
        claim["description"] = "A claim of the client's token, such as jwt.tenant: a string, a number or a Boolean; jwt.device.id is `id` inside the object `device`.".into();
        when["patternProperties"] = json!({ "^jwt\\..": claim });
    }
}

/// What keys of a section have to do with each other, kept apart from its properties.
fn relations(definitions: &mut Map<String, Value>) {
    let when =
        |kind: &str| json!({ "properties": { "type": { "const": kind } }, "required": ["type"] });
    let mut add = |section: &str, condition: Value, consequence: Value| {
        if let Some(definition) = definitions.get_mut(section).and_then(Value::as_object_mut) {
            definition.insert("if".to_owned(), condition);
            definition.insert("then".to_owned(), consequence);
        }
    };
    let mut by_type = vec![json!({ "if": when("http"), "then": { "required": ["port"] } })];
    for (_, kind, keys) in KEYS_OF_OTHER_TYPES {
        let absent: Map<String, Value> =
            keys.iter().map(|key| ((*key).to_owned(), false.into())).collect();
        by_type.push(json!({ "if": when(kind), "then": { "properties": absent } }));
    }
    let of = |keys: &[&str]| -> Value {
        keys.iter().map(|key| json!({ "required": [key] })).collect::<Vec<_>>().into()
    };
    add("Active", true.into(), json!({ "allOf": by_type }));
    add("Discover", when("a"), json!({ "required": ["port"] }));
    add("Pool", true.into(), json!({ "anyOf": of(&["upstreams", "discover"]) }));
    add("AccessLog", true.into(), json!({ "oneOf": of(&["path", "stdout", "syslog"]) }));
    let passthrough =
        json!({ "properties": { "mode": { "const": "passthrough" } }, "required": ["mode"] });
    let certificates = json!({ "required": ["certificates"] });
    add("ListenerTls", true.into(), json!({ "anyOf": [certificates, passthrough] }));
    add("Rotate", true.into(), json!({ "anyOf": of(&["size", "age"]) }));
}
