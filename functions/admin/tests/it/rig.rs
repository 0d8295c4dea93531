//! A running administration, with two tenants and everybody in them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use admin::{AdminParts, Store};
use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request},
};
use http_body_util::BodyExt;
use platform::{
    db::Role,
    domain::{Email, HardwareId, Standing},
    seats::{Acquired, Applicant, Engine, LimitSettings, RedisLink},
    web::{Authenticator, HttpSettings, Metrics, TelemetrySettings, shell},
};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use testkit::{Customer, ManualClock, TestDatabase, keys, policy, redis_settings};
use tower::ServiceExt;

use crate::{
    described,
    people::{Person, Provider},
};

/// A tenant, its license, and one person of each standing.
#[derive(Debug)]
pub(crate) struct Tenant {
    pub(crate) customer: Customer,
    pub(crate) guest: Person,
    pub(crate) member: Person,
    pub(crate) admin: Person,
    pub(crate) owner: Person,
}

impl Tenant {
    /// Its path.
    pub(crate) fn path(&self) -> String {
        format!("/api/v1/tenants/{}", self.customer.tenant)
    }
}

/// The administration, and what tests do to it.
pub(crate) struct Rig {
    pub(crate) database: TestDatabase,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) provider: Provider,
    /// Another container's seat engine.
    pub(crate) seats: Arc<Engine>,
    pub(crate) ours: Tenant,
    pub(crate) theirs: Tenant,
    pub(crate) staff: Person,
    app: Router,
    /// Another process over the same servers, with caches of its own.
    other: Router,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        let database = TestDatabase::new().await;
        let clock = Arc::new(ManualClock::default());
        let provider = Provider::new();
        let engine = || {
            let limits = LimitSettings { limit_anonymous_per_hour: 0, limit_principal_per_hour: 0, limit_public_per_hour: 0 };
            let link = RedisLink::new(&redis_settings()).unwrap();
            Arc::new(Engine::with_moved_time(link, database.connect(Role::Functions), Arc::clone(&clock) as _, limits))
        };
        let process = || {
            let callers = Authenticator::new(&provider.settings(), database.connect(Role::Functions), Arc::clone(&clock) as _).unwrap();
            let parts = AdminParts {
                store: Store::new(database.connect(Role::Admin)),
                seats: engine(),
                callers: Arc::new(callers),
                root: keys::root(),
                sealing: keys::SEALING_KEY.parse().unwrap(),
                clock: Arc::clone(&clock) as _,
            };
            let metrics = Arc::new(Metrics::new(Registry::default()));
            let limiter = Arc::clone(parts.seats.limiter());
            shell(admin::router(parts), &http(), metrics, limiter, async || vec![])
        };
        let (app, other) = (process(), process());
        let (ours, theirs) = (tenant(&database).await, tenant(&database).await);
        let staff = Person::make(&database.owner().await, None, Standing::Staff).await;
        Self { seats: engine(), database, clock, provider, ours, theirs, staff, app, other }
    }

    /// Goes on with the other process: what was sent to this one is sent to that one, and the other way about.
    pub(crate) fn switch(&mut self) {
        std::mem::swap(&mut self.app, &mut self.other);
    }

    /// Sends a request as somebody. Staff who must name a tenant and name none do so for ours.
    pub(crate) async fn call(&self, who: &Person, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Answer {
        let ours = self.ours.customer.tenant.to_string();
        let names_none = !path.starts_with("/api/v1/tenants") && headers.iter().all(|(name, _)| *name != "x-tenant-id");
        let named = (who.standing == Standing::Staff && names_none).then_some(named(&ours));
        self.call_as_is(who, method, path, &headers.iter().copied().chain(named).collect::<Vec<_>>(), body).await
    }

    /// Sends a request as somebody with these headers alone.
    pub(crate) async fn call_as_is(
        &self,
        who: &Person,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let token = format!("Bearer {}", self.provider.token(who, &self.clock));
        let headers = [headers, &[("authorization", token.as_str())]].concat();
        self.send(method, path, &headers, body).await
    }

    /// Sends a request with these headers alone.
    pub(crate) async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Answer {
        let answer = self.exchange(method, path, headers, body).await;
        described::check(method, path.split('?').next().unwrap(), &answer);
        answer
    }

    /// The same, not held to its description, which takes longer than many an answer: for measurements.
    pub(crate) async fn exchange(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = body.map(Value::to_string);
        if body.is_some() && !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/json");
        }
        let begin = Instant::now();
        let response = self.app.clone().oneshot(request.body(body.map_or_else(Body::empty, Body::from)).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        let took = begin.elapsed();
        let body = serde_json::from_str(&text).unwrap_or_default();
        Answer { status: head.status.as_u16(), headers: head.headers, text, body, took }
    }

    pub(crate) async fn get(&self, who: &Person, path: &str) -> Answer {
        self.call(who, "GET", path, &[], None).await
    }

    pub(crate) async fn post(&self, who: &Person, path: &str, body: &Value) -> Answer {
        self.call(who, "POST", path, &[], Some(body)).await
    }

    /// Reads what is at a path, and changes it as somebody who has read it.
    pub(crate) async fn change(&self, who: &Person, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let read = match method {
            "POST" => path.rsplit_once('/').unwrap().0,
            _ => path,
        };
        // As an owner, whose reads leave no trace; as staff where the owner may not any more.
        let readers =
            [(&self.ours.owner, &self.ours), (&self.theirs.owner, &self.theirs), (&self.staff, &self.ours), (&self.staff, &self.theirs)];
        for (reader, tenant) in readers {
            let tenant = tenant.customer.tenant.to_string();
            let read = self.call(reader, "GET", read, &[named(&tenant)], None).await;
            if read.status == 200 {
                let mut headers = vec![("if-match", read.tag())];
                headers.extend((who.standing == Standing::Staff).then_some(named(&tenant)));
                return self.call(who, method, path, &headers, body).await;
            }
        }
        panic!("{path} is neither ours nor theirs");
    }

    /// What the last so many events tell, the newest first: actor, action, subject, and whether it was refused.
    pub(crate) async fn events(&self, last: i64) -> Vec<Value> {
        let sql =
            "SELECT tenant_id::text, actor, actor_id, token_id::text, action, subject_type, subject_id, before, after, details, request_id,
                          is_refused FROM audit_events ORDER BY id DESC LIMIT $1";
        let rows = self.database.owner().await.query(sql, &[&last]).await.unwrap();
        let text = |row: &tokio_postgres::Row, column: &str| row.get::<_, Option<String>>(column);
        let json_of = |row: &tokio_postgres::Row, column: &str| row.get::<_, Option<Value>>(column);
        rows.iter()
            .map(|row| {
                json!({
                    "tenant": text(row, "tenant_id"), "actor": text(row, "actor"), "actor_id": text(row, "actor_id"),
                    "token": text(row, "token_id"), "action": text(row, "action"), "kind": text(row, "subject_type"),
                    "subject": text(row, "subject_id"), "before": json_of(row, "before"), "after": json_of(row, "after"),
                    "details": json_of(row, "details"), "request_id": text(row, "request_id"),
                    "is_refused": row.get::<_, bool>("is_refused"),
                })
            })
            .collect()
    }

    /// Asks for a seat of a customer's license, in another container.
    pub(crate) async fn acquire(&self, customer: &Customer, device: &str) -> Acquired {
        let hardware = HardwareId::parse(device).unwrap();
        let email = Email::parse("somebody@test.example").unwrap();
        self.seats.acquire(&customer.key, Applicant::new(hardware, email, None, b"")).await.unwrap().outcome().unwrap()
    }
}

