//! Who a good credential stands for: invitations, staff, personal access tokens, and how soon a change is seen.

use std::{sync::Arc, time::Duration};

use axum::http::{HeaderMap, header::AUTHORIZATION};
use futures_util::future::join_all;
use platform::{
    db::Role,
    domain::{Clock, Permission, Principal, Standing, UserId},
    web::{ApiError, AuthenticationSettings, Authenticator, ClientAddress},
};
use serde_json::json;
use testkit::{
    Customer, ManualClock, TestDatabase,
    identity::{IdentityProvider, with},
    people, policy,
};
use tokio_postgres::Client;

/// A database with a customer, a provider, and who knows its people.
pub(crate) struct Door {
    pub(crate) database: TestDatabase,
    pub(crate) owner: Client,
    pub(crate) customer: Customer,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) provider: IdentityProvider,
    pub(crate) callers: Arc<Authenticator>,
}

impl Door {
    pub(crate) async fn open() -> Self {
        let database = TestDatabase::new().await;
        let customer = database.customer(policy(5)).await;
        let (clock, provider) = (Arc::new(ManualClock::default()), IdentityProvider::start("first").await);
        let callers = door(&database, &clock, &[&provider]);
        Self { owner: database.owner().await, database, customer, clock, provider, callers }
    }

    pub(crate) fn token(&self, subject: &str, email: &str) -> String {
        self.provider.token(subject, email, self.clock.now())
    }

    async fn invite(&self, standing: Standing, email: &str) -> UserId {
        people::invite(&self.owner, self.customer.tenant, standing, email).await
    }

    async fn ask(&self, token: &str) -> Option<Principal> {
        known(&self.callers, token).await
    }

    async fn run(&self, sql: &str) {
        self.owner.batch_execute(sql).await.unwrap();
    }
}

pub(crate) fn door(database: &TestDatabase, clock: &Arc<ManualClock>, providers: &[&IdentityProvider]) -> Arc<Authenticator> {
    let settings =
        AuthenticationSettings { oidc_issuers: IdentityProvider::setting(providers).parse().unwrap(), ..AuthenticationSettings::default() };
    let clock: Arc<ManualClock> = Arc::clone(clock);
    Arc::new(Authenticator::new(&settings, database.connect(Role::Functions), clock).unwrap())
}

fn here() -> ClientAddress {
    ClientAddress::from(std::net::IpAddr::from([127, 0, 0, 1]))
}

pub(crate) async fn ask(callers: &Authenticator, token: &str) -> Result<Option<Principal>, ApiError> {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    callers.authenticate(&headers, here()).await
}

