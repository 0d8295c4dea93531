//! What a collector and Sentry are told of the platform.

use serde_json::json;
use testkit::Listener;

use crate::client::Platform;

#[tokio::test]
async fn requests_and_jobs_are_told_to_a_collector_and_nothing_to_sentry_while_all_is_well() {
    let mut listener = Listener::start().await;
    let settings = listener.settings();
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let mut platform = Platform::start_with(1, &settings).await;
    // What is due at the start: nobody has asked for it.
    let span = listener.span("job rotate-keys").await;
    assert_eq!((&span["service"], &span["parentSpanId"], &span["kind"]), (&json!("standalone"), &json!(""), &json!(1)));
    assert_eq!(span["status"]["code"], 0);

    let theirs = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = platform.request("acquire").header("traceparent", theirs).json(&platform.applicant("one"));
    assert_eq!(request.send().await.unwrap().status(), 201);
    assert_eq!(platform.process.terminate().await, Some(0));
    let span = listener.span("POST /api/v1/licenses/acquire").await;
    assert_eq!((&span["traceId"], &span["kind"]), (&json!("0af7651916cd43dd8448eb211c80319c"), &json!(2)));
    assert!(!listener.has_more_errors());
}

#[tokio::test]
async fn an_error_that_is_ours_is_told_to_sentry_with_its_request_and_without_what_was_asked() {
    let mut listener = Listener::start().await;
    let settings = listener.settings();
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let platform = Platform::start_with(1, &settings).await;
    let owner = platform.database.owner().await;
    owner.batch_execute("ALTER TABLE sessions RENAME COLUMN hardware_id TO renamed").await.unwrap();
    let answer = platform.post("acquire", &platform.applicant("my-very-own-device")).await;
    answer.assert_problem(500, "internal_error");
    let error = listener.error().await;
    assert_eq!(error["tags"]["request_id"].as_str(), answer.body["request_id"].as_str());
    assert_eq!((&error["server_name"], &error["level"]), (&json!("standalone"), &json!("error")));
    let (text, key) = (error.to_string(), platform.customer.key.reveal());
    for private in ["my-very-own-device", "user@test.example", &key] {
        assert!(!text.contains(private), "{text}");
    }
}
