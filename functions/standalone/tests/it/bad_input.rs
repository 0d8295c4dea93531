//! Every field of every operation, with everything that can be wrong with it: a problem document each time, never a 5xx.

use serde_json::{Map, Value, json};

use crate::client::{Answer, OPERATIONS, Platform};

/// The fields of an operation, each with whether it must be there.
fn fields(operation: &str) -> &'static [(&'static str, bool)] {
    match operation {
        "acquire" => &[("license_key", true), ("hardware_id", true), ("user_email", true), ("nonce", false), ("replaces", false)],
        "heartbeat" => &[("session_id", true), ("nonce", false)],
        "release" => &[("session_id", true)],
        _ => &[("license_key", true)],
    }
}

async fn good_body(platform: &Platform, operation: &str) -> Map<String, Value> {
    let mut body = match operation {
        "acquire" | "validate" => platform.applicant("device"),
        _ => {
            let acquired = platform.post("acquire", &platform.applicant("device")).await;
            json!({ "session_id": acquired.body["session_id"] })
        }
    };
    if fields(operation).iter().any(|(name, _)| *name == "nonce") {
        body["nonce"] = json!("nonce");
    }
    let Value::Object(body) = body else { panic!("it is an object") };
    body
}

#[tokio::test]
async fn a_bad_value_in_any_field_is_a_400_that_names_the_field() {
    let platform = Platform::start(5).await;
    let values = [
        json!(""),
        json!(7),
        json!(1.5),
        json!(true),
        json!([]),
        json!(["a"]),
        json!({}),
        json!({ "a": { "b": "c" } }),
        json!("\u{0}"),
        json!("a\u{0}b"),
        json!("\u{1f511}\u{1f4bb}"),
        json!("\u{202e}\u{200f}abc"),
        json!("'; DROP TABLE sessions; --"),
        json!("1 OR 1=1"),
        json!("\" return redis.call('FLUSHALL') --"),
        json!("{{license}}:policy \r\n FLUSHALL"),
        json!("x y".repeat(200)),
        json!(" "),
        json!("\n"),
    ];
    for operation in OPERATIONS {
        let good = good_body(&platform, operation).await;
        for (field, _) in fields(operation) {
            for value in &values {
                let mut body = good.clone();
                body.insert((*field).to_owned(), value.clone());
                let answer = platform.post(operation, &Value::Object(body)).await;
                answer.assert_problem(400, "invalid_request");
                let named: Vec<&str> =
                    answer.body["errors"].as_array().unwrap().iter().filter_map(|fault| fault["field"].as_str()).collect();
                assert_eq!(named, [*field], "{operation} {field} {value}");
                let sent = value.as_str().filter(|text| text.len() > 3);
                assert!(sent.is_none_or(|sent| !answer.text.contains(sent)), "what was sent comes back: {}", answer.text);
            }
        }
    }
}

#[tokio::test]
async fn a_missing_field_is_named_and_so_are_all_of_them() {
    let platform = Platform::start(5).await;
    for operation in OPERATIONS {
        let good = good_body(&platform, operation).await;
        let required: Vec<&str> = fields(operation).iter().filter(|(_, required)| *required).map(|(name, _)| *name).collect();
        for field in &required {
            for absent in [None, Some(Value::Null)] {
                let mut body = good.clone();
                body.remove(*field);
                body.extend(absent.map(|null| ((*field).to_owned(), null)));
                let answer = platform.post(operation, &Value::Object(body)).await;
                answer.assert_problem(400, "invalid_request");
                assert_eq!(answer.body["errors"], json!([{ "field": field, "message": "is missing" }]));
            }
        }
        let answer = platform.post(operation, &json!({})).await;
        let named: Vec<&str> = answer.body["errors"].as_array().unwrap().iter().filter_map(|fault| fault["field"].as_str()).collect();
        assert_eq!(named, required);
    }
}