/// The header by which staff name a tenant.
pub(crate) fn named(tenant: &str) -> (&'static str, &str) {
    ("x-tenant-id", tenant)
}

fn http() -> HttpSettings {
    HttpSettings {
        host: [127, 0, 0, 1].into(),
        port: 0,
        metrics_host: [127, 0, 0, 1].into(),
        metrics_port: 0,
        shutdown_grace_ms: 8000,
        request_timeout_ms: 20_000,
        max_connections: 10,
        keep_alive_seconds: 60,
        trusted_proxy_hops: 0,
        cors_origins: "".parse().unwrap(),
        telemetry: TelemetrySettings::default(),
    }
}

async fn tenant(database: &TestDatabase) -> Tenant {
    let customer = database.customer(policy(5)).await;
    let owner = database.owner().await;
    let make = async |standing| Person::make(&owner, Some(customer.tenant), standing).await;
    Tenant {
        guest: make(Standing::Guest).await,
        member: make(Standing::Member).await,
        admin: make(Standing::Admin).await,
        owner: make(Standing::Owner).await,
        customer,
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    pub(crate) body: Value,
    /// From the request to the end of its answer.
    pub(crate) took: Duration,
}

impl Answer {
    /// Holds the answer to a problem's status and code.
    #[track_caller]
    pub(crate) fn assert_problem(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.body["code"].as_str()), (status, Some(code)), "{}", self.text);
    }

    /// Holds the answer to a status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// The fields that are named as wrong.
    pub(crate) fn faults(&self) -> Vec<&str> {
        self.body["errors"].as_array().into_iter().flatten().filter_map(|fault| fault["field"].as_str()).collect()
    }

    /// Its tag.
    pub(crate) fn tag(&self) -> &str {
        self.headers["etag"].to_str().unwrap()
    }
}
