//! What the admin listener serves about clients: their sessions, and bans.

use schemars::SchemaGenerator;
use serde_json::json;

use super::operation::{Operation, path, query};
use crate::api::{
    bans::{BanPage, Banned, NewBans},
    duplicates::Duplicates,
    sessions::Sessions,
};

pub(super) fn sessions(schemas: &mut SchemaGenerator) -> Vec<Operation> {
    let operation =
        |method, path, id, summary| Operation::new(method, path, id, "sessions", summary);
    let text = json!({ "type": "string" });
    let ip = json!({ "type": "string", "anyOf": [{ "format": "ipv4" }, { "format": "ipv6" }] });
    let session_id = json!({
        "type": "string",
        "description": "16 hexadecimal digits, as in the access log.",
        "pattern": "^[0-9a-f]{16}$",
    });
    vec![
        operation("get", "/api/v1/sessions", "sessions", "The established sessions")
            .parameter(query(
                "client_id",
                "The client ID as sent, or as its broker assigned it. For one that was sent, the \
                 first page has all sessions, the newest in each pool first.",
                &text,
            ))
            .parameter(query("username", "Only sessions of this username.", &text))
            .parameter(query("sni", "Only sessions of this server name in TLS.", &text))
            .parameter(query("source", "Only sessions from this IP address.", &ip))
            .parameter(query("upstream", "Only sessions on this broker.", &text))
            .parameter(query("listener", "Only sessions of this listener.", &text))
            .parameter(query("pool", "Only sessions of this pool.", &text))
            .parameter(query(
                "limit",
                "The most sessions in the response.",
                &json!({
                    "type": "integer", "minimum": 1, "maximum": 1000, "default": 100,
                }),
            ))
            .parameter(query(
                "cursor",
                "`next` of the previous response.",
                &json!({
                    "type": "string", "pattern": "^[0-9a-f]{12}$",
                }),
            ))
            .answers("A page of the sessions that match.", &schemas.subschema_for::<Sessions>())
            .link("kick", "kick", &json!({ "id": "$response.body#/sessions/0/id" }))
            .link("next", "sessions", &json!({ "cursor": "$response.body#/next" }))
            .shared(400, "BadRequest")
            .shared(503, "Unavailable"),
        operation("get", "/api/v1/duplicates", "duplicates", "Client IDs that several devices use")
            .answers("The client IDs.", &schemas.subschema_for::<Duplicates>())
            .shared(400, "BadRequest")
            .shared(503, "Unavailable"),
        operation("delete", "/api/v1/sessions/{id}", "kick", "End a session")
            .parameter(path("id", &session_id))
            .response(204, json!({ "description": "It is ending; its end_cause is kicked." }))
            .shared(400, "BadRequest")
            .shared(404, "NotFound")
            .shared(503, "Unavailable"),
    ]
}

pub(super) fn bans(schemas: &mut SchemaGenerator) -> Vec<Operation> {
    let operation =
        |method, id, summary| Operation::new(method, "/api/v1/bans", id, "sessions", summary);
    let value = json!({ "type": "string", "minLength": 1 });
    vec![
        operation("get", "bans", "The bans in force")
            .parameter(query(
                "limit",
                "The most bans in the response. One with long texts has fewer.",
                &json!({ "type": "integer", "minimum": 1, "maximum": 1000, "default": 100 }),
            ))
            .parameter(query(
                "cursor",
                "`next` of the previous response.",
                &json!({ "type": "string", "pattern": "^[0-9a-f]{16}$" }),
            ))
            .answers("A page of the bans.", &schemas.subschema_for::<BanPage>())
            .link("next", "bans", &json!({ "cursor": "$response.body#/next" }))
            .shared(400, "BadRequest")
            .shared(503, "Unavailable"),
        operation("post", "ban", "Ban addresses, client IDs or usernames")
            .body(
                &schemas.subschema_for::<NewBans>(),
                &json!({
                    "one": { "value": { "bans": [
                        { "kind": "client_id", "value": "stolen", "for_s": 600, "comment": "lost" },
                    ] } },
                }),
            )
            .answers("They are in force.", &schemas.subschema_for::<Banned>())
            .shared(400, "BadRequest")
            .error(408, "The body did not arrive within 5 s.")
            .error(409, "There are as many bans by the operator as limits.max_bans.")
            .error(413, "The body is longer than 1 MiB.")
            .error(415, "The Content-Type is not application/json."),
        operation("delete", "unban", "End a ban, or all: one parameter is required")
            .parameter(query("ip", "The address or network, as it was banned.", &value))
            .parameter(query("client_id", "The client ID.", &value))
            .parameter(query("username", "The username.", &value))
            .parameter(query("all", "All bans.", &json!({ "type": "string", "enum": ["true"] })))
            .response(204, json!({ "description": "Ended." }))
            .shared(400, "BadRequest")
            .shared(404, "NotFound"),
    ]
}
