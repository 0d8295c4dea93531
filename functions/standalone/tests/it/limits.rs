//! Limits over HTTP. Every test calls from an address of its own, because all of them share one Redis.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Instant,
};

use futures_util::future::join_all;
use platform::domain::{AccessToken, LicenseId, LicenseKey, SessionId, SessionKey};
use reqwest::{Client, Method, header::HeaderMap};
use serde_json::{Value, json};
use testkit::{Process, TestDatabase, free_port, policy, redis_settings};
use uuid::Uuid;

use crate::client::{Answer, BINARY, Platform};

const PROCESSES: usize = 2;
const CONNECTIONS: usize = 64;
const ROUNDS: usize = 4;

/// A machine of its own, as the server sees it: any address in 127.0.0.0/8 is this one's.
fn machine() -> Client {
    let [a, b, c, ..] = *Uuid::new_v4().as_bytes();
    let address = IpAddr::V4(Ipv4Addr::new(127, a | 1, b, c.clamp(1, 254)));
    Client::builder().local_address(address).build().unwrap()
}

async fn post(http: &Client, process: &Process, operation: &str, body: &Value) -> Answer {
    Answer::of(http.post(format!("{}/api/v1/licenses/{operation}", process.url)).json(body).send().await.unwrap()).await
}

async fn get(http: &Client, process: &Process, path: &str) -> Answer {
    Answer::of(http.get(format!("{}{path}", process.url)).send().await.unwrap()).await
}

