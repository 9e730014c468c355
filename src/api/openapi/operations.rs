//! What the admin listener serves.

use schemars::SchemaGenerator;
use serde_json::{Value, json};

use super::{
    client_operations::{bans, sessions},
    operation::{Operation, path, query, required},
};
use crate::api::{
    error::Error,
    log::Log,
    reload::Applied,
    route::Routes,
    rules::{Rule, RuleChange, Rules},
    status::Status,
    upgrade::Upgraded,
    upstreams::{Change, Pools, Upstream},
};

/// All operations, in the order of the manual.
pub(super) fn operations(schemas: &mut SchemaGenerator) -> Vec<Operation> {
    // Every operation's errors refer to it.
    schemas.subschema_for::<Error>();
    [
        proxy(schemas),
        brokers(schemas),
        rules(schemas),
        route(schemas),
        sessions(schemas),
        bans(schemas),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn proxy(schemas: &mut SchemaGenerator) -> Vec<Operation> {
    let operation = |method, path, id, summary| Operation::new(method, path, id, "proxy", summary);
    let get = |path, id, summary| operation("get", path, id, summary);
    vec![
        get("/livez", "livez", "Whether the process responds at all").open().shared(200, "Text"),
        get("/readyz", "readyz", "Whether the proxy should get new connections")
            .open()
            .shared(200, "Text")
            .shared(503, "Text"),
        get("/metrics", "metrics", "The metrics, for Prometheus")
            .shared(200, "Text")
            .shared(503, "Unavailable"),
        get("/api/v1/status", "status", "The proxy as a whole")
            .answers("Its state now.", &schemas.subschema_for::<Status>())
            .shared(400, "BadRequest")
            .shared(503, "Unavailable"),
        get("/api/v1/config", "config", "The configuration in force, with every default")
            .response(
                200,
                json!({
                    "description": "YAML that reads back as the same configuration. Secrets are \
                        the names of their files, and environment variables are as written in \
                        the file.",
                    "content": { "application/yaml": { "schema": { "type": "object" } } },
                }),
            )
            .shared(400, "BadRequest")
            .shared(503, "Unavailable"),
        get("/api/v1/log", "log", "The last lines of the program log, at most 500")
            .parameter(query(
                "after",
                "Only lines with a higher number.",
                &json!({ "type": "integer", "minimum": 0, "maximum": u64::MAX }),
            ))
            .answers("The lines after that number.", &schemas.subschema_for::<Log>())
            .link("later", "log", &json!({ "after": "$response.body#/last" }))
            .shared(400, "BadRequest")
            .shared(503, "Unavailable"),
        reload(schemas),
        upgrade(schemas),
        get("/api/v1/openapi.json", "openapi", "This document").response(
            200,
            json!({
                "description": "OpenAPI 3.1.",
                "content": { "application/json": { "schema": { "type": "object" } } },
            }),
        ),
    ]
}

fn reload(schemas: &mut SchemaGenerator) -> Operation {
    Operation::new("post", "/api/v1/reload", "reload", "proxy", "Reload the configuration")
        .answers("The file's configuration is in force.", &schemas.subschema_for::<Applied>())
        .shared(400, "BadRequest")
        .error(409, "Another reload is in progress, or the proxy is shutting down.")
        .error(422, "The configuration is invalid; nothing has changed.")
        .shared(503, "Unavailable")
}

fn upgrade(schemas: &mut SchemaGenerator) -> Operation {
    Operation::new("post", "/api/v1/upgrade", "upgrade", "proxy", "Upgrade to another process")
        .parameter(query(
            "binary",
            "The program of the new process, an absolute path; by default the one that this \
                 process was started by.",
            &json!({ "type": "string" }),
        ))
        .answers("The new process accepts.", &schemas.subschema_for::<Upgraded>())
        .shared(400, "BadRequest")
        .error(409, "An upgrade or a reload is in progress, or the proxy is shutting down.")
        .error(422, "The upgrade failed; this process carries on as before.")
        .shared(503, "Unavailable")
}

fn brokers(schemas: &mut SchemaGenerator) -> Vec<Operation> {
    let operation =
        |method, path, id, summary| Operation::new(method, path, id, "brokers", summary);
    vec![
        operation("get", "/api/v1/upstreams", "upstreams", "All brokers")
            .answers("The brokers by pool.", &schemas.subschema_for::<Pools>())
            .link(
                "change",
                "change",
                &json!({
                    "pool": "$response.body#/pools/0/name",
                    "name": "$response.body#/pools/0/upstreams/0/name",
                }),
            )
            .shared(400, "BadRequest")
            .shared(503, "Unavailable"),
        operation(
            "patch",
            "/api/v1/pools/{pool}/upstreams/{name}",
            "change",
            "Set a broker's state or weight",
        )
        .parameter(path("pool", &json!({ "type": "string", "minLength": 1 })))
        .parameter(path("name", &json!({ "type": "string", "minLength": 1 })))
        .body(
            &schemas.subschema_for::<Change>(),
            &json!({
                "drain": { "value": { "state": "drain" } },
                "lighter": { "value": { "weight": 1 } },
            }),
        )
        .answers("The broker now.", &schemas.subschema_for::<Upstream>())
        .shared(400, "BadRequest")
        .shared(404, "NotFound")
        .error(408, "The body did not arrive within 5 s.")
        .error(413, "The body is longer than 64 KiB.")
        .error(415, "The Content-Type is not application/json."),
    ]
}

fn rules(schemas: &mut SchemaGenerator) -> Vec<Operation> {
    let operation = |method, path, id, summary| Operation::new(method, path, id, "rules", summary);
    let name = json!({ "type": "string", "minLength": 1 });
    let parameters = json!({
        "listener": "$response.body#/listeners/0/listener",
        "name": "$response.body#/listeners/0/rules/0/name",
    });
    vec![
        operation("get", "/api/v1/rules", "rules", "The rules of all listeners")
            .answers("The rules by listener.", &schemas.subschema_for::<Rules>())
            .link("change", "change_rule", &parameters)
            .shared(400, "BadRequest")
            .shared(503, "Unavailable"),
        operation(
            "patch",
            "/api/v1/listeners/{listener}/rules/{name}",
            "change_rule",
            "Set the share of clients of a rule",
        )
        .parameter(path("listener", &name))
        .parameter(path("name", &name))
        .body(
            &schemas.subschema_for::<RuleChange>(),
            &json!({
                "fifth": { "value": { "percent": 20 } },
                "configured": { "value": { "percent": null } },
            }),
        )
        .answers("The rule now.", &schemas.subschema_for::<Rule>())
        .shared(400, "BadRequest")
        .shared(404, "NotFound")
        .error(408, "The body did not arrive within 5 s.")
        .error(413, "The body is longer than 64 KiB.")
        .error(415, "The Content-Type is not application/json."),
    ]
}

fn route(schemas: &mut SchemaGenerator) -> Vec<Operation> {
    let text = json!({ "type": "string" });
    let flag = json!({ "type": "boolean" });
    let summary = "Where a client would go now, and where it is";
    vec![
        Operation::new("get", "/api/v1/route", "route", "sessions", summary)
            .parameter(required(query("client_id", "May be empty.", &text)))
            .parameter(query("username", "For pools whose key has it.", &text))
            .parameter(query(
                "source",
                "The client's IP address, for pools whose key has it.",
                &json!({
                    "type": "string",
                    "anyOf": [{ "format": "ipv4" }, { "format": "ipv6" }],
                    "default": "127.0.0.1",
                }),
            ))
            .parameter(query(
                "tls_cn",
                "The common name of its certificate, for pools whose key has it.",
                &text,
            ))
            .parameter(query(
                "sni",
                "The server name that it sends in TLS, for pools whose key has it.",
                &text,
            ))
            .parameter(query(
                "listener",
                "The listener that the client connects to: its rules and its `rewrite` are applied. \
                 Not with `pool`.",
                &text,
            ))
            .parameter(query("path", "The path of its WebSocket request, for rules.", &text))
            .parameter(query(
                "tls_san_dns",
                "A DNS name of its certificate, for pools whose key has it and for rules.",
                &text,
            ))
            .parameter(query(
                "tls_san_uri",
                "A URI of its certificate, for pools whose key has it and for rules.",
                &text,
            ))
            .parameter(query(
                "protocol_version",
                "The protocol level, for pools whose key has it and for rules.",
                &json!({ "type": "integer", "minimum": 3, "maximum": 5 }),
            ))
            .parameter(query("clean_start", "For rules.", &flag))
            .parameter(query("has_password", "For rules.", &flag))
            .parameter(query("will", "For rules.", &flag))
            .parameter(given_variables())
            .parameter(query("pool", "Only this pool.", &text))
            .answers("The brokers by pool.", &schemas.subschema_for::<Routes>())
            .shared(400, "BadRequest")
            .shared(404, "NotFound")
            .shared(503, "Unavailable"),
    ]
}

/// The parameter for variables that have none of their own.
fn given_variables() -> Value {
    query(
        "var",
        "A value for another variable of a key or of a rule, as NAME=VALUE; repeatable.",
        &json!({
            "type": "array",
            "items": { "type": "string", "pattern": "^[^=]+=" },
            "examples": [["jwt.tenant=acme"]],
        }),
    )
}
