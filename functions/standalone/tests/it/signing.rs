//! What is signed: verified by the client's own crate, by `openssl`, and while keys change.

use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use coditect_license::{Algorithm, Expected, PublishedKeys, Rejected, RootKey, Verifier};
use platform::{db::Role, signing::Schedule};
use reqwest::header::{ETAG, IF_NONE_MATCH};
use serde_json::{Value, json};
use testkit::{Process, TestDatabase, eventually, keys, policy, redis_settings};

use crate::client::{Answer, BINARY, Platform};

/// What a verifier fetches.
async fn published(platform: &Platform) -> (Verifier, PublishedKeys, Value) {
    let keys: Value = reqwest::get(format!("{}/api/v1/keys", platform.process.url)).await.unwrap().json().await.unwrap();
    let root = RootKey::from_pem(keys["root"]["pem"].as_str().unwrap(), Algorithm::Rs256).unwrap();
    assert_eq!(keys["root"]["jwk"]["kid"], root.kid());
    (Verifier::new(vec![root]), serde_json::from_value(keys.clone()).unwrap(), keys)
}

#[expect(clippy::disallowed_methods, reason = "a verifier goes by the machine's clock")]
fn now() -> SystemTime {
    SystemTime::now()
}

#[tokio::test]
async fn what_a_client_is_given_verifies_offline() {
    let platform = Platform::start(2).await;
    let mut applicant = platform.applicant("device-1");
    applicant["nonce"] = json!("nonce-1");
    let acquired = platform.post("acquire", &applicant).await;
    let beaten = platform.post("heartbeat", &json!({ "session_id": acquired.body["session_id"], "nonce": "nonce-2" })).await;
    let (verifier, keys, _) = published(&platform).await;
    for (answer, nonce) in [(&acquired, "nonce-1"), (&beaten, "nonce-2")] {
        let expected = Expected {
            tenant_id: Some(platform.customer.tenant.to_string()),
            license_id: Some(platform.customer.license.to_string()),
            session_id: acquired.body["session_id"].as_str().map(str::to_owned),
            hardware_id: Some("device-1".to_owned()),
            nonce: Some(nonce.to_owned()),
            ..Expected::default()
        };
        let token = answer.body["lease"].as_str().unwrap();
        let lease = verifier.lease(token, &keys, &expected, now()).unwrap();
        assert_eq!(serde_json::to_value(&lease).unwrap()["seat"], acquired.body["seat"]);
        let other = Expected { nonce: Some("nonce-3".to_owned()), ..expected };
        assert!(verifier.lease(token, &keys, &other, now()).is_err(), "a replayed answer passes");
    }
    let validated = platform.post("validate", &json!({ "license_key": platform.customer.key.reveal() })).await;
    for answer in [&acquired, &validated] {
        let data = &answer.body["license_data"];
        let claims = verifier.license(data["signature"].as_str().unwrap(), &Expected::default()).unwrap();
        let claims = serde_json::to_value(&claims).unwrap();
        assert_eq!((&claims["license_id"], &claims["seats_total"]), (&data["document"]["license_id"], &json!(2)));
        let signed = BASE64URL.decode(data["signature"].as_str().unwrap().split('.').nth(1).unwrap()).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&signed).unwrap(), data["document"]);
    }
}

/// The claims of a compact JWS.
fn claims(jws: &Value) -> Value {
    serde_json::from_slice(&BASE64URL.decode(jws.as_str().unwrap().split('.').nth(1).unwrap()).unwrap()).unwrap()
}

#[tokio::test]
async fn lease_comes_with_the_certificate_unless_its_key_is_known() {
    let platform = Platform::start(2).await;
    let (verifier, keys, _) = published(&platform).await;
    let acquired = platform.post("acquire", &platform.applicant("device-1")).await;
    let beat = async |known: Value| {
        let body = json!({ "session_id": acquired.body["session_id"], "known_leaf": known });
        platform.post("heartbeat", &body).await
    };
    let kid = claims(&acquired.body["certificate"])["jwk"]["kid"].clone();
    for answer in [&acquired, &beat(Value::Null).await, &beat(json!("another")).await] {
        let certificate = answer.body["certificate"].as_str().unwrap();
        assert!(keys.certificates.iter().any(|known| known == certificate));
        let alone = PublishedKeys { certificates: vec![certificate.to_owned()], revocations: None };
        verifier.lease(answer.body["lease"].as_str().unwrap(), &alone, &Expected::default(), now()).unwrap();
    }
    let known = beat(kid).await;
    assert!(known.body["lease"].is_string() && known.body.get("certificate").is_none(), "{}", known.text);
    beat(json!("")).await.assert_problem(400, "invalid_request");
}

