//! The API's description: it is what the functions say of themselves, and every answer that any test sees fits it.

use std::sync::LazyLock;

use serde_json::Value;
use testkit::Description;
use tokio::process::Command;

use crate::client::{Answer, BINARY, Platform};

static DESCRIPTION: LazyLock<Description> = LazyLock::new(|| {
    Description::new(serde_json::from_str(include_str!("../../../discovery/openapi.json")).expect("the document is JSON"))
});

/// Holds an answer to what is said of its path and status. Health, and what no operation answers, is not described.
pub(crate) fn check(path: &str, answer: &Answer) {
    let Some(operations) = DESCRIPTION.operations(path) else { return };
    if answer.status == 405 || answer.status == 204 && answer.headers.contains_key("allow") || answer.text.is_empty() {
        return;
    }
    let status = answer.status.to_string();
    let responses: Vec<&Value> =
        operations.as_object().unwrap().values().filter_map(|operation| operation["responses"].get(&status)).collect();
    assert!(!responses.is_empty(), "{path} answered {status}, of which the document knows nothing: {}", answer.text);
    let kind = answer.headers["content-type"].to_str().unwrap().split(';').next().unwrap();
    let schemas: Vec<&Value> = responses.iter().filter_map(|response| response["content"][kind].get("schema")).collect();
    assert!(!schemas.is_empty(), "{path} answered {status} with {kind}");
    if kind.ends_with("json") {
        let reasons: Vec<String> = schemas.iter().filter_map(|schema| DESCRIPTION.misfit(schema, &answer.body)).collect();
        assert!(reasons.len() < schemas.len(), "{path} {status}: {reasons:?}\n{}", answer.text);
    }
    assert!(answer.headers.contains_key("x-request-id"));
}

#[tokio::test]
async fn the_document_is_what_the_functions_say_of_themselves() {
    let output = Command::new(BINARY).arg("openapi").output().await.unwrap();
    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(made, *DESCRIPTION.document(), "run: cargo run -p standalone -- openapi >functions/discovery/openapi.json");
    let platform = Platform::start(1).await;
    let served = Answer::of(reqwest::get(format!("{}/api/v1/openapi.json", platform.process.url)).await.unwrap()).await;
    assert_eq!((served.status, &served.body), (200, DESCRIPTION.document()));
}

#[tokio::test]
async fn every_operation_of_the_document_is_served() {
    let platform = Platform::start(1).await;
    for (path, item) in DESCRIPTION.document()["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let url = format!("{}{}", platform.process.url, path.replace(['{', '}'], ""));
            let answer = Answer::of(platform.http.request(method.to_uppercase().parse().unwrap(), url).send().await.unwrap()).await;
            assert!(answer.status != 405 && answer.code() != "not_found", "{method} {path}: {}", answer.text);
            assert!(
                operation["summary"].is_string() && operation["operationId"].is_string() && operation["tags"][0].is_string(),
                "{method} {path}"
            );
        }
    }
}

#[tokio::test]
async fn the_page_needs_nothing_from_elsewhere() {
    let platform = Platform::start(1).await;
    let page = Answer::of(reqwest::get(format!("{}/api/v1/docs", platform.process.url)).await.unwrap()).await;
    assert_eq!((page.status, page.headers["content-type"].to_str().unwrap()), (200, "text/html; charset=utf-8"));
    assert!(page.headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
    assert!(!page.text.contains("http://") && !page.text.contains("https://") && !page.text.contains("//cdn"));
}
