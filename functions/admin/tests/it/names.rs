//! Names that no operation knows: each is told, with the known name that may be meant.

use admin::{identity_operations, operations};
use serde_json::{Value, json};

use crate::{
    requests::{Things, actor},
    rig::{Answer, Rig},
};

fn told(answer: &Answer) -> Vec<(&str, &str)> {
    let faults = answer.body["errors"].as_array().into_iter().flatten();
    faults.map(|fault| (fault["field"].as_str().unwrap(), fault["message"].as_str().unwrap())).collect()
}

#[tokio::test]
async fn unknown_member_and_parameter_are_told_by_every_operation() {
    let rig = Rig::start().await;
    let things = Things::make(&rig).await;
    for operation in operations() {
        let who = actor(&rig, operation);
        let headers = [("if-match", "\"1\"")];
        let path = format!("{}?no_such_parameter=1&also_none", things.path(&rig, operation));
        let body = (!operation.is_read()).then(|| json!({ "no_such_member": [[1]], "nor_this": null }));
        let answer = rig.call(who, operation.method, &path, &headers, body.as_ref()).await;
        answer.assert_problem(400, "invalid_request");
        let mut expected = vec!["no_such_parameter", "also_none"];
        if body.is_some() {
            expected.extend(["no_such_member", "nor_this"]);
        }
        let unknown: Vec<&str> =
            told(&answer).into_iter().filter(|(_, message)| *message == "is not known").map(|(name, _)| name).collect();
        assert_eq!(unknown, expected, "{}: {}", operation.name, answer.text);
    }
}

#[tokio::test]
async fn unknown_names_are_told_by_operations_of_identities_too() {
    let rig = Rig::start().await;
    for operation in identity_operations() {
        let path = operation.path.replace("{id}", &platform::domain::InvitationId::random().to_string());
        let body = (operation.method != "GET").then(|| json!({ "no_such_member": 1 }));
        let token = format!("Bearer {}", rig.provider.vouch("stranger", Some("stranger@x.example"), &rig.clock));
        let path = format!("{path}?no_such_parameter");
        let answer = rig.send(operation.method, &path, &[("authorization", &token)], body.as_ref()).await;
        let expected = if body.is_some() { vec!["no_such_parameter", "no_such_member"] } else { vec!["no_such_parameter"] };
        assert_eq!(answer.expect(400).faults(), expected, "{}", operation.name);
    }
}

#[tokio::test]
async fn misspelt_names_get_the_known_ones_and_change_nothing() {
    let rig = Rig::start().await;
    let wrong = json!({ "name": "New", "seats": 3, "expiry_at": "2027-01-01T00:00:00Z", "colour": "red" });
    let answer = rig.post(&rig.staff, "/api/v1/licenses", &wrong).await.expect(400);
    let expected = [
        ("colour", "is not known"),
        ("expiry_at", "is not known; did you mean expires_at?"),
        ("seats", "is not known; did you mean seats_total?"),
        ("seats_total", "is missing"),
    ];
    let mut faults = told(&answer);
    faults.sort_unstable();
    assert_eq!(faults, expected);
    let answer = rig.get(&rig.ours.owner, "/api/v1/sessions?status=live&limit=0&email=a@b.example").await.expect(400);
    let expected = [
        ("limit", "must be a whole number from 1 to 200"),
        ("status", "is not known; did you mean state?"),
        ("email", "is not known; did you mean user_email?"),
    ];
    assert_eq!(told(&answer), expected);
    let answer = rig.get(&rig.ours.owner, "/api/v1/sessions?state=live&state=ended").await.expect(400);
    assert_eq!(told(&answer), [("state", "is there more than once")]);
    let path = rig.ours.path();
    rig.change(&rig.ours.owner, "PATCH", &path, Some(&json!({ "name": "New", "nmae": "Newer" })))
        .await
        .assert_problem(400, "invalid_request");
    assert_eq!(rig.get(&rig.ours.owner, &path).await.body["name"], "Test");
}

#[tokio::test]
async fn operation_without_a_body_takes_an_empty_one() {
    let rig = Rig::start().await;
    let path = format!("/api/v1/users/{}/deactivate", rig.ours.guest.id);
    rig.change(&rig.ours.owner, "POST", &path, Some(&json!({ "reason": "gone" }))).await.assert_problem(400, "invalid_request");
    let text = [("if-match", "\"1\""), ("content-type", "text/plain")];
    rig.call(&rig.ours.owner, "POST", &path, &text, Some(&json!({}))).await.assert_problem(415, "unsupported_media_type");
    rig.change(&rig.ours.owner, "POST", &path, Some(&json!({}))).await.expect(200);
}

#[test]
fn description_says_that_no_other_members_are_taken() {
    let document = platform::web::describe([admin::api().into_openapi()]);
    let mut bodies = 0;
    for item in document["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values() {
            let content = operation["requestBody"]["content"].as_object().into_iter().flat_map(|content| content.values());
            for schema in content.map(|content| &content["schema"]) {
                let one = schema["oneOf"].as_array().into_iter().flatten().find(|schema| schema["$ref"].is_string()).unwrap_or(schema);
                let name = one["$ref"].as_str().unwrap().rsplit_once('/').unwrap().1;
                assert_eq!(document["components"]["schemas"][name]["additionalProperties"], Value::Bool(false), "{name}");
                bodies += 1;
            }
        }
    }
    assert!(bodies > 7);
}
