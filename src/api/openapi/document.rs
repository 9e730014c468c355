//! The document as a whole.

use schemars::{Schema, generate::SchemaSettings, transform::RecursiveTransform};
use serde_json::{Map, Value, json};

use super::{operation::error_content, operations::operations};

/// What clients have to know of all operations.
const DESCRIPTION: &str = "The admin API of a running mqtt-lb. Fields without a value are absent; \
    times are RFC 3339 in UTC. Fields may be added within version 1: clients ignore fields they do \
    not know. Queries are application/x-www-form-urlencoded: + is a space. Parameters that are not \
    listed are refused.";

/// The OpenAPI 3.1 document of the admin listener.
pub(crate) fn openapi() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let settings = settings.with_transform(RecursiveTransform(tidy));
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for operation in operations(&mut generator) {
        let (path, method) = (operation.path, operation.method);
        let item = paths.entry(path).or_insert_with(|| json!({}));
        item[method] = operation.into_json();
    }
    let schemas = generator.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "mqtt-lb",
            "version": "1",
            "description": DESCRIPTION,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "token": [] }],
        "tags": [{ "name": "proxy" }, { "name": "brokers" }, { "name": "rules" }, { "name": "sessions" }],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The content of admin.token_file, if the configuration has one.",
                },
            },
            "responses": responses(),
            "schemas": schemas,
        },
    })
}

/// The responses that several operations have.
fn responses() -> Value {
    let error = |description: &str| {
        json!({
            "description": description,
            "content": error_content(),
        })
    };
    let mut unauthorized = error("The bearer token is missing or wrong.");
    unauthorized["headers"] =
        json!({ "WWW-Authenticate": { "required": true, "schema": { "const": "Bearer" } } });
    json!({
        "Text": {
            "description": "Text for people, or for Prometheus.",
            "content": { "text/plain": { "schema": { "type": "string" } } },
        },
        "BadRequest": error("The request is invalid, such as a key that its body has twice; \
            nothing was done."),
        "Unauthorized": unauthorized,
        "Forbidden": error("The request may come from a web page of another site."),
        "NotFound": error("There is nothing of that name."),
        "Unavailable": error("A worker or the control thread did not answer in time, or responses \
            that clients have not read yet use all their memory. Ask again."),
    })
}

/// A field that may be absent is absent, and never null; a description is one line.
fn tidy(schema: &mut Schema) {
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = text.replace('\n', " ");
    }
    let required = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    let Some(Value::Object(properties)) = schema.get_mut("properties") else { return };
    for (name, property) in properties {
        if !required.contains(&Value::from(&**name)) {
            without_null(property);
        }
    }
}

fn without_null(property: &mut Value) {
    if let Some(Value::Array(types)) = property.get_mut("type") {
        types.retain(|one| one != "null");
        if let [one] = &**types {
            property["type"] = one.clone();
        }
    }
    if let Some(Value::Array(schemas)) = property.get_mut("anyOf") {
        schemas.retain(|one| one["type"] != "null");
        if let [one] = &**schemas {
            let mut only = one.clone();
            if let (Value::Object(only), Some(text)) = (&mut only, property.get("description")) {
                only.insert("description".to_owned(), text.clone());
            }
            *property = only;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `mqtt-lb openapi > deploy/openapi.json` brings the file up to date.
    #[test]
    fn the_file_is_up_to_date() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/openapi.json");
        let committed: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        assert_eq!(committed, openapi(), "run: mqtt-lb openapi > deploy/openapi.json");
    }
}
