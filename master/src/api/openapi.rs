//! `GET /-/openapi.json`: what the client port can be asked, for programs.
//!
//! Made from the table of routes. Owns what that leaves out: the types of parameters, header fields, bodies and answers,
//! by name. Invariant: whatever the table names has its description here; a test looks.

use std::sync::OnceLock;

use axum::response::Response;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::routes::{Answer, Holds, OPERATIONS, Operation, OperationId};
use super::system::{json_answer, json_text};

pub(super) fn answer() -> Response {
    static TEXT: OnceLock<Vec<u8>> = OnceLock::new();
    json_answer(TEXT.get_or_init(|| json_text(&document())).as_slice())
}

fn document() -> Value {
    let mut paths = Map::new();
    for operation in &OPERATIONS {
        for path in described_paths(operation) {
            let at = paths.entry(path).or_insert_with(|| json!({}));
            for method in described_methods(operation) {
                let described = described(operation, path, &method);
                merge(&mut at[method], described, operation.listing().unwrap_or_default());
            }
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Hayrick",
            "summary": "A distributed store for billions of small files: the client port of any master.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "paths": paths,
        "components": { "schemas": schemas() },
    })
}

/// A prefix may be empty, which OpenAPI lets no part of a path be.
fn described_paths(operation: &Operation) -> impl Iterator<Item = &'static str> {
    [operation.template()].into_iter().chain(operation.listing().map(|_| "/"))
}

/// Those that OpenAPI knows.
fn described_methods(operation: &Operation) -> impl Iterator<Item = String> {
    operation.methods.split(", ").filter(|method| *method != "UNLINK").map(str::to_lowercase)
}