#[tokio::test]
async fn lease_names_the_version_of_the_document_beside_it_and_then_of_the_policy() {
    let platform = Platform::start(2).await;
    let acquired = platform.post("acquire", &platform.applicant("device-1")).await;
    let version = &acquired.body["license_data"]["document"]["version"];
    assert!(version.is_u64() && claims(&acquired.body["lease"])["license_version"] == *version, "{}", acquired.text);
    let body = json!({ "session_id": acquired.body["session_id"] });
    let beaten = platform.post("heartbeat", &body).await;
    assert_eq!(claims(&beaten.body["lease"])["license_version"], *version);

    // Changed, and not signed yet: what is given is the document that there is, and the lease says no more than that.
    let owner = platform.database.owner().await;
    owner.execute("UPDATE licenses SET version = version + 1", &[]).await.unwrap();
    let other = Process::start_with(BINARY, &["serve"], platform.database.url(), redis_settings().redis_url.expose(), &[]).await;
    let url = format!("{}/api/v1/licenses/acquire", other.url);
    let acquired = Answer::of(platform.http.post(url).json(&platform.applicant("device-2")).send().await.unwrap()).await;
    assert_eq!(claims(&acquired.body["lease"])["license_version"], acquired.body["license_data"]["document"]["version"]);
    let beaten = platform.post("heartbeat", &body).await;
    assert_eq!(claims(&beaten.body["lease"])["license_version"], version.as_u64().unwrap() + 1);
}

#[tokio::test]
async fn discovery_answers_with_a_tag_and_says_when_nothing_has_changed() {
    let platform = Platform::start(1).await;
    for (path, kind) in [("/.well-known/jwks.json", "application/jwk-set+json"), ("/api/v1/keys", "application/json")] {
        let url = format!("{}{path}", platform.process.url);
        let first = platform.http.get(&url).send().await.unwrap();
        assert_eq!((first.status().as_u16(), first.headers()["content-type"].to_str().unwrap()), (200, kind));
        assert_eq!(first.headers()["cache-control"], "public, max-age=300");
        let tag = first.headers()[ETAG].clone();
        let again = platform.http.get(&url).header(IF_NONE_MATCH, &tag).send().await.unwrap();
        assert_eq!((again.status().as_u16(), &again.headers()[ETAG]), (304, &tag));
        assert_eq!(platform.http.head(&url).send().await.unwrap().status(), 200);
    }
    let jwks = Answer::of(reqwest::get(format!("{}/.well-known/jwks.json", platform.process.url)).await.unwrap()).await;
    let kinds: Vec<&str> = jwks.body["keys"].as_array().unwrap().iter().filter_map(|key| key["kty"].as_str()).collect();
    assert_eq!(kinds, ["RSA", "OKP"]);
    assert!(!jwks.text.contains("\"d\":"));
}