fn stranger() -> Value {
    json!({ "license_key": LicenseKey::generate().reveal(), "hardware_id": "h", "user_email": "u@x.example" })
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

/// The numbers in `"kind";r=…;t=…`.
fn state(answer: &Answer, kind: &str) -> (u64, u64) {
    let text = header(&answer.headers, "ratelimit");
    let numbers = text.strip_prefix(&format!("\"{kind}\";r=")).and_then(|rest| rest.split_once(";t=")).unwrap_or_else(|| panic!("{text}"));
    (numbers.0.parse().unwrap(), numbers.1.parse().unwrap())
}

fn assert_too_many(answer: &Answer, kind: &str, per_hour: u64) {
    answer.assert_problem(429, "too_many_requests");
    assert_eq!(header(&answer.headers, "ratelimit-policy"), format!("\"{kind}\";q={per_hour};w=3600"));
    let (left, whole_after) = state(answer, kind);
    let retry_after: u64 = header(&answer.headers, "retry-after").parse().unwrap();
    assert!(left == 0 && (1..=3600 / per_hour).contains(&retry_after) && (retry_after..=3600).contains(&whole_after));
}

#[tokio::test]
async fn limits_hold_to_the_request_under_64_connections_over_two_processes() {
    let settings = [("LIMIT_PRINCIPAL_PER_HOUR", "50"), ("LIMIT_ANONYMOUS_PER_HOUR", "40")];
    let platform = Platform::start_with(2, &settings).await;
    let (url, redis) = (platform.database.url(), redis_settings());
    let other = Process::start_with(BINARY, &["serve"], url, redis.redis_url.expose(), &settings).await;
    let processes: [&Process; PROCESSES] = [&platform.process, &other];
    let acquired = platform.post("acquire", &platform.applicant("one")).await;
    let session = json!({ "session_id": acquired.body["session_id"] });
    let nobody = json!({ "session_id": SessionId { license: platform.customer.license, key: SessionKey::random() } });
    let http = machine();
    let ask = async |operation: &str, body: &Value| {
        let rounds = join_all((0..CONNECTIONS).map(async |number| {
            let mut statuses = Vec::new();
            for round in 0..ROUNDS {
                statuses.push(post(&http, processes[(number + round) % PROCESSES], operation, body).await.status);
            }
            statuses
        }));
        rounds.await.concat()
    };
    let begun = Instant::now();
    // A slow machine takes so long that requests are regained meanwhile: one in 72 seconds, the first 72 seconds after the first.
    let assert_served = |statuses: &[u16], wanted: u16, limit: usize| {
        let count = |wanted: u16| statuses.iter().filter(|status| **status == wanted).count();
        let regained = usize::try_from(begun.elapsed().as_secs() / 72).unwrap();
        assert!((limit..=limit + regained).contains(&count(wanted)), "{} of {limit} and {regained}", count(wanted));
        assert_eq!(count(wanted) + count(429), CONNECTIONS * ROUNDS);
    };

    assert_served(&ask("heartbeat", &session).await, 200, 50);
    // This device has acquired once above, from another address: that is the same principal.
    assert_served(&ask("acquire", &platform.applicant("one")).await, 200, 49);
    assert_served(&ask("validate", &platform.applicant("one")).await, 200, 50);
    // While the address has its allowance: afterwards an ended session is not looked for again.
    assert_served(&ask("release", &session).await, 200, 50);
    assert_served(&ask("heartbeat", &nobody).await, 404, 40);
    // The address is beyond its limit, whatever else it tries; a credential that holds is no concern of its address.
    assert_too_many(&post(&http, &other, "acquire", &stranger()).await, "anonymous", 40);
    assert_eq!(get(&http, &other, "/api/v1/keys").await.status, 200, "what is public is no guess");
    assert_eq!(post(&http, &other, "acquire", &platform.applicant("two")).await.status, 201);
    // Nor is it anybody else's.
    post(&machine(), &other, "acquire", &stranger()).await.assert_problem(404, "license_not_found");
}

#[tokio::test]
async fn answers_tell_the_limit_what_is_left_of_it_and_when_to_come_back() {
    let settings = [("LIMIT_PRINCIPAL_PER_HOUR", "3"), ("LIMIT_ANONYMOUS_PER_HOUR", "2")];
    let platform = Platform::start_with(1, &settings).await;
    let http = machine();
    let ask = async |operation: &str, body: &Value| post(&http, &platform.process, operation, body).await;
    let acquired = ask("acquire", &platform.applicant("one")).await;
    let session = json!({ "session_id": acquired.body["session_id"] });
    assert_eq!(header(&acquired.headers, "ratelimit-policy"), r#""principal";q=3;w=3600"#);
    assert_eq!(state(&acquired, "principal"), (2, 1200));
    for (operation, body) in [("heartbeat", &session), ("validate", &platform.applicant("one")), ("acquire", &platform.applicant("two"))] {
        let first = ask(operation, body).await;
        assert_eq!((first.status, state(&first, "principal").0), (if operation == "acquire" { 402 } else { 200 }, 2), "{operation}");
        assert!(first.status != 402 || first.headers.contains_key("retry-after"));
        for left in [1, 0] {
            assert_eq!(state(&ask(operation, body).await, "principal").0, left, "{operation}");
        }
        assert_too_many(&ask(operation, body).await, "principal", 3);
    }
    // Giving a seat back is never refused, and what comes after it is counted on.
    for (operation, status, left) in [("release", 200, 2), ("release", 200, 1), ("heartbeat", 410, 0)] {
        let answer = ask(operation, &session).await;
        assert_eq!((answer.status, state(&answer, "principal").0), (status, left), "{operation}");
    }
    assert_too_many(&ask("release", &session).await, "principal", 3);

    for left in [1, 0] {
        let unknown = ask("validate", &stranger()).await;
        unknown.assert_problem(404, "license_not_found");
        assert_eq!(header(&unknown.headers, "ratelimit-policy"), r#""anonymous";q=2;w=3600"#);
        assert_eq!(state(&unknown, "anonymous").0, left);
    }
    for operation in ["acquire", "validate"] {
        assert_too_many(&ask(operation, &stranger()).await, "anonymous", 2);
    }
}

#[tokio::test]
async fn whoever_shows_no_credential_counts_by_address_and_whoever_only_asks_what_is_allowed_does_not() {
    let settings = [("LIMIT_ANONYMOUS_PER_HOUR", "6"), ("LIMIT_PRINCIPAL_PER_HOUR", "0")];
    let platform = Platform::start_with(1, &settings).await;
    let http = machine();
    let process = &platform.process;
    let ask = |method: Method, body: &str| {
        let request = http.request(method, format!("{}/api/v1/licenses/acquire", process.url));
        request.header("content-type", "application/json").body(body.to_owned())
    };
    // A key that was good before the address has spent its allowance is known afterwards.
    assert_eq!(post(&http, process, "acquire", &platform.applicant("one")).await.status, 201);
    let large = format!("\"{}\"", "x".repeat(20_000));
    let mut left = (0..6).rev();
    for (method, body, status, code) in [
        (Method::POST, "{}", 400, "invalid_request"),
        (Method::POST, "[", 400, "malformed_body"),
        (Method::POST, &large, 413, "payload_too_large"),
        (Method::GET, "", 405, "method_not_allowed"),
    ] {
        let answer = Answer::of(ask(method, body).send().await.unwrap()).await;
        answer.assert_problem(status, code);
        assert_eq!(state(&answer, "anonymous").0, left.next().unwrap(), "{code}");
    }
    let token = ask(Method::POST, "{}").bearer_auth("made.up.token");
    let token = Answer::of(token.send().await.unwrap()).await;
    token.assert_problem(401, "unauthenticated");
    assert_eq!(state(&token, "anonymous").0, left.next().unwrap());
    let nowhere = get(&http, process, "/nowhere").await;
    nowhere.assert_problem(404, "not_found");
    assert_eq!(state(&nowhere, "anonymous").0, left.next().unwrap());

    assert_too_many(&get(&http, process, "/nowhere").await, "anonymous", 6);
    assert_too_many(&Answer::of(ask(Method::DELETE, "").send().await.unwrap()).await, "anonymous", 6);
    let options = Answer::of(ask(Method::OPTIONS, "").send().await.unwrap()).await;
    assert!(options.status == 204 && !options.headers.contains_key("ratelimit"));
    // Those who are known are never counted here, whatever they are told.
    for (device, status) in [("one", 200), ("one", 200), ("two", 402)] {
        let answer = post(&http, process, "acquire", &platform.applicant(device)).await;
        assert!(answer.status == status && !answer.headers.contains_key("ratelimit"), "{}", answer.text);
    }
}

/// How often this process has asked PostgreSQL for the seats' sake.
async fn database_uses(process: &Process) -> u64 {
    let page = reqwest::get(&process.metrics_url).await.unwrap().text().await.unwrap();
    let line = page.lines().find_map(|line| line.strip_prefix("coditect_database_uses_total ")).unwrap();
    line.parse().unwrap()
}

#[tokio::test]
async fn guesses_from_a_spent_address_make_no_commits() {
    // Without the sweep, which asks PostgreSQL too.
    let settings = [("LIMIT_ANONYMOUS_PER_HOUR", "1"), ("SWEEP_INTERVAL", "7200")];
    let platform = Platform::start_with(1, &settings).await;
    let process = &platform.process;
    let acquired = platform.post("acquire", &platform.applicant("one")).await;
    let session = json!({ "session_id": acquired.body["session_id"] });
    let http = machine();
    let invented = |license: LicenseId| json!({ "session_id": SessionId { license, key: SessionKey::random() } });
    // One in an hour: however slow the machine, none is given back meanwhile.
    post(&http, process, "heartbeat", &invented(platform.customer.license)).await.assert_problem(404, "session_not_found");
    // A release learns by one look-up that the address has spent its allowance.
    for license in [platform.customer.license, LicenseId::random()] {
        assert_too_many(&post(&http, process, "release", &invented(license)).await, "anonymous", 1);
    }
    let (before, begun) = (database_uses(process).await, Instant::now());
    for _ in 0..100 {
        for body in [invented(platform.customer.license), invented(LicenseId::random())] {
            assert_too_many(&post(&http, process, "heartbeat", &body).await, "anonymous", 1);
            assert_too_many(&post(&http, process, "release", &body).await, "anonymous", 1);
        }
        assert_too_many(&post(&http, process, "acquire", &stranger()).await, "anonymous", 1);
        for path in ["licenses/acquire", "licenses/validate", "licenses"] {
            let request = http.post(format!("{}/api/v1/{path}", process.url)).bearer_auth(AccessToken::generate().reveal());
            let refused = Answer::of(request.json(&platform.applicant("one")).send().await.unwrap()).await;
            assert_too_many(&refused, "anonymous", 1);
        }
    }
    // The signing keys are looked at every ten seconds, whoever asks.
    let keys_read = begun.elapsed().as_secs() / 10 + 1;
    assert!(database_uses(process).await - before <= keys_read);
    // Those at the same address who are known notice nothing.
    assert_eq!(post(&http, process, "heartbeat", &session).await.status, 200);
    assert_eq!(post(&http, process, "acquire", &platform.applicant("one")).await.status, 200);
    assert_eq!(post(&http, process, "release", &session).await.status, 200);
}

/// A guest, and so many tokens of that one person.
async fn guest_tokens(platform: &Platform, count: usize) -> Vec<AccessToken> {
    let owner = platform.database.owner().await;
    let tokens: Vec<AccessToken> = (0..count).map(|_| AccessToken::generate()).collect();
    let insert = "WITH tenant AS (SELECT id FROM tenants LIMIT 1), guest AS (
        INSERT INTO users (id, tenant_id, email, role, status, created_at, updated_at)
        SELECT gen_random_uuid(), id, 'guest@test.example', 'guest', 'active', now(), now() FROM tenant RETURNING id, tenant_id)
        INSERT INTO access_tokens (id, tenant_id, user_id, name, scopes, token_hash, last_four, created_at, expires_at)
        SELECT gen_random_uuid(), tenant_id, id, 'test', '{see_own_sessions}', hash, 'four', now(), now() + interval '1 day'
        FROM guest, unnest($1::bytea[]) hash";
    let hashes: Vec<Vec<u8>> = tokens.iter().map(|token| token.hash().to_vec()).collect();
    owner.execute(insert, &[&hashes]).await.unwrap();
    tokens
}

#[tokio::test]
async fn a_person_is_counted_as_one_whichever_token_it_comes_with() {
    let settings = [("LIMIT_PRINCIPAL_PER_HOUR", "4"), ("LIMIT_ANONYMOUS_PER_HOUR", "1")];
    let platform = Platform::start_with(1, &settings).await;
    let tokens = guest_tokens(&platform, 2).await;
    let http = machine();
    let ask = async |operation: &str, token: &AccessToken| {
        let request = http.post(format!("{}/api/v1/licenses/{operation}", platform.process.url)).bearer_auth(token.reveal());
        Answer::of(request.json(&platform.applicant("one")).send().await.unwrap()).await
    };
    for (left, (operation, token)) in [("acquire", 0), ("validate", 1), ("acquire", 1), ("validate", 0)].into_iter().rev().enumerate().rev()
    {
        let refused = ask(operation, &tokens[token]).await;
        refused.assert_problem(403, "forbidden");
        assert_eq!(state(&refused, "principal").0, u64::try_from(left).unwrap());
    }
    for token in &tokens {
        assert_too_many(&ask("acquire", token).await, "principal", 4);
        assert_too_many(&ask("validate", token).await, "principal", 4);
    }
    // The address has nothing to do with it, but for what is no good token.
    ask("acquire", &AccessToken::generate()).await.assert_problem(401, "unauthenticated");
    assert_too_many(&ask("validate", &AccessToken::generate()).await, "anonymous", 1);
}

#[tokio::test]
async fn public_resources_have_a_limit_apart_from_guesses() {
    let settings = [("LIMIT_PUBLIC_PER_HOUR", "5"), ("LIMIT_ANONYMOUS_PER_HOUR", "1")];
    let platform = Platform::start_with(1, &settings).await;
    let (http, process) = (machine(), &platform.process);
    for status in [404, 429, 429] {
        assert_eq!(post(&http, process, "validate", &stranger()).await.status, status);
    }
    for path in ["/api/v1/keys", "/.well-known/jwks.json", "/api/v1/openapi.json", "/api/v1/docs", "/api/v1/keys"] {
        let answer = get(&http, process, path).await;
        assert_eq!(answer.status, 200, "{path}: a guess of the same address has no part in it");
        assert!(!answer.headers.contains_key("ratelimit"), "{path}: a cache may give it to others");
    }
    for path in ["/api/v1/keys", "/.well-known/jwks.json", "/api/v1/openapi.json", "/api/v1/docs"] {
        let refused = get(&http, process, path).await;
        assert_too_many(&refused, "public", 5);
        assert_eq!(header(&refused.headers, "cache-control"), "no-store");
    }
    for path in ["/health", "/health/", "/ready", "/ready/"] {
        let answer = get(&http, process, path).await;
        assert!(answer.status == 200 && !answer.headers.contains_key("ratelimit"), "{path}");
    }
    assert_eq!(post(&machine(), process, "validate", &stranger()).await.status, 404, "another address");
}

#[tokio::test]
async fn public_resources_are_cacheable_and_304_is_not_counted() {
    let platform = Platform::start_with(1, &[("LIMIT_PUBLIC_PER_HOUR", "4")]).await;
    let (http, process) = (machine(), &platform.process);
    for path in ["/api/v1/keys", "/.well-known/jwks.json", "/api/v1/openapi.json", "/api/v1/docs"] {
        let first = get(&http, process, path).await;
        assert_eq!((first.status, header(&first.headers, "cache-control")), (200, "public, max-age=300"), "{path}");
        let tag = header(&first.headers, "etag").to_owned();
        for _ in 0..3 {
            let again = http.get(format!("{}{path}", process.url)).header("if-none-match", &tag);
            let again = again.send().await.unwrap();
            assert_eq!((again.status().as_u16(), again.headers()["etag"].to_str().unwrap()), (304, &*tag), "{path}");
        }
    }
    assert_too_many(&get(&http, process, "/api/v1/keys").await, "public", 4);
}

/// The statuses of as many strangers as there are claims, each with its claim of whom it is calling for.
async fn claimed(process: &Process, http: &Client, claims: &[String]) -> Vec<u16> {
    let mut statuses = Vec::new();
    for claim in claims {
        let request = http.post(format!("{}/api/v1/licenses/validate", process.url)).header("x-forwarded-for", claim);
        statuses.push(request.json(&stranger()).send().await.unwrap().status().as_u16());
    }
    statuses
}

#[tokio::test]
async fn a_spoofed_forwarded_for_gains_nothing() {
    let limit = ("LIMIT_ANONYMOUS_PER_HOUR", "3");
    let platform = Platform::start_with(1, &[limit]).await;
    let (url, redis) = (platform.database.url(), redis_settings());
    let proxied = Process::start_with(BINARY, &["serve"], url, redis.redis_url.expose(), &[limit, ("TRUSTED_PROXY_HOPS", "1")]).await;
    let (one, two, ..) = Uuid::new_v4().as_fields();
    let address = |network: u16| Ipv6Addr::from([0x2001, 0xdb8, u16::try_from(one >> 16).unwrap(), network, two, 0, 0, 1]).to_string();

    // Nobody is trusted: whatever is claimed, the peer counts.
    let claims: Vec<String> = (0..6).map(address).collect();
    assert_eq!(claimed(&platform.process, &machine(), &claims).await, [404, 404, 404, 429, 429, 429]);

    // One proxy is trusted: what it has added counts, whatever stood there before. An IPv6 client is its /64.
    let real = address(100);
    let claims: Vec<String> = (0..6).map(|n| format!("{}, {real}{n}", address(n))).collect();
    assert_eq!(claimed(&proxied, &machine(), &claims).await, [404, 404, 404, 429, 429, 429], "{claims:?}");
    // Each of the addresses that were claimed has all that is its own.
    assert_eq!(claimed(&proxied, &machine(), &(0..6).map(address).collect::<Vec<_>>()).await, [404; 6]);
    // What is no address is the proxy's own.
    let odd = ["unknown", "", "1.2.3", "_hidden", "::g", "-"].map(|odd| format!("{}, {odd}", address(200)));
    assert_eq!(claimed(&proxied, &machine(), &odd).await, [404, 404, 404, 429, 429, 429]);
}

#[tokio::test]
async fn if_the_store_is_down_everybody_is_let_through_who_needs_nothing_else_of_it() {
    let database = TestDatabase::new().await;
    let customer = database.customer(policy(1)).await;
    let nowhere = format!("redis://127.0.0.1:{}", free_port());
    let process = Process::start_with(BINARY, &["serve"], database.url(), &nowhere, &[("LIMIT_ANONYMOUS_PER_HOUR", "1")]).await;
    let http = machine();
    for _ in 0..3 {
        let keys = get(&http, &process, "/api/v1/keys").await;
        assert!(keys.status == 200 && !keys.headers.contains_key("ratelimit"));
        post(&http, &process, "acquire", &stranger()).await.assert_problem(404, "license_not_found");
    }
    post(&http, &process, "acquire", &json!({})).await.assert_problem(400, "invalid_request");
    // Seats are counted there too: without it there are none to be had, and whoever asks is told so at once.
    let known = json!({ "license_key": customer.key.reveal(), "hardware_id": "h", "user_email": "u@x.example" });
    for operation in ["acquire", "validate"] {
        let down = post(&http, &process, operation, &known).await;
        down.assert_problem(503, "service_unavailable");
        assert!(!down.headers.contains_key("ratelimit"));
        assert_eq!(header(&down.headers, "retry-after"), "1");
    }
    let page = reqwest::get(&process.metrics_url).await.unwrap().text().await.unwrap();
    assert!(page.contains("coditect_limits_let_through_total 7"), "{page}");
}

#[tokio::test]
async fn a_limit_of_0_is_none() {
    let platform = Platform::start_with(1, &[("LIMIT_PRINCIPAL_PER_HOUR", "0"), ("LIMIT_ANONYMOUS_PER_HOUR", "0")]).await;
    let http = machine();
    for _ in 0..5 {
        let unknown = post(&http, &platform.process, "validate", &stranger()).await;
        let known = post(&http, &platform.process, "validate", &platform.applicant("one")).await;
        assert_eq!((unknown.status, known.status), (404, 200));
        assert!(!unknown.headers.contains_key("ratelimit") && !known.headers.contains_key("ratelimit-policy"));
    }
}
