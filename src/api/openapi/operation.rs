//! One operation: a method of a path.

use schemars::Schema;
use serde_json::{Map, Value, json};

pub(super) struct Operation {
    pub(super) path: &'static str,
    /// In lower case, as in the document.
    pub(super) method: &'static str,
    summary: &'static str,
    id: &'static str,
    tag: &'static str,
    parameters: Vec<Value>,
    body: Option<Value>,
    responses: Map<String, Value>,
    needs_token: bool,
}

impl Operation {
    pub(super) fn new(
        method: &'static str,
        path: &'static str,
        id: &'static str,
        tag: &'static str,
        summary: &'static str,
    ) -> Self {
        let (parameters, body, responses) = (Vec::new(), None, Map::new());
        Self { path, method, summary, id, tag, parameters, body, responses, needs_token: true }
    }

    /// Anybody may ask this, without a token and from any web page.
    pub(super) fn open(self) -> Self {
        Self { needs_token: false, ..self }
    }

    pub(super) fn parameter(mut self, parameter: Value) -> Self {
        self.parameters.push(parameter);
        self
    }

    pub(super) fn body(self, schema: &Schema, examples: &Value) -> Self {
        let content = json!({ "application/json": { "schema": schema, "examples": examples } });
        Self { body: Some(json!({ "required": true, "content": content })), ..self }
    }

    /// A response of JSON.
    pub(super) fn answers(self, description: &str, schema: &Schema) -> Self {
        let content = json!({ "application/json": { "schema": schema } });
        self.response(200, json!({ "description": description, "content": content }))
    }

    /// How another operation takes a value of the response.
    pub(super) fn link(mut self, name: &str, id: &str, parameters: &Value) -> Self {
        self.responses["200"]["links"][name] =
            json!({ "operationId": id, "parameters": parameters });
        self
    }

    /// A response with an error that only this operation has.
    pub(super) fn error(self, status: u16, description: &str) -> Self {
        self.response(status, json!({ "description": description, "content": error_content() }))
    }

    pub(super) fn response(mut self, status: u16, response: Value) -> Self {
        self.responses.insert(status.to_string(), response);
        self
    }

    /// A response that several operations have.
    pub(super) fn shared(self, status: u16, name: &str) -> Self {
        self.response(status, json!({ "$ref": format!("#/components/responses/{name}") }))
    }

    pub(super) fn into_json(self) -> Value {
        let operation = if self.needs_token {
            self.shared(401, "Unauthorized").shared(403, "Forbidden")
        } else {
            self
        };
        let mut json = json!({
            "summary": operation.summary,
            "operationId": operation.id,
            "tags": [operation.tag],
            "responses": operation.responses,
        });
        if !operation.parameters.is_empty() {
            json["parameters"] = operation.parameters.into();
        }
        if let Some(body) = operation.body {
            json["requestBody"] = body;
        }
        if !operation.needs_token {
            json["security"] = json!([]);
        }
        json
    }
}

/// The body of a response that says what is wrong.
pub(super) fn error_content() -> Value {
    json!({ "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } })
}

pub(super) fn query(name: &str, description: &str, schema: &Value) -> Value {
    json!({
        "name": name, "in": "query", "required": false,
        "description": description, "schema": schema,
    })
}

pub(super) fn path(name: &str, schema: &Value) -> Value {
    json!({ "name": name, "in": "path", "required": true, "schema": schema })
}

pub(super) fn required(mut parameter: Value) -> Value {
    parameter["required"] = true.into();
    parameter
}
