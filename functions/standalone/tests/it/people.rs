//! People of a laptop's demo, the issuer that vouches for them, and what a token changes for a seat.

use std::{
    collections::BTreeMap,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Output,
};

use platform::domain::LicenseKey;
use serde_json::{Value, json};
use testkit::{TestDatabase, policy, redis_settings};
use tokio::process::Command;

use crate::client::{Answer, BINARY, Platform};

/// A local issuer's key, gone when dropped.
struct KeyFile(PathBuf);

impl KeyFile {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("coditect-issuer-{}.pem", platform::domain::UserId::random())))
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn standalone(database: &TestDatabase, arguments: &[&str], settings: &[(&str, &str)]) -> Output {
    let redis = redis_settings();
    let mut command = Command::new(BINARY);
    command.args(arguments).env("DATABASE_URL", database.url()).env("REDIS_URL", redis.redis_url.expose());
    command.envs(testkit::keys::settings()).envs(settings.iter().copied()).output().await.unwrap()
}

/// A platform with a local issuer, and a token of each standing.
struct Demo {
    platform: Platform,
    tokens: BTreeMap<String, String>,
    issuer: KeyFile,
}

impl Demo {
    async fn start(seats: u32) -> Self {
        let issuer = KeyFile::new();
        let platform = Platform::start_with(seats, &[("LOCAL_ISSUER", issuer.path())]).await;
        let tokens = tokens(&platform, &issuer).await;
        Self { platform, tokens, issuer }
    }

    async fn send(&self, operation: &str, key: &LicenseKey, email: &str, standing: Option<&str>) -> Answer {
        let body = json!({ "license_key": key.reveal(), "hardware_id": "device", "user_email": email });
        let mut request = self.platform.request(operation).header("x-request-id", "the-same").json(&body);
        if let Some(standing) = standing {
            request = request.bearer_auth(&self.tokens[standing]);
        }
        Answer::of(request.send().await.unwrap()).await
    }

    async fn acquire(&self, email: &str, standing: Option<&str>) -> Answer {
        self.send("acquire", &self.platform.customer.key, email, standing).await
    }
}