/// Adds an operation to another with the same path and method: a read and a listing are told apart by a parameter.
fn merge(there: &mut Value, new: Value, listing: &str) {
    if there.is_null() {
        *there = new;
        return;
    }
    let summary = format!("{}. With {listing}: {}", text(there, "summary"), text(&new, "summary"));
    there["summary"] = summary.into();
    let Value::Array(parameters) = new["parameters"].clone() else { return };
    for parameter in parameters {
        let all = there["parameters"].as_array_mut().expect("every operation has a list of them");
        if !all.contains(&parameter) {
            all.push(parameter);
        }
    }
    let Value::Object(answers) = new["responses"].clone() else { return };
    for (status, answer) in answers {
        let same = &mut there["responses"][&status];
        match (&mut same["content"], &answer["content"]) {
            (Value::Object(kinds), Value::Object(others)) => {
                let any = kinds.contains_key("*/*");
                // An object may be of any type, that of the other answer too.
                kinds.extend(others.iter().map(|(kind, held)| {
                    let schema =
                        if any { json!({ "anyOf": [held["schema"], {}] }) } else { held["schema"].clone() };
                    (kind.clone(), json!({ "schema": schema }))
                }));
            }
            _ => *same = answer,
        }
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn described(operation: &Operation, path: &str, method: &str) -> Value {
    let mut parameters = Vec::new();
    if let Some(name) = ["key", "id"].into_iter().find(|name| path.contains(&format!("{{{name}}}"))) {
        parameters.push(in_path(name));
    }
    // What a health check adds is heeded by nobody.
    parameters.extend(operation.takes.iter().filter(|name| **name != "*").map(|name| in_query(name)));
    parameters.extend(fields(operation.id).iter().map(|(name, what)| {
        json!({ "name": name, "in": "header", "required": false, "description": what, "schema": { "type": "string" } })
    }));
    let mut answers = Map::new();
    for Answer(status, holds, when) in EVERYWHERE.iter().chain(operation.answers) {
        answers.insert(status.to_string(), held(*status, *holds, when));
    }
    // Each has one of its own.
    let head = if method == "head" { "Head" } else { "" };
    let mut described = json!({
        "operationId": format!("{head}{:?}", operation.id),
        "summary": operation.summary,
        "parameters": parameters,
        "responses": answers,
    });
    if let Some(body) = body(operation.id) {
        described["requestBody"] = body;
    }
    described
}

/// What any request may be answered.
const EVERYWHERE: &[Answer] = &[
    Answer(400, Holds::Problem, "it is no HTTP/1.1: it has no Host, or two"),
    Answer(408, Holds::Problem, "the head was not complete after 10 s"),
    Answer(414, Holds::Problem, "the target is longer than 8 KiB"),
    Answer(431, Holds::Problem, "the head has more than 32 KiB or 100 fields"),
    Answer(501, Holds::Problem, "a Transfer-Encoding other than chunked"),
];

fn held(status: u16, holds: Holds, when: &str) -> Value {
    let of = |name: &str| json!({ "schema": { "$ref": format!("#/components/schemas/{name}") } });
    let string = || json!({ "schema": { "type": "string" } });
    let content = match holds {
        Holds::Nothing => return json!({ "description": when }),
        Holds::Object => json!({ "*/*": {} }),
        Holds::Bytes => json!({ "application/octet-stream": {} }),
        Holds::Text => json!({ "text/plain": string() }),
        Holds::Json(name) => json!({ "application/json": of(name) }),
        Holds::JsonOrText(name) => json!({ "application/json": of(name), "text/plain": string() }),
        Holds::Lines(_) => json!({ "application/x-ndjson": string() }),
        Holds::Problem => json!({ "text/plain": string(), "application/problem+json": of("Problem") }),
    };
    let mut answer = json!({ "description": when, "content": content });
    if matches!(
        StatusCode::from_u16(status),
        Ok(StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS)
    ) {
        answer["headers"] = json!({
            "Retry-After": { "description": "seconds", "schema": { "type": "integer" } },
        });
    }
    answer
}

fn in_path(name: &str) -> Value {
    let (what, schema) = match name {
        "key" => (
            "1 to 1024 bytes of UTF-8, percent-encoded; a / in it stands for itself. No control characters, no segment \
             . or .., not beginning with -/. With list a prefix of keys",
            json!({ "type": "string", "minLength": 1, "maxLength": 1024 }),
        ),
        _ => ("an id, from 1", json!({ "type": "integer", "minimum": 1, "maximum": u32::MAX })),
    };
    json!({ "name": name, "in": "path", "required": true, "description": what, "schema": schema })
}

fn in_query(name: &str) -> Value {
    let switch = || json!({ "type": "string", "enum": [""] });
    let (what, schema) = match name {
        "list" => ("list keys instead of reading an object", json!({ "type": "string" })),
        "unlinked" => ("list what was deleted and can be brought back", json!({ "type": "string" })),
        "limit" => (
            "of a list: keys and prefixes of a page, at most",
            json!({ "type": "integer", "minimum": 1, "maximum": 10_000, "default": 1000 }),
        ),
        "start" => ("of a list: begin with this key, itself included", json!({ "type": "string" })),
        "delimiter" => (
            "of a list: show what goes on alike up to this as one prefix",
            json!({ "type": "string", "minLength": 1, "maxLength": 1024 }),
        ),
        "detail" => ("of a list: show objects instead of names", switch()),
        "consistency" => (
            "stale reads what this master knows, without asking whether it is the newest",
            json!({ "type": "string", "enum": ["linearizable", "stale"], "default": "linearizable" }),
        ),
        "redirect" => ("redirect to a volume that holds the bytes", switch()),
        "state-hash" => ("with a hash of the whole state, which equal states share", switch()),
        "without" => ("the id of a volume to think away", json!({ "type": "integer", "minimum": 1 })),
        "deep" => ("read and verify every byte", switch()),
        "dry-run" => ("only say what would be done", switch()),
        "stop" => ("stop moving", switch()),
        _ => unreachable!("{name} has no description"),
    };
    json!({
        "name": name, "in": "query", "required": false, "description": what, "schema": schema, "allowEmptyValue": true,
    })
}

/// The header fields that an operation heeds.
fn fields(operation: OperationId) -> &'static [(&'static str, &'static str)] {
    match operation {
        OperationId::Put => &[
            ("If-Match", "only if the object has one of these ETags; * if there is any"),
            ("If-None-Match", "* only: if there is no object"),
            ("Content-MD5", "verified (RFC 1864)"),
            ("Content-Digest", "verified (RFC 9530: sha-256, md5)"),
            ("Repr-Digest", "verified (RFC 9530: sha-256, md5)"),
            ("Content-Encoding", "kept and returned"),
            ("Content-Disposition", "kept and returned"),
            ("Content-Language", "kept and returned"),
            ("Cache-Control", "kept and returned"),
            ("Expires", "kept and returned"),
            ("Hayrick-Meta-Any", "kept and returned, as any field that begins with Hayrick-Meta-"),
        ],
        OperationId::Read => &[
            ("Range", "one range of bytes (RFC 9110); of several the whole is sent"),
            ("If-Range", "the range only if the object has this ETag; else the whole"),
            ("If-Match", "RFC 9110"),
            ("If-None-Match", "RFC 9110"),
            ("If-Modified-Since", "RFC 9110"),
            ("If-Unmodified-Since", "RFC 9110"),
            ("Want-Repr-Digest", "answer Repr-Digest (RFC 9530: sha-256 up to 1 MiB, md5)"),
        ],
        OperationId::Delete => &[("If-Match", "only if the object has one of these ETags")],
        _ => &[],
    }
}

fn body(operation: OperationId) -> Option<Value> {
    let content = match operation {
        OperationId::Put => json!({ "*/*": { "schema": { "type": "string", "format": "binary" } } }),
        OperationId::DeleteList => json!({ "application/json": { "schema": {
            "type": "array", "maxItems": 1000, "items": { "type": "string" },
        } } }),
        OperationId::SetMoveRate => json!({ "text/plain": { "schema": { "type": "string" } } }),
        OperationId::AddMaster => json!({ "application/json": { "schema": {
            "type": "object", "required": ["id", "peer"], "additionalProperties": false,
            "properties": { "id": { "type": "integer", "minimum": 1 }, "peer": { "type": "string" } },
        } } }),
        _ => return None,
    };
    Some(json!({ "required": true, "content": content }))
}

fn schemas() -> Value {
    let string = || json!({ "type": "string" });
    let number = || json!({ "type": "integer", "minimum": 0 });
    let any = |what: &str| json!({ "type": "object", "description": what });
    json!({
        "Problem": {
            "type": "object", "description": "RFC 9457", "required": ["type", "title", "status", "detail"],
            "properties": { "type": string(), "title": string(), "status": number(), "detail": string() },
        },
        "Page": {
            "type": "object", "required": ["next", "keys"],
            "properties": {
                "next": { "type": "string", "description": "the first key not shown, for start=; empty at the end" },
                "keys": { "type": "array", "items": { "anyOf": [
                    string(),
                    {
                        "type": "object", "required": ["key", "size", "etag", "modified", "content_type"],
                        "properties": {
                            "key": string(), "size": number(), "etag": string(),
                            "modified": { "type": "string", "format": "date-time" }, "content_type": string(),
                        },
                    },
                ] } },
                "prefixes": { "type": "array", "items": string() },
            },
        },
        "Deleted": { "type": "array", "items": {
            "type": "object", "required": ["key", "status"],
            "properties": { "key": string(), "status": number(), "detail": string() },
        } },
        "Status": status(),
        "MoveRate": {
            "type": "object", "required": ["bytes_per_s", "default"],
            "properties": { "bytes_per_s": number(), "default": { "type": "boolean" } },
        },
        "Moves": {
            "type": "object", "required": ["placements", "needles", "bytes", "minutes"],
            "properties": { "placements": number(), "needles": number(), "bytes": number(), "minutes": number() },
        },
        "VolumeChange": {
            "type": "object", "required": ["volume", "changes", "placements", "needles", "bytes", "minutes"],
            "properties": {
                "volume": number(), "changes": { "type": "boolean" }, "placements": number(), "needles": number(),
                "bytes": number(), "minutes": number(),
            },
        },
        "Explanation": any("hash, partition, placement, members, copies, and what would change"),
        "OpenApi": any("OpenAPI 3.1"),
    })
}

/// What others may rely on; there is more in it.
fn status() -> Value {
    let string = || json!({ "type": "string" });
    let number = || json!({ "type": "integer", "minimum": 0 });
    let or_null = || json!({ "type": ["integer", "null"], "minimum": 0 });
    let object = |properties: Value| {
        let required: Vec<&String> =
            properties.as_object().into_iter().flatten().map(|(name, _)| name).collect();
        json!({ "type": "object", "required": required, "properties": properties })
    };
    let list = |items: Value| json!({ "type": "array", "items": items });
    let state = json!({ "enum": ["up", "suspect", "down", "full", "read-only", "draining", "removed"] });
    let role = json!({ "enum": ["leader", "follower", "learner", "unreachable"] });
    object(json!({
        "cluster": string(), "node": number(), "version": string(), "leader": or_null(), "term": number(),
        "committed": number(), "applied": number(), "replicas": number(), "min_replicas": number(),
        "partitions": number(), "objects": number(), "object_bytes": number(),
        "masters": list(object(json!({
            "id": number(), "peer": string(), "client": string(), "role": role, "lag": or_null(), "seen_ms": or_null(),
            "reached_ms": or_null(),
        }))),
        "volumes": list(object(json!({
            "id": number(), "addr": string(), "peer": string(), "state": state, "zone": string(), "capacity": number(),
            "used": number(), "free": number(), "needles": number(), "bad": number(), "seen_ms": or_null(),
        }))),
        "copies": { "type": "object", "additionalProperties": number(), "description": "objects by how many copies they have" },
        "under_replicated": number(),
        "garbage": object(json!({ "needles": number(), "bytes": number() })),
        "orphans": object(json!({ "bytes": number() })),
        "moves": list(object(json!({
            "kind": string(), "placement": number(), "from": or_null(), "to": number(), "done": number(), "total": number(),
            "bytes_per_s": number(), "eta_ms": or_null(),
        }))),
        "waiting": list(string()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_an_id_of_its_own_and_all_keys_can_be_listed() {
        let document = document();
        let paths = document["paths"].as_object().expect("paths");
        let operations = paths.values().flat_map(|path| path.as_object().expect("methods").values());
        let mut ids: Vec<_> = operations.map(|it| it["operationId"].as_str().expect("an id")).collect();
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all);
        let parameters = paths["/"]["get"]["parameters"].to_string();
        assert!(parameters.contains("\"list\"") && !parameters.contains("\"path\""), "{parameters}");
    }

    #[test]
    fn whatever_the_table_names_is_described() {
        let document = document();
        let mut names = Vec::new();
        for operation in &OPERATIONS {
            let path = &document["paths"][operation.template()];
            for method in described_methods(operation) {
                let described = &path[&method];
                for Answer(status, holds, _) in operation.answers {
                    assert!(
                        !described["responses"][status.to_string()].is_null(),
                        "{:?} {status}",
                        operation.id
                    );
                    if let Holds::Json(name) | Holds::JsonOrText(name) = holds {
                        names.push(*name);
                    }
                }
                let parameters = described["parameters"].as_array().expect("a list");
                for name in operation.takes.iter().filter(|name| **name != "*") {
                    assert!(parameters.iter().any(|it| it["name"] == **name), "{name} of {:?}", operation.id);
                }
            }
        }
        let schemas = document["components"]["schemas"].as_object().expect("schemas");
        let lacking: Vec<_> = names.iter().filter(|name| !schemas.contains_key(**name)).collect();
        assert!(lacking.is_empty(), "{lacking:?}");
        let unused: Vec<_> =
            schemas.keys().filter(|name| *name != "Problem" && !names.contains(&name.as_str())).collect();
        assert!(unused.is_empty(), "{unused:?}");
    }
}