/// None where the credential is not good.
pub(crate) async fn known(callers: &Authenticator, token: &str) -> Option<Principal> {
    match ask(callers, token).await {
        Ok(principal) => Some(principal.expect("a credential was sent")),
        Err(ApiError::Unauthenticated) => None,
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn nobody_is_asked_for_where_no_credential_was_sent() {
    let door = Door::open().await;
    assert_eq!(door.callers.authenticate(&HeaderMap::new(), here()).await.unwrap(), None);
    assert_eq!(door.provider.fetches(), 0, "nothing is fetched before it is needed");
}

#[tokio::test]
async fn an_invitation_is_taken_up_on_first_sight_and_the_email_means_nothing_afterwards() {
    let door = Door::open().await;
    let id = door.invite(Standing::Admin, "Ada@x.example").await;
    let now = door.clock.now();
    for unverified in [json!({ "email_verified": false }), json!({ "email_verified": null }), json!({ "email_verified": "true" })] {
        let claims = with(&door.provider.claims("eve", "ada@x.example", now), &unverified);
        assert_eq!(door.ask(&door.provider.key.sign(&door.provider.key.header(), &claims)).await, None, "{unverified}");
    }
    let ada = door.ask(&door.token("ada", "ada@x.example")).await.unwrap();
    let expected =
        Principal { id, standing: Standing::Admin, tenant: Some(door.customer.tenant), email: "Ada@x.example".to_owned(), token: None };
    assert_eq!(ada, expected);
    let row = door.owner.query_one("SELECT status, version, last_seen_at FROM users WHERE id = $1", &[&id.as_uuid()]).await.unwrap();
    assert_eq!((row.get::<_, &str>(0), row.get::<_, i64>(1), row.get::<_, Option<_>>(2)), ("active", 2, Some(now)));
    let audit = "SELECT tenant_id, actor_id, subject_id FROM audit_events WHERE action = 'user.joined'";
    let audit = door.owner.query_one(audit, &[]).await.unwrap();
    assert_eq!(audit.get::<_, uuid::Uuid>(0), door.customer.tenant.as_uuid());
    assert_eq!((audit.get::<_, String>(1), audit.get::<_, String>(2)), (id.to_string(), id.to_string()));

    // Known by issuer and subject from now on, whatever the email; and nobody else comes in by it.
    door.callers.forget();
    assert_eq!(door.ask(&door.token("ada", "other@x.example")).await.unwrap().id, id);
    assert_eq!(door.ask(&door.token("eve", "ada@x.example")).await, None);
    assert_eq!(door.ask(&door.token("stranger", "stranger@x.example")).await, None);
}

#[tokio::test]
async fn the_same_subject_at_another_issuer_is_somebody_else() {
    let door = Door::open().await;
    let other = IdentityProvider::start("first").await;
    let callers = self::door(&door.database, &door.clock, &[&door.provider, &other]);
    let (one, two) = (door.invite(Standing::Member, "one@x.example").await, door.invite(Standing::Guest, "two@x.example").await);
    assert_eq!(known(&callers, &door.token("subject", "one@x.example")).await.unwrap().id, one);
    assert_eq!(known(&callers, &other.token("subject", "two@x.example", door.clock.now())).await.unwrap().id, two);
}

#[tokio::test]
async fn staff_are_of_no_tenant() {
    let door = Door::open().await;
    let id = door.invite(Standing::Staff, "sam@vendor.example").await;
    door.invite(Standing::Guest, "sam@vendor.example").await;
    let sam = door.ask(&door.token("sam", "sam@vendor.example")).await.unwrap();
    assert_eq!((sam.id, sam.standing, sam.tenant), (id, Standing::Staff, None));
    door.run("UPDATE staff SET status = 'deactivated'").await;
    door.callers.forget();
    assert_eq!(door.ask(&door.token("sam", "sam@vendor.example")).await, None, "nor does another invitation let them in");
}

#[tokio::test]
async fn a_change_of_a_person_is_seen_within_ten_seconds_or_at_once_where_it_was_made() {
    let door = Door::open().await;
    door.invite(Standing::Member, "ada@x.example").await;
    let token = door.token("ada", "ada@x.example");
    assert!(door.ask(&token).await.is_some());
    door.run("UPDATE users SET role = 'guest' WHERE email = 'ada@x.example'").await;
    assert_eq!(door.ask(&token).await.unwrap().standing, Standing::Member);
    door.clock.advance(Duration::from_secs(10));
    assert_eq!(door.ask(&token).await.unwrap().standing, Standing::Guest);
    door.run("UPDATE users SET status = 'deactivated' WHERE email = 'ada@x.example'").await;
    door.callers.forget();
    assert_eq!(door.ask(&token).await, None);
    door.run("UPDATE users SET status = 'active' WHERE email = 'ada@x.example'").await;
    assert!(door.ask(&token).await.is_some(), "that somebody was nobody is not kept");
}

#[tokio::test]
async fn a_token_that_is_over_is_not_taken_although_its_bearer_was_just_seen() {
    let door = Door::open().await;
    door.invite(Standing::Member, "ada@x.example").await;
    let token = door.token("ada", "ada@x.example");
    door.clock.advance(Duration::from_secs(3600 + 59));
    assert!(door.ask(&token).await.is_some(), "clocks may differ by a minute");
    door.clock.advance(Duration::from_secs(1));
    assert!(door.ask(&door.token("ada", "ada@x.example")).await.is_some());
    assert_eq!(door.ask(&token).await, None);
}

#[tokio::test]
async fn people_of_a_suspended_tenant_may_come_in_and_those_of_a_closed_one_not() {
    let door = Door::open().await;
    let id = door.invite(Standing::Owner, "ada@x.example").await;
    let machine =
        people::access_token(&door.owner, id, &[Permission::SeeTenant], door.clock.now() + Duration::from_secs(60)).await.reveal();
    door.run("UPDATE users SET status = 'invited' WHERE email = 'ada@x.example'").await;
    let token = door.token("ada", "ada@x.example");
    for (status, comes_in) in [("suspended", true), ("closed", false), ("active", true)] {
        door.run(&format!("UPDATE tenants SET status = '{status}'")).await;
        door.callers.forget();
        assert_eq!(door.ask(&token).await.is_some(), comes_in, "{status}");
        assert_eq!(door.ask(&machine).await.is_some(), comes_in, "{status}");
    }
    door.run("UPDATE tenants SET status = 'closed'").await;
    door.invite(Standing::Member, "late@x.example").await;
    assert_eq!(door.ask(&door.token("late", "late@x.example")).await, None);
    let waiting = "SELECT status FROM users WHERE email = 'late@x.example'";
    assert_eq!(door.owner.query_one(waiting, &[]).await.unwrap().get::<_, &str>(0), "invited", "an invitation of a closed tenant waits");
}

#[tokio::test]
async fn somebody_who_is_invited_twice_and_comes_many_times_at_once_is_one_person() {
    let door = Door::open().await;
    let other = door.database.customer(policy(1)).await;
    let first = door.invite(Standing::Member, "ada@x.example").await;
    people::invite(&door.owner, other.tenant, Standing::Owner, "ada@x.example").await;
    let token = door.token("ada", "ada@x.example");
    let doors: Vec<_> = (0..8).map(|_| self::door(&door.database, &door.clock, &[&door.provider])).collect();
    let seen = join_all(doors.iter().map(|callers| known(callers, &token))).await;
    assert!(seen.iter().all(|person| person.as_ref().is_some_and(|person| person.id == first)), "{seen:?}");
}

#[tokio::test]
async fn a_personal_access_token_acts_for_its_owner_within_its_scopes_until_it_is_over() {
    let door = Door::open().await;
    let id = door.invite(Standing::Member, "ada@x.example").await;
    let until = door.clock.now() + Duration::from_secs(8);
    let token = people::access_token(&door.owner, id, &[Permission::SeeTenant, Permission::ReadAudit], until).await;
    let machine = door.ask(&token.reveal()).await.unwrap();
    assert_eq!((machine.id, machine.standing, machine.tenant), (id, Standing::Member, Some(door.customer.tenant)));
    assert!(machine.may(Permission::SeeTenant) && !machine.may(Permission::AcquireWithToken) && !machine.may(Permission::ReadAudit));
    let used = door.owner.query_one("SELECT last_used_at FROM access_tokens", &[]).await.unwrap();
    assert_eq!(used.get::<_, Option<_>>(0), Some(door.clock.now()));

    door.clock.advance(Duration::from_millis(7_999));
    assert!(door.ask(&token.reveal()).await.is_some());
    door.clock.advance(Duration::from_millis(1));
    assert_eq!(door.ask(&token.reveal()).await, None, "what is kept of it ends with it");

    let token = people::access_token(&door.owner, id, &[Permission::SeeTenant], door.clock.now() + Duration::from_secs(60)).await;
    assert!(door.ask(&token.reveal()).await.is_some());
    door.run("UPDATE access_tokens SET revoked_at = now()").await;
    door.clock.advance(Duration::from_secs(10));
    assert_eq!(door.ask(&token.reveal()).await, None);
    let text = token.reveal();
    for wrong in [platform::domain::AccessToken::generate().reveal(), text[..41].to_owned(), text.to_uppercase(), "cdt_".to_owned()] {
        assert_eq!(door.ask(&wrong).await, None, "{wrong}");
    }
}

#[tokio::test]
async fn a_burst_of_one_caller_costs_one_look_up() {
    let door = Door::open().await;
    let id = door.invite(Standing::Member, "ada@x.example").await;
    let token = people::access_token(&door.owner, id, &[], door.clock.now() + Duration::from_secs(60)).await.reveal();
    // Nobody's look-up can end while the row is locked.
    door.run("BEGIN; UPDATE access_tokens SET name = 'locked'").await;
    let burst = join_all((0..50).map(|_| door.ask(&token)));
    let count = async {
        let watcher = door.database.owner().await;
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND query LIKE '%people::by_token%'
                   AND pid <> pg_backend_pid()";
        let mut seen = 0;
        while seen == 0 {
            seen = watcher.query_one(sql, &[]).await.unwrap().get::<_, i64>(0);
        }
        door.run("COMMIT").await;
        seen
    };
    let (seen, look_ups) = tokio::join!(burst, count);
    assert_eq!((look_ups, seen.iter().flatten().count()), (1, 50));
}