async fn tokens(platform: &Platform, issuer: &KeyFile) -> BTreeMap<String, String> {
    let tenant = platform.customer.tenant.to_string();
    let output = standalone(&platform.database, &["demo-people", "--tenant", &tenant], &[("LOCAL_ISSUER", issuer.path())]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let made: BTreeMap<String, String> = serde_json::from_slice::<Value>(&output.stdout)
        .unwrap()
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, token)| (name.strip_suffix("_token").unwrap().to_owned(), token.as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(made.keys().collect::<Vec<_>>(), ["admin", "guest", "member", "owner", "staff"]);
    made
}

#[tokio::test]
async fn members_and_those_above_them_get_a_seat_with_a_token_and_guests_and_staff_do_not() {
    let demo = Demo::start(5).await;
    for (standing, acquires, validates) in
        [("guest", 403, 403), ("staff", 403, 200), ("member", 201, 200), ("admin", 200, 200), ("owner", 200, 200)]
    {
        let answer = demo.acquire("u@x.example", Some(standing)).await;
        assert_eq!(answer.status, acquires, "{standing}: {}", answer.text);
        if acquires == 403 {
            answer.assert_problem(403, "forbidden");
        }
        assert_eq!(demo.send("validate", &demo.platform.customer.key, "", Some(standing)).await.status, validates, "{standing}");
    }
    assert_eq!(demo.acquire("u@x.example", None).await.status, 200, "a key alone is enough");
}

#[tokio::test]
async fn a_key_of_another_tenant_is_to_a_token_as_one_that_never_was() {
    let demo = Demo::start(5).await;
    let foreign = demo.platform.database.customer(policy(5)).await.key;
    for operation in ["acquire", "validate"] {
        // Once before the license is known to the process, and once after.
        for _ in 0..2 {
            for standing in ["member", "admin", "owner"] {
                let unknown = demo.send(operation, &LicenseKey::generate(), "u@x.example", Some(standing)).await;
                let other = demo.send(operation, &foreign, "u@x.example", Some(standing)).await;
                other.assert_problem(404, "license_not_found");
                assert_eq!((other.status, other.text), (unknown.status, unknown.text), "{operation} {standing}");
            }
            assert!(demo.send(operation, &foreign, "u@x.example", None).await.status < 300);
        }
    }
    let guest = demo.send("acquire", &foreign, "u@x.example", Some("guest")).await;
    guest.assert_problem(403, "forbidden");
}

#[tokio::test]
async fn a_license_that_requires_a_token_is_used_by_its_bearer_under_its_own_address() {
    let demo = Demo::start(5).await;
    demo.platform.database.owner().await.batch_execute("UPDATE licenses SET requires_token = true").await.unwrap();
    demo.acquire("member@demo.example", None).await.assert_problem(401, "unauthenticated");
    demo.send("validate", &demo.platform.customer.key, "", None).await.assert_problem(401, "unauthenticated");
    let other = demo.acquire("eve@demo.example", Some("member")).await;
    other.assert_problem(400, "invalid_request");
    assert_eq!(other.body["errors"][0]["field"], "user_email");
    demo.acquire("admin@demo.example", Some("guest")).await.assert_problem(403, "forbidden");
    assert_eq!(demo.acquire("Member@demo.example", Some("member")).await.status, 201);
    assert_eq!(demo.send("validate", &demo.platform.customer.key, "", Some("member")).await.status, 200);
    // A session once given lives by its id, as any other.
    let session = demo.acquire("member@demo.example", Some("member")).await.body["session_id"].clone();
    assert_eq!(demo.platform.post("heartbeat", &json!({ "session_id": session })).await.status, 200);
}

#[tokio::test]
async fn member_on_anothers_device_gets_a_session_of_her_own() {
    let demo = Demo::start(1).await;
    demo.platform.database.owner().await.batch_execute("UPDATE licenses SET requires_token = true").await.unwrap();
    let theirs = demo.acquire("member@demo.example", Some("member")).await;
    let hers = demo.acquire("admin@demo.example", Some("admin")).await;
    assert_eq!((theirs.status, hers.status, &hers.body["seat"]), (201, 200, &theirs.body["seat"]));
    assert_ne!(theirs.body["session_id"], hers.body["session_id"]);
    let released = demo.platform.post("release", &json!({ "session_id": hers.body["session_id"] })).await;
    assert_eq!((released.status, released.body["seats_used"].as_u64()), (200, Some(1)));
    let beat = demo.platform.post("heartbeat", &json!({ "session_id": theirs.body["session_id"] })).await;
    assert_eq!(beat.status, 200);
    let events = demo.platform.http.get(format!("{}/api/v1/audit-events", demo.platform.process.url));
    let events = Answer::of(events.bearer_auth(&demo.tokens["owner"]).send().await.unwrap()).await;
    let mut told: Vec<_> = events.body["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["subject_type"] == "session")
        .map(|event| (event["action"].as_str().unwrap(), event["user_email"].as_str().unwrap()))
        .collect();
    told.sort_unstable();
    let (acquired, released) = ("session.acquired", "session.released");
    assert_eq!(told, [(acquired, "admin@demo.example"), (acquired, "member@demo.example"), (released, "admin@demo.example")]);
}

#[tokio::test]
async fn demo_people_stay_who_they_are_and_their_tokens_are_good_only_where_the_issuer_is() {
    let demo = Demo::start(5).await;
    let ids = "SELECT string_agg(id::text, ' ' ORDER BY id) FROM (SELECT id FROM users UNION ALL SELECT id FROM staff) AS everybody";
    let owner = demo.platform.database.owner().await;
    let everybody = async || owner.query_one(ids, &[]).await.unwrap().get::<_, String>(0);
    let before = everybody().await;
    let again = tokens(&demo.platform, &demo.issuer).await;
    assert_eq!((everybody().await, before.split(' ').count()), (before, 6), "five, and the owner whom the customer came with");
    assert_eq!(std::fs::metadata(&demo.issuer.0).unwrap().permissions().mode() & 0o777, 0o600);
    // Another issuer's key makes nobody anyone, nor does this one's where it is not wanted.
    let (other, foreign) = (KeyFile::new(), Platform::start(5).await);
    let forged = tokens(&demo.platform, &other).await;
    let send = async |platform: &Platform, token: &str| {
        Answer::of(platform.request("acquire").json(&platform.applicant("device")).bearer_auth(token).send().await.unwrap()).await
    };
    assert_eq!(send(&demo.platform, &again["member"]).await.status, 201);
    send(&demo.platform, &forged["member"]).await.assert_problem(401, "unauthenticated");
    tokens(&foreign, &demo.issuer).await;
    send(&foreign, &demo.tokens["owner"]).await.assert_problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_local_issuer_is_refused_where_others_could_connect() {
    let (database, issuer) = (TestDatabase::new().await, KeyFile::new());
    for host in ["0.0.0.0", "::", "10.0.0.1"] {
        for arguments in [vec!["serve", "--local-issuer", issuer.path()], vec!["serve"]] {
            let output = standalone(&database, &arguments, &[("HOST", host), ("LOCAL_ISSUER", issuer.path())]).await;
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.code() == Some(1) && said.contains("loopback") && said.contains(host), "{said}");
        }
    }
    assert!(!Path::new(issuer.path()).exists(), "nor is a key made");
}

#[tokio::test]
async fn staff_are_invited_once() {
    let database = TestDatabase::new().await;
    let output = standalone(&database, &["invite-staff", "sam@vendor.example"], &[]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let again = standalone(&database, &["invite-staff", "Sam@vendor.example"], &[]).await;
    assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("already"));
    let owner = database.owner().await;
    let row = owner.query_one("SELECT email, status FROM staff", &[]).await.unwrap();
    assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(1)), ("sam@vendor.example", "invited"));
    let audit =
        owner.query_one("SELECT count(*) FROM audit_events WHERE action = 'staff.invited' AND tenant_id IS NULL", &[]).await.unwrap();
    assert_eq!(audit.get::<_, i64>(0), 1);
}
