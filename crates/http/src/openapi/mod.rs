//! `/api/_openapi.json`: what this API is, for programs. OpenAPI 3.1.
//!
//! `table` has one entry an operation, and `schemas` the shapes. A test holds the table against the router both ways,
//! and another the committed `docs/openapi.json` against what is made here.

mod schemas;
mod table;

#[cfg(test)]
mod tests;

use std::sync::OnceLock;

use hyper::{Request, Response, StatusCode};
use serde_json::{Map, Value, json};

use crate::answer::{self, Stream};
use crate::endpoint::Endpoint;
use crate::incoming::Incoming;
use crate::problem::Problem;
use crate::query::Query;

/// Answers a request for the document.
pub(crate) fn answer(request: &Request<Incoming>) -> Result<Response<Stream>, Problem> {
    static TEXT: OnceLock<String> = OnceLock::new();
    Query::parse(request.uri().query(), &[])?;
    Ok(answer::json(StatusCode::OK, TEXT.get_or_init(text).as_str()))
}

/// The document as text, as it is committed and served.
pub fn text() -> String {
    let mut text = serde_json::to_string_pretty(&document()).unwrap_or_default();
    text.push('\n');
    text
}

/// One method of one route.
pub(crate) struct Operation {
    endpoint: Endpoint,
    method: &'static str,
    id: &'static str,
    summary: &'static str,
    query: &'static [Parameter],
    headers: &'static [Parameter],
    body: Option<Body>,
    answers: &'static [Answer],
}

/// A parameter of a query, a path or a header.
#[derive(Clone, Copy)]
pub(crate) struct Parameter {
    name: &'static str,
    kind: Kind,
    what: &'static str,
}

/// What a parameter can be.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// Text.
    Text,
    /// `true`, `1` or nothing; `false` or `0`.
    Switch,
    /// A whole number within bounds.
    Number(u64, u64),
    /// A time such as `2s` or `500ms`.
    Time,
    /// A time such as `500ms`, `30s`, `10m`, `24h` or `7d`, of 1 ms to 3,650 days.
    Span,
    /// 1 to 64 visible characters of ASCII.
    Key,
    /// One of some words.
    OneOf(&'static [&'static str]),
}

/// What a request brings.
#[derive(Clone, Copy)]
pub(crate) struct Body {
    kinds: &'static [&'static str],
    schema: &'static str,
    required: bool,
}

/// What may come back, besides errors.
#[derive(Clone, Copy)]
pub(crate) struct Answer {
    status: u16,
    what: &'static str,
    /// Media type and name of the shape.
    body: Option<(&'static str, &'static str)>,
    /// The same in other media types, for those who ask for them.
    others: &'static [(&'static str, &'static str)],
}

fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for operation in table::OPERATIONS {
        let template = operation.endpoint.template();
        let path = paths.entry(template).or_insert_with(|| json!({}));
        path[operation.method] = operation.document(operation.method, operation.id);
        // Wherever GET is served, HEAD is; only the streams have no end to tell the length of.
        if operation.method == "get" && !table::WITHOUT_HEAD.contains(&operation.endpoint) {
            path["head"] = operation.document("head", &format!("{}Head", operation.id));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "rejoin",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "A peer-to-peer JSON sync server.",
            "description": "Paths have 1 to 64 segments joined by `/`; send the slashes as they are. Every error has \
                the shape `Problem`. A client that makes one parameter of a path may encode its slashes, all of them. docs/http-api.md tells the rest.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{}, { "token": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas::all(),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

impl Operation {
    fn document(&self, method: &str, id: &str) -> Value {
        let mut parameters = Vec::new();
        for name in ["path", "prefix"] {
            if self.endpoint.template().contains(&format!("{{{name}}}")) {
                let (least, what) = match name {
                    "path" => (1, "The path of a document."),
                    _ => (0, "The beginning of paths; empty for all."),
                };
                let schema = json!({ "type": "string", "minLength": least, "maxLength": 2048 });
                parameters.push(json!({
                    "name": name, "in": "path", "required": true, "description": what, "schema": schema
                }));
            }
        }
        parameters.extend(self.query.iter().map(|parameter| parameter.document("query")));
        parameters.extend(self.headers.iter().map(|parameter| parameter.document("header")));
        let mut answers = Map::new();
        for answer in self.answers {
            let mut shape = json!({ "description": answer.what });
            let bodies = answer.body.iter().chain(answer.others).filter(|_| method != "head");
            for (kind, schema) in bodies {
                shape["content"][kind] = media(schema);
            }
            answers.insert(answer.status.to_string(), shape);
        }
        let problem = match method {
            "head" => json!({ "description": "An error." }),
            _ => json!({ "description": "An error.", "content": content(&["application/json"], "Problem") }),
        };
        answers.insert("default".to_owned(), problem);
        let mut operation = json!({ "operationId": id, "summary": self.summary, "responses": answers });
        if !parameters.is_empty() {
            operation["parameters"] = parameters.into();
        }
        if let Some(body) = self.body {
            operation["requestBody"] =
                json!({ "required": body.required, "content": content(body.kinds, body.schema) });
        }
        operation
    }
}

fn content(kinds: &[&str], schema: &str) -> Value {
    Value::Object(kinds.iter().map(|kind| ((*kind).to_owned(), media(schema))).collect())
}

fn media(schema: &str) -> Value {
    json!({ "schema": { "$ref": format!("#/components/schemas/{schema}") } })
}

impl Parameter {
    fn document(&self, place: &str) -> Value {
        let schema = match self.kind {
            Kind::Text => json!({ "type": "string" }),
            Kind::Switch => json!({ "type": "string", "enum": ["", "0", "1", "false", "true"] }),
            Kind::Number(least, greatest) => {
                json!({ "type": "integer", "minimum": least, "maximum": greatest })
            }
            Kind::Time => json!({ "type": "string", "pattern": "^[0-9]{1,5}(ms|s)$" }),
            // What the longest span allows in its finest unit is twelve digits.
            Kind::Span => json!({ "type": "string", "pattern": "^[1-9][0-9]{0,11}(ms|s|m|h|d)$" }),
            Kind::Key => json!({ "type": "string", "pattern": "^[!-~]{1,64}$" }),
            Kind::OneOf(words) => json!({ "type": "string", "enum": words }),
        };
        json!({ "name": self.name, "in": place, "description": self.what, "schema": schema })
    }
}
