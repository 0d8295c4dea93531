//! The API's description: what is the same for every operation. The rest stands with each function.

use serde_json::{Map, Value, json};
use utoipa::{
    OpenApi as _, ToSchema,
    openapi::{InfoBuilder, LicenseBuilder, OpenApi},
};

/// What every error answers (RFC 9457). Further members depend on `code`, and are described with the operation.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes what ApiError writes")]
pub struct Problem {
    /// A URI that names the kind of problem.
    #[schema(example = "urn:coditect:problem:no_seats_available")]
    r#type: String,
    /// The kind of problem in a few words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What is the matter, in a sentence.
    detail: String,
    /// The kind of problem, for programs: it never changes.
    #[schema(example = "no_seats_available")]
    code: String,
    /// The same as the header `x-request-id`.
    request_id: String,
    /// Every fault of the request, where the status is 400.
    errors: Option<Vec<Fault>>,
}

/// One thing that is wrong with a request.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes what ApiError writes")]
struct Fault {
    /// The field, header or parameter.
    field: String,
    /// What is wanted of it.
    message: String,
}

/// What every operation refers to.
#[derive(utoipa::OpenApi)]
#[openapi(components(schemas(Problem, Fault)))]
struct Shared;

const ABOUT: &str = "Floating licenses: seats are acquired, kept by heartbeats, and released; what a client holds is signed, and verifies offline. \
    Operations on seats ignore unknown members of a request; those of the administration answer 400 for each unknown member or parameter, and \
    name the known one that may be meant. Times are RFC 3339 in UTC with milliseconds. Errors are RFC 9457 problem documents with a \
    stable `code`. Every answer has an `x-request-id`: the caller's, if it sent a well-formed one.";

/// Puts the descriptions of functions together, and adds what holds for every operation.
#[must_use]
pub fn describe(parts: impl IntoIterator<Item = OpenApi>) -> Value {
    let license = LicenseBuilder::new().name("Proprietary").identifier(Some("LicenseRef-Proprietary")).build();
    let info = InfoBuilder::new().title("CODITECT license platform").version("1").description(Some(ABOUT)).license(Some(license));
    let mut whole = Shared::openapi();
    whole.info = info.build();
    for part in parts {
        whole.merge(part);
    }
    let mut document = json!(whole);
    refer(&mut document["components"]["schemas"]);
    let document_paths = document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut);
    let mut closed = Vec::new();
    for (method, operation) in document_paths.filter_map(Value::as_object_mut).flatten() {
        if operation["tags"][0] == "administration" {
            closed.extend(bodies(operation));
        }
        complete(method, operation);
    }
    for name in closed {
        document["components"]["schemas"][name]["additionalProperties"] = json!(false);
    }
    document["components"]["securitySchemes"]["bearer"] = json!({
        "type": "http", "scheme": "bearer",
        "description": "An identity provider's JWT, or a personal access token (`cdt_…`).",
    });
    document["components"]["headers"] = headers();
    document["servers"] = json!([{ "url": "/" }]);
    document["tags"] = json!([
        { "name": "seats", "description": "What a running copy of a program calls." },
        { "name": "administration", "description": "What owners and staff do." },
        { "name": "discovery", "description": "What everybody may know." },
    ]);
    document
}

/// What heads answers, whichever they are.
fn headers() -> Value {
    json!({
        "x-request-id": { "description": "Names this request in our logs.", "schema": { "type": "string" } },
        "ratelimit-policy": {
            "description": "The limit that this request was counted against, if it was: how many (`q`) in how many seconds (`w`).",
            "schema": { "type": "string" }, "example": "\"principal\";q=1000;w=3600",
        },
        "ratelimit": {
            "description": "How many requests are left of it (`r`), and in how many seconds it is whole again (`t`).",
            "schema": { "type": "string" }, "example": "\"principal\";r=999;t=4",
        },
        "retry-after": { "description": "Seconds to wait.", "schema": { "type": "integer", "minimum": 0 } },
    })
}

/// Lets a page name what it is a page of: utoipa writes a generic's parameter out.
fn refer(schemas: &mut Value) {
    let Some(schemas) = schemas.as_object_mut() else { return };
    let pages: Vec<String> = schemas.keys().filter_map(|name| name.strip_prefix("Items_").map(str::to_owned)).collect();
    for of in pages {
        if !schemas.contains_key(&of) {
            continue;
        }
        schemas[&format!("Items_{of}")]["properties"]["items"]["items"] = json!({ "$ref": format!("#/components/schemas/{of}") });
    }
}

/// The names of the schemas of an operation's body. The administration takes no members but theirs.
fn bodies(operation: &Value) -> Vec<String> {
    let content = operation["requestBody"]["content"].as_object().into_iter().flat_map(Map::values);
    let schemas = content.map(|content| &content["schema"]);
    let parts = schemas.flat_map(|schema| schema["oneOf"].as_array().into_iter().flatten().chain([schema]));
    let names = parts.filter_map(|schema| schema["$ref"].as_str()).filter_map(|path| path.rsplit_once('/'));
    names.map(|(_, name)| name.to_owned()).collect()
}

/// Adds the answers that any operation may give, and the headers that every answer has.
fn complete(method: &str, operation: &mut Value) {
    // An operation of the administration that takes no body answers what is wrong with one that it was sent.
    let is_change = operation["tags"][0] == "administration" && method != "get";
    let has_body = operation.get("requestBody").is_some() || is_change;
    let has_token = operation.get("security").is_some();
    let takes = |place: &str, name: Option<&str>| {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        parameters.filter(|parameter| parameter["in"] == place).any(|parameter| name.is_none_or(|name| parameter["name"] == name))
    };
    let (has_query, has_id) = (takes("query", None), takes("path", None));
    let (has_version, has_key) = (takes("header", Some("If-Match")), takes("header", Some("Idempotency-Key")));
    if !has_token {
        operation["security"] = json!([]);
    }
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    let mut problem = |status: &str, why: &str| {
        responses.entry(status).or_insert_with(|| json!({ "description": why }));
    };
    if has_body || has_query || has_key || has_token {
        problem("400", "The request is invalid; every fault is named.");
    }
    if has_body {
        problem("413", "The body has more than 16 KiB.");
        problem("415", "The body is not said to be JSON in UTF-8, or is compressed: then `accept-encoding` says `identity`.");
    }
    if has_token {
        problem("401", "The credential is not valid, or there is none.");
        problem(
            "403",
            "The credential does not allow this. `no_account`, `email_not_verified`, `deactivated`, `tenant_suspended`: it is good, and \
            its identity has no membership that is served.",
        );
    }
    if has_id {
        problem("404", "`not_found`.");
    }
    if has_version {
        problem("412", "`stale_version`: it has changed since it was read.");
        problem("428", "`version_required`: `if-match` is missing.");
    }
    if has_key {
        problem("409", "`request_in_flight`: the same request is being worked on.");
        problem("422", "`idempotency_key_reused`: the key has served for another request.");
    }
    problem("429", "Too many requests: `retry-after` says when to come again.");
    problem("500", "A fault of ours.");
    problem("503", "A server behind does not answer: try again after `retry-after`.");
    for (status, response) in responses {
        for header in ["x-request-id", "ratelimit-policy", "ratelimit"] {
            response["headers"][header] = json!({ "$ref": format!("#/components/headers/{header}") });
        }
        if status.starts_with(['4', '5']) {
            response["content"] = json!({ "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } });
        }
        if matches!(status.as_str(), "402" | "409" | "429" | "503") {
            response["headers"]["retry-after"] = json!({ "$ref": "#/components/headers/retry-after" });
        }
    }
}