#[tokio::test]
async fn a_body_that_is_no_json_object_is_refused() {
    let platform = Platform::start(5).await;
    for operation in OPERATIONS {
        let good = Value::Object(good_body(&platform, operation).await).to_string();
        let (field, _) = fields(operation)[0];
        let deep = format!("{{\"{field}\": {}{}}}", "[".repeat(6000), "]".repeat(6000));
        let unclosed = format!("{{\"x\": {}", "{\"x\":".repeat(2000));
        let bodies: Vec<Vec<u8>> = vec![
            b"".into(),
            b"null".into(),
            b"[]".into(),
            b"\"text\"".into(),
            b"{".into(),
            b"{'a': 1}".into(),
            good.as_bytes()[..good.len() / 2].into(),
            format!("{good} trailing").into(),
            format!("{good}{good}").into(),
            [b"{\"".as_slice(), field.as_bytes(), b"\": \"\xff\xfe\"}"].concat(),
            b"\xef\xbb\xbf{}".into(),
            unclosed.into(),
        ];
        for body in bodies {
            let sent = platform.request(operation).header("content-type", "application/json").body(body.clone()).send().await.unwrap();
            let answer = Answer::of(sent).await;
            answer.assert_problem(400, "malformed_body");
        }
        let sent = platform.request(operation).header("content-type", "application/json").body(deep).send().await.unwrap();
        let answer = Answer::of(sent).await;
        assert_eq!(answer.status, 400, "{}", answer.text);
        let twice = good.replacen('{', &format!("{{\"{field}\": \"other\", "), 1);
        let sent = platform.request(operation).header("content-type", "application/json").body(twice).send().await.unwrap();
        let answer = Answer::of(sent).await;
        answer.assert_problem(400, "invalid_request");
        assert_eq!(answer.body["errors"], json!([{ "field": field, "message": "is there more than once" }]));
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_or_of_another_kind_is_refused() {
    let platform = Platform::start(5).await;
    for operation in OPERATIONS {
        let good = good_body(&platform, operation).await;
        for (field, _) in fields(operation) {
            let mut body = good.clone();
            body.insert((*field).to_owned(), json!("x".repeat(10_000_000)));
            answer_to(|| platform.request(operation).json(&body)).await.assert_problem(413, "payload_too_large");
        }
        let chunked = || {
            let chunks = (0..40).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1000]));
            let stream = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
            platform.request(operation).header("content-type", "application/json").body(stream)
        };
        answer_to(chunked).await.assert_problem(413, "payload_too_large");
        for kind in [Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("json"), Some(""), None] {
            let mut request = platform.request(operation).body(Value::Object(good.clone()).to_string());
            if let Some(kind) = kind {
                request = request.header("content-type", kind);
            }
            Answer::of(request.send().await.unwrap()).await.assert_problem(415, "unsupported_media_type");
        }
        let sent = platform.request(operation).header("content-type", "application/json; charset=utf-8").json(&good).send().await.unwrap();
        assert!(Answer::of(sent).await.status < 300);
    }
}

#[tokio::test]
async fn coded_body_is_a_415_that_says_what_is_read() {
    let platform = Platform::start(5).await;
    for coding in ["gzip", "br", "deflate", "zstd", "identity, gzip", "x-unknown"] {
        for operation in OPERATIONS {
            let body = [0x1f, 0x8b, 0x08, 0x00, 0xff, 0xfe];
            let request = platform.request(operation).header("content-type", "application/json");
            let answer = Answer::of(request.header("content-encoding", coding).body(body.to_vec()).send().await.unwrap()).await;
            answer.assert_problem(415, "unsupported_content_encoding");
            assert_eq!(answer.headers["accept-encoding"], "identity", "{coding}");
        }
    }
    for operation in OPERATIONS {
        let good = Value::Object(good_body(&platform, operation).await).to_string();
        let request = platform.request(operation).header("content-type", "application/json");
        let answer = Answer::of(request.header("content-encoding", "identity").body(good).send().await.unwrap()).await;
        assert!(answer.status < 300, "{}", answer.text);
    }
}

