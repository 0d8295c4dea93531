//! Memberships in several tenants, over HTTP: invitations, the choice of a tenant, and what an issuer may vouch for; with two
//! processes that each keep for ten seconds what they know of a caller.

mod choosing;
mod deactivating;
mod inviting;
mod vouching;

use platform::domain::{Clock, Standing, SystemClock, TenantId, UserId};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::{
    Customer, Process,
    identity::{IdentityProvider, with},
    people, policy, redis_settings,
};
use tokio_postgres::Client;

use crate::client::{Answer, BINARY, Platform};

/// Two tenants with an owner each, two processes that serve them, and a provider that may vouch for everybody.
struct Town {
    platform: Platform,
    second: Process,
    theirs: Customer,
    provider: IdentityProvider,
    owner: Client,
}

/// Somebody with a token.
#[derive(Clone, Debug)]
struct Caller {
    token: String,
}

impl Town {
    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with further issuers, each with what limits it.
    async fn start_with(others: &[(&IdentityProvider, Value)]) -> Self {
        let provider = IdentityProvider::start("first").await;
        let issuers = [&[(&provider, json!({}))], others].concat();
        let setting = IdentityProvider::setting_with(&issuers);
        let settings = [("OIDC_ISSUERS", setting.as_str()), ("STAFF_ISSUERS", &provider.issuer)];
        let platform = Platform::start_with(5, &settings).await;
        let redis = redis_settings();
        let url = platform.database.url();
        let second = Process::start_with(BINARY, &["serve"], url, redis.redis_url.expose(), &settings).await;
        let theirs = platform.database.customer(policy(5)).await;
        let owner = platform.database.owner().await;
        let town = Self { platform, second, theirs, provider, owner };
        let name = "UPDATE tenants SET name = $2 WHERE id = $1";
        for (tenant, called) in [(town.ours(), "Ours"), (town.theirs.tenant, "Theirs")] {
            town.owner.execute(name, &[&tenant.as_uuid(), &called]).await.unwrap();
            town.join(tenant, Standing::Owner, called, &format!("{called}@owner.example")).await;
        }
        town
    }

    fn ours(&self) -> TenantId {
        self.platform.customer.tenant
    }

    /// Makes a member who has accepted, known by a name at the provider.
    async fn join(&self, tenant: TenantId, standing: Standing, subject: &str, email: &str) -> UserId {
        let id = people::invite(&self.owner, tenant, standing, email).await;
        people::join(&self.owner, id, &self.provider.issuer, subject).await;
        id
    }

    fn caller(&self, subject: &str, email: &str) -> Caller {
        Caller { token: self.provider.token(subject, email, SystemClock.now()) }
    }

    /// The same with other claims.
    fn claiming(&self, subject: &str, claims: &Value) -> Caller {
        let claims = with(&self.provider.claims(subject, "ada@x.example", SystemClock.now()), claims);
        Caller { token: self.provider.key.sign(&self.provider.key.header(), &claims) }
    }

    fn owner_of(&self, tenant: TenantId) -> Caller {
        let name = if tenant == self.ours() { "Ours" } else { "Theirs" };
        self.caller(name, &format!("{name}@owner.example"))
    }

    async fn invite(&self, tenant: TenantId, email: &str, role: &str) -> Answer {
        let body = json!({ "email": email, "role": role });
        self.send(&self.owner_of(tenant), "POST", "/api/v1/users", None, Some(&body)).await
    }

    async fn get(&self, who: &Caller, path: &str) -> Answer {
        self.send(who, "GET", path, None, None).await
    }

    async fn get_in(&self, who: &Caller, tenant: TenantId, path: &str) -> Answer {
        self.send(who, "GET", path, Some(&tenant.to_string()), None).await
    }

    async fn post(&self, who: &Caller, path: &str) -> Answer {
        self.send(who, "POST", path, None, None).await
    }

    async fn send(&self, who: &Caller, method: &str, path: &str, tenant: Option<&str>, body: Option<&Value>) -> Answer {
        self.send_to(&self.platform.process.url, who, method, path, tenant, body).await
    }

    async fn send_to(&self, url: &str, who: &Caller, method: &str, path: &str, tenant: Option<&str>, body: Option<&Value>) -> Answer {
        let method: Method = method.parse().unwrap();
        let mut request = self.platform.http.request(method, format!("{url}{path}")).bearer_auth(&who.token);
        if let Some(tenant) = tenant {
            request = request.header("x-tenant-id", tenant);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        Answer::of(request.send().await.unwrap()).await
    }

    /// The ids of the invitations that wait for somebody, by the names of their tenants.
    async fn invitations(&self, who: &Caller) -> Vec<(String, String)> {
        let list = self.get(who, "/api/v1/invitations").await;
        assert_eq!(list.status, 200, "{}", list.text);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let items = list.body["items"].as_array().unwrap();
        items.iter().map(|item| (text(&item["tenant"]["name"]), text(&item["id"]))).collect()
    }

    async fn answer(&self, who: &Caller, invitation: &str, answer: &str) -> Answer {
        self.post(who, &format!("/api/v1/invitations/{invitation}/{answer}")).await
    }

    /// Accepts the invitation of the tenant of this name.
    async fn accept(&self, who: &Caller, name: &str) -> Answer {
        let all = self.invitations(who).await;
        let (_, id) = all.iter().find(|(of, _)| of == name).unwrap();
        self.answer(who, id, "accept").await
    }

    /// The actions that a tenant's audit events have of one user, the oldest first.
    async fn actions(&self, user: &str) -> Vec<String> {
        let sql = "SELECT action FROM audit_events WHERE subject_id = $1 ORDER BY id";
        self.owner.query(sql, &[&user]).await.unwrap().iter().map(|row| row.get(0)).collect()
    }
}
