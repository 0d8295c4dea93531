//! What browsers are told, by the process as it is served.

use reqwest::Method;
use serde_json::json;

use crate::client::{Answer, OPERATIONS, Platform};

const CONSOLE: &str = "https://console.example";

async fn ask(platform: &Platform, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = platform.http.request(method, format!("{}{path}", platform.process.url)).json(&json!({}));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::of(request.send().await.unwrap()).await
}

fn grants_of(answer: &Answer) -> usize {
    answer.headers.keys().filter(|name| name.as_str().starts_with("access-control")).count()
}

#[tokio::test]
async fn every_answer_is_for_no_frame_and_no_guess_and_sets_no_cookie() {
    let platform = Platform::start(1).await;
    let paths = OPERATIONS.map(|operation| format!("/api/v1/licenses/{operation}"));
    let others = ["/api/v1/keys", "/.well-known/jwks.json", "/health/", "/ready/", "/nothing"];
    for path in paths.iter().map(String::as_str).chain(others) {
        for method in [Method::GET, Method::POST, Method::OPTIONS] {
            let answer = ask(&platform, method, path, &[]).await;
            for (name, value) in [
                ("strict-transport-security", "max-age=63072000; includeSubDomains"),
                ("x-content-type-options", "nosniff"),
                ("x-frame-options", "DENY"),
                ("content-security-policy", "frame-ancestors 'none'"),
                ("referrer-policy", "no-referrer"),
            ] {
                assert_eq!(answer.headers[name], value, "{path}");
            }
            assert!(!answer.headers.contains_key("set-cookie") && grants_of(&answer) == 0);
            assert!(!answer.headers.contains_key("vary"), "without a list no answer depends on an origin");
        }
    }
}

#[tokio::test]
async fn scripts_of_listed_origins_may_call_and_no_others() {
    let platform = Platform::start_with(1, &[("CORS_ORIGINS", "https://console.example, http://localhost:3000")]).await;
    let path = "/api/v1/licenses/heartbeat";
    for origin in [CONSOLE, "http://localhost:3000"] {
        let preflight = ask(&platform, Method::OPTIONS, path, &[("origin", origin), ("access-control-request-method", "POST")]).await;
        assert_eq!((preflight.status, preflight.text.as_str()), (204, ""));
        for (name, wanted) in [
            ("access-control-allow-methods", &["GET", "POST", "PUT", "PATCH", "DELETE"][..]),
            (
                "access-control-allow-headers",
                &["authorization", "content-type", "idempotency-key", "if-match", "x-request-id", "x-tenant-id"],
            ),
        ] {
            let allowed: Vec<&str> = preflight.headers[name].to_str().unwrap().split(", ").collect();
            assert!(wanted.iter().all(|wanted| allowed.contains(wanted)), "{name}: {allowed:?}");
        }
        let answer = ask(&platform, Method::POST, path, &[("origin", origin)]).await;
        answer.assert_problem(400, "invalid_request");
        for answer in [preflight, answer] {
            assert_eq!(answer.headers["access-control-allow-origin"], origin);
            assert_eq!(answer.headers["access-control-allow-credentials"], "true");
            let exposed = answer.headers["access-control-expose-headers"].to_str().unwrap();
            let wanted = ["etag", "idempotent-replayed", "ratelimit", "ratelimit-policy", "retry-after", "x-request-id"];
            assert!(wanted.iter().all(|wanted| exposed.split(", ").any(|name| name == *wanted)), "{exposed}");
            assert_eq!(answer.headers["vary"], "origin");
        }
    }
    for origin in ["https://evil.example", "https://console.example.evil", "http://console.example", "null"] {
        let preflight = ask(&platform, Method::OPTIONS, path, &[("origin", origin), ("access-control-request-method", "POST")]).await;
        let answer = ask(&platform, Method::POST, path, &[("origin", origin)]).await;
        assert_eq!((preflight.status, answer.status), (204, 400));
        assert_eq!((grants_of(&preflight), grants_of(&answer)), (0, 0), "{origin}");
    }
    // A cache must not hand what one origin was given to another.
    let published = ask(&platform, Method::GET, "/api/v1/keys", &[]).await;
    assert_eq!((published.status, &published.headers["vary"]), (200, &"origin".parse().unwrap()));
}