#[tokio::test]
async fn pasted_values_are_read_as_they_were_meant() {
    let platform = Platform::start(9).await;
    let key = platform.customer.key.reveal();
    let spellings = [
        format!("{key}\n"),
        format!("\t {key}\r\n"),
        format!("\u{a0}{key}\u{feff}"),
        format!("\u{feff}\u{201c}{key}\u{201d}"),
        format!("'{key}'"),
        key.replace('-', "\u{2013}"),
        key.replace('-', "\u{2011}"),
        key.replace('-', "\u{2212}"),
        key.replace('-', "\u{ad}-\u{200b}"),
        key.to_lowercase().replace('-', " "),
        key["CODI-".len()..].to_owned(),
    ];
    for spelling in spellings {
        for operation in ["validate", "acquire"] {
            let mut body = platform.applicant("device");
            body["license_key"] = json!(spelling);
            body["user_email"] = json!(" user@test.example\u{200b}\n");
            let answer = platform.post(operation, &body).await;
            assert!(answer.status < 300, "{spelling:?}: {}", answer.text);
        }
    }
    let acquired = platform.post("acquire", &platform.applicant("device")).await;
    let id = acquired.body["session_id"].as_str().unwrap();
    for operation in ["heartbeat", "release"] {
        let answer = platform.post(operation, &json!({ "session_id": format!("\u{feff}\"{id}\"\n") })).await;
        assert_eq!((answer.status, answer.body["session_id"].as_str()), (200, Some(id)), "{}", answer.text);
    }
}

#[tokio::test]
async fn malformed_key_is_told_where_it_is_wrong() {
    let platform = Platform::start(1).await;
    let key = platform.customer.key.reveal();
    for (wrong, told) in [
        (format!("{}U{}", &key[..8], &key[9..]), "symbol 8 is not one of"),
        (key[..40].to_owned(), "has 28 letters and digits after CODI-"),
        (format!("{key}ABC"), "has 35 letters and digits after CODI-"),
        (format!("XODI{}", &key[4..]), "does not begin with CODI-"),
        (" \u{a0}\u{2013} ".to_owned(), "is empty"),
    ] {
        let answer = platform.post("validate", &json!({ "license_key": wrong })).await;
        answer.assert_problem(400, "invalid_request");
        let message = answer.body["errors"][0]["message"].as_str().unwrap();
        assert!(message.contains(told) && !answer.text.contains(&key[5..14]), "{message}");
    }
}

/// The answer may come before the whole body has been sent, and the connection close under a client that still sends: such
/// a client sees the answer or a broken connection. It asks until it has seen the answer.
async fn answer_to(request: impl Fn() -> reqwest::RequestBuilder) -> Answer {
    for _ in 0..20 {
        if let Ok(sent) = request().send().await {
            return Answer::of(sent).await;
        }
    }
    panic!("no answer to a body that is too large");
}

#[tokio::test]
async fn a_mistyped_key_is_told_apart_from_an_unknown_one() {
    let platform = Platform::start(1).await;
    let key = platform.customer.key.reveal();
    let last = if key.ends_with('0') { "1" } else { "0" };
    let mistyped = format!("{}{last}", &key[..key.len() - 1]);
    let answer = platform.post("validate", &json!({ "license_key": mistyped })).await;
    answer.assert_problem(400, "invalid_request");
    assert!(answer.body["errors"][0]["message"].as_str().unwrap().contains("mistyped"), "{}", answer.text);
}

#[tokio::test]
async fn unknown_fields_are_passed_over() {
    let platform = Platform::start(1).await;
    let mut body = platform.applicant("device");
    body["invented_later"] = json!({ "deep": [1, 2, { "x": null }] });
    assert_eq!(platform.post("acquire", &body).await.status, 201);
}