#[tokio::test]
async fn openssl_agrees() {
    let platform = Platform::start(1).await;
    let acquired = platform.post("acquire", &platform.applicant("device")).await;
    let (_, _, keys) = published(&platform).await;
    let folder = Folder::new();
    let root = folder.write("root.pem", keys["root"]["pem"].as_str().unwrap().as_bytes());
    let certificate = keys["certificates"][0].as_str().unwrap();
    let claims: Value = serde_json::from_slice(&BASE64URL.decode(certificate.split('.').nth(1).unwrap()).unwrap()).unwrap();
    // RFC 8410, section 4: SubjectPublicKeyInfo of Ed25519.
    let spki = [&b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00"[..], &BASE64URL.decode(claims["jwk"]["x"].as_str().unwrap()).unwrap()];
    let leaf = folder.write("leaf.der", &spki.concat());

    for signed in [acquired.body["license_data"]["signature"].as_str().unwrap(), certificate] {
        let (text, signature) = folder.split(signed);
        let mut openssl = Command::new("openssl");
        openssl.args(["dgst", "-sha256", "-verify"]).arg(&root).arg("-signature").arg(signature).arg(text);
        assert_eq!(String::from_utf8(openssl.output().unwrap().stdout).unwrap(), "Verified OK\n");
    }
    let (text, signature) = folder.split(acquired.body["lease"].as_str().unwrap());
    let mut openssl = Command::new("openssl");
    openssl.args(["pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-rawin", "-inkey"]).arg(&leaf);
    openssl.arg("-in").arg(text).arg("-sigfile").arg(signature);
    assert_eq!(String::from_utf8(openssl.output().unwrap().stdout).unwrap(), "Signature Verified Successfully\n");
}

#[tokio::test]
async fn leases_keep_verifying_while_keys_rotate_twenty_times_under_load() {
    const ROTATIONS: usize = 20;
    let database = TestDatabase::new().await;
    let customer = database.customer(policy(4)).await;
    let redis = redis_settings();
    // No setting takes so fast a schedule: the test rotates the keys. The first leaf signs for a day: from here on they are short.
    let second = Duration::from_secs(1);
    let fast = Schedule { signs_for: second, made_ahead: second, published_ahead: Duration::ZERO };
    let (owner, rotation) = (database.owner().await, keys::rotation_on(fast, database.connect(Role::Jobs)));
    let shorten = "UPDATE signing_keys SET created_at = now() - interval '2 s', signs_from = now() - interval '1 s', signs_until = now()";
    owner.execute(shorten, &[]).await.unwrap();
    rotation.rotate().await.unwrap();
    let process = Process::start(BINARY, &["serve"], database.url(), redis.redis_url.expose()).await;
    // What the process itself makes ahead, by the usual schedule, would hold up the others.
    let drop_slow = "DELETE FROM signing_keys WHERE state = 'pending' AND signs_from > now() + interval '1 minute'";
    let http = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
    let platform = Platform { process, database, customer, http };
    let session = platform.post("acquire", &platform.applicant("device")).await.body["session_id"].clone();

    let (mut signers, mut leases) = (std::collections::HashSet::new(), Vec::new());
    eventually("twenty rotations", async || {
        owner.execute(drop_slow, &[]).await.unwrap();
        rotation.rotate().await.unwrap();
        for operation in ["heartbeat", "acquire"] {
            let body = if operation == "heartbeat" { json!({ "session_id": session }) } else { platform.applicant("device") };
            let answer = platform.post(operation, &body).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            let lease = answer.body["lease"].as_str().expect("a lease").to_owned();
            if signers.insert(lease.split('.').next().unwrap().to_owned()) {
                leases.push(lease);
            }
        }
        signers.len() > ROTATIONS
    })
    .await;
    // The first as the last: a lease outlives the leaf's signing.
    let (verifier, keys, _) = published(&platform).await;
    for lease in &leases[..leases.len() - 1] {
        verifier.lease(lease, &keys, &Expected::default(), now()).unwrap();
    }
}

#[tokio::test]
async fn a_revoked_leaf_is_refused_and_another_signs_at_once() {
    let platform = Platform::start(2).await;
    let before = platform.post("acquire", &platform.applicant("device")).await.body["lease"].as_str().unwrap().to_owned();
    let (_, _, keys) = published(&platform).await;
    let rotation = keys::rotation(platform.database.connect(Role::Jobs));
    let header: Value = serde_json::from_slice(&BASE64URL.decode(before.split('.').next().unwrap()).unwrap()).unwrap();
    let kid = header["kid"].as_str().unwrap();
    assert!(rotation.revoke(kid).await.unwrap());
    assert!(!rotation.revoke(kid).await.unwrap(), "once is enough");

    // Another process reads the keys fresh; this one within ten seconds.
    let redis = redis_settings();
    let process = Process::start(BINARY, &["serve"], platform.database.url(), redis.redis_url.expose()).await;
    let platform = Platform { process, ..platform };
    let after = platform.post("acquire", &platform.applicant("device")).await.body["lease"].as_str().unwrap().to_owned();
    let (verifier, now_published, _) = published(&platform).await;
    assert_ne!(now_published.revocations.as_deref(), keys["revocations"].as_str());
    verifier.lease(&after, &now_published, &Expected::default(), now()).unwrap();
    // Even with the certificate at hand.
    let mut both = now_published;
    both.certificates.push(keys["certificates"][0].as_str().unwrap().to_owned());
    let rejected = verifier.lease(&before, &both, &Expected::default(), now()).unwrap_err();
    assert_eq!(rejected, Rejected::LeafRevoked);
}

#[tokio::test]
async fn a_changed_license_is_signed_anew() {
    let platform = Platform::start(2).await;
    let owner = platform.database.owner().await;
    owner.execute("UPDATE licenses SET seats_total = 7, version = version + 1", &[]).await.unwrap();
    let is_new = async || {
        let answer = platform.post("validate", &json!({ "license_key": platform.customer.key.reveal() })).await;
        answer.body["license_data"]["document"]["seats_total"] == 7
    };
    eventually("the document says seven seats", is_new).await;
}

/// A folder for files that `openssl` reads; gone when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("coditect-openssl-{}", testkit::free_port()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let file = self.0.join(name);
        std::fs::write(&file, bytes).unwrap();
        file
    }

    /// What was signed, and the signature, in a file each.
    fn split(&self, jws: &str) -> (PathBuf, PathBuf) {
        let (text, signature) = jws.rsplit_once('.').unwrap();
        (self.write("text", text.as_bytes()), self.write("signature", &BASE64URL.decode(signature).unwrap()))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
