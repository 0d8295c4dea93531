//! Whatever is answered fits the description.

use std::sync::LazyLock;

use platform::web::describe;
use serde_json::Value;

use crate::rig::Answer;

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| describe([admin::api().into_openapi()]));

/// Holds an answer to what is said of its operation and status.
pub(crate) fn check(method: &str, path: &str, answer: &Answer) {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let Some(item) = paths.iter().find(|(template, _)| fits(template, path)).map(|(_, item)| item) else { return };
    let Some(operation) = item.get(method.to_lowercase()) else { return };
    let said = &operation["responses"][answer.status.to_string()];
    assert!(said.is_object(), "{method} {path} answered {}, of which the document knows nothing: {}", answer.status, answer.text);
    if answer.text.is_empty() {
        // Of what is told line by line there may be none.
        let is_lines = answer.headers.get("content-type").is_some_and(|kind| kind == "application/x-ndjson");
        assert!(is_lines || said.get("content").is_none(), "{method} {path} {}: no body", answer.status);
        return;
    }
    let kind = answer.headers["content-type"].to_str().unwrap().split(';').next().unwrap();
    let content = said["content"].get(kind);
    let Some(content) = content else { panic!("{method} {path} answered {} with {kind}", answer.status) };
    let lines: Vec<Value> = match kind {
        "application/x-ndjson" => answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
        kind if kind.ends_with("json") => vec![answer.body.clone()],
        _ => return,
    };
    let mut whole = content["schema"].clone();
    whole["components"] = DOCUMENT["components"].clone();
    let validator = jsonschema::draft202012::new(&whole).expect("the schema is one");
    for value in lines {
        let wrong = validator.iter_errors(&value).next().map(|error| format!("{}: {error}", error.instance_path()));
        assert!(wrong.is_none(), "{method} {path} {}: {wrong:?}\n{value}", answer.status);
    }
}

/// Whether a path is one of those that a template such as `/users/{id}` stands for.
fn fits(template: &str, path: &str) -> bool {
    let (mut wanted, mut had) = (template.split('/'), path.split('/'));
    loop {
        match (wanted.next(), had.next()) {
            (None, None) => return true,
            (Some(part), Some(text)) if part == text || part.starts_with('{') && !text.is_empty() => {}
            _ => return false,
        }
    }
}
