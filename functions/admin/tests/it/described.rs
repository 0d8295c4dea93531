//! Whatever is answered fits the description.

use std::sync::LazyLock;

use platform::web::describe;
use serde_json::Value;
use testkit::Description;

use crate::rig::Answer;

static DESCRIPTION: LazyLock<Description> = LazyLock::new(|| Description::new(describe([admin::api().into_openapi()])));

/// Holds an answer to what is said of its operation and status.
pub(crate) fn check(method: &str, path: &str, answer: &Answer) {
    let Some(item) = DESCRIPTION.operations(path) else { return };
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
    for value in lines {
        let wrong = DESCRIPTION.misfit(&content["schema"], &value);
        assert!(wrong.is_none(), "{method} {path} {}: {wrong:?}\n{value}", answer.status);
    }
}
