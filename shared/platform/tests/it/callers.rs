//! Who a good credential stands for: invitations, staff, personal access tokens, and how soon a change is seen.

use std::{sync::Arc, time::Duration};

use axum::http::{HeaderMap, header::AUTHORIZATION};
use futures_util::future::join_all;
use platform::{
    db::Role,
    domain::{Account, Clock, NotAdmitted, Permission, Principal, Standing, UserId},
    web::{ApiError, AuthenticationSettings, Authenticator, ClientAddress},
};
use testkit::{Customer, ManualClock, TestDatabase, identity::IdentityProvider, people, policy};
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

    /// Makes somebody who has accepted, known by a name at the provider.
    pub(crate) async fn join(&self, standing: Standing, email: &str, subject: &str) -> UserId {
        let id = self.invite(standing, email).await;
        people::join(&self.owner, id, &self.provider.issuer, subject).await;
        id
    }

    async fn account(&self, token: &str) -> Account {
        ask(&self.callers, token).await.unwrap().unwrap()
    }

    async fn ask(&self, token: &str) -> Option<Principal> {
        known(&self.callers, token).await
    }

    async fn run(&self, sql: &str) {
        self.owner.batch_execute(sql).await.unwrap();
    }
}

pub(crate) fn door(database: &TestDatabase, clock: &Arc<ManualClock>, providers: &[&IdentityProvider]) -> Arc<Authenticator> {
    let oidc_issuers = IdentityProvider::setting(providers).parse().unwrap();
    let staff_issuers = vec![providers[0].issuer.clone()];
    let settings = AuthenticationSettings { oidc_issuers, staff_issuers, ..AuthenticationSettings::default() };
    let clock: Arc<ManualClock> = Arc::clone(clock);
    Arc::new(Authenticator::new(&settings, database.connect(Role::Functions), clock).unwrap())
}

fn here() -> ClientAddress {
    ClientAddress::from(std::net::IpAddr::from([127, 0, 0, 1]))
}

pub(crate) async fn ask(callers: &Authenticator, token: &str) -> Result<Option<Account>, ApiError> {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    callers.authenticate(&headers, here()).await
}

/// None where the credential is not good, or stands for nobody.
pub(crate) async fn known(callers: &Authenticator, token: &str) -> Option<Principal> {
    match ask(callers, token).await {
        Ok(account) => account.expect("a credential was sent").principals().ok()?.into_iter().next(),
        Err(ApiError::InvalidToken) => None,
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
async fn member_is_known_by_issuer_and_subject_whatever_the_email() {
    let door = Door::open().await;
    let id = door.join(Standing::Admin, "Ada@x.example", "ada").await;
    let now = door.clock.now();
    let ada = door.ask(&door.token("ada", "other@x.example")).await.unwrap();
    let expected =
        Principal { id, standing: Standing::Admin, tenant: Some(door.customer.tenant), email: "Ada@x.example".to_owned(), token: None };
    assert_eq!(ada, expected);
    let row = door.owner.query_one("SELECT last_seen_at FROM users WHERE id = $1", &[&id.as_uuid()]).await.unwrap();
    assert_eq!(row.get::<_, Option<_>>(0), Some(now));
    for (subject, email) in [("eve", "ada@x.example"), ("stranger", "stranger@x.example")] {
        assert_eq!(door.ask(&door.token(subject, email)).await, None, "{subject}");
    }
}

#[tokio::test]
async fn same_subject_at_another_issuer_is_somebody_else() {
    let door = Door::open().await;
    let other = IdentityProvider::start("first").await;
    let callers = self::door(&door.database, &door.clock, &[&door.provider, &other]);
    let one = door.join(Standing::Member, "one@x.example", "subject").await;
    let two = door.invite(Standing::Guest, "two@x.example").await;
    people::join(&door.owner, two, &other.issuer, "subject").await;
    assert_eq!(known(&callers, &door.token("subject", "one@x.example")).await.unwrap().id, one);
    assert_eq!(known(&callers, &other.token("subject", "two@x.example", door.clock.now())).await.unwrap().id, two);
}

#[tokio::test]
async fn staff_are_of_no_tenant_and_their_deactivation_leaves_memberships_alone() {
    let door = Door::open().await;
    let id = door.join(Standing::Staff, "sam@vendor.example", "sam").await;
    let guest = door.join(Standing::Guest, "sam@vendor.example", "sam").await;
    let token = door.token("sam", "sam@vendor.example");
    let account = door.account(&token).await;
    let sam = account.staff().unwrap();
    assert_eq!((sam.id, sam.standing, sam.tenant), (id, Standing::Staff, None));
    assert_eq!(account.choose(Some(door.customer.tenant)).unwrap().principal.id, guest);
    door.run("UPDATE staff SET status = 'deactivated'").await;
    door.callers.forget();
    assert_eq!(door.ask(&token).await.unwrap().id, guest);
}

#[tokio::test]
async fn issuer_vouches_for_no_staff_unless_it_is_named() {
    let door = Door::open().await;
    let other = IdentityProvider::start("first").await;
    let id = door.invite(Standing::Staff, "sam@vendor.example").await;
    people::join(&door.owner, id, &other.issuer, "sam").await;
    let now = door.clock.now();
    let callers = self::door(&door.database, &door.clock, &[&door.provider, &other]);
    assert_eq!(known(&callers, &other.token("sam", "sam@vendor.example", now)).await, None, "though it is bound to that issuer");
    let callers = self::door(&door.database, &door.clock, &[&other, &door.provider]);
    assert_eq!(known(&callers, &other.token("sam", "sam@vendor.example", now)).await.unwrap().id, id);
}

#[tokio::test]
async fn a_change_of_a_person_is_seen_within_ten_seconds_or_at_once_where_it_was_made() {
    let door = Door::open().await;
    door.join(Standing::Member, "ada@x.example", "ada").await;
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
    door.join(Standing::Member, "ada@x.example", "ada").await;
    let token = door.token("ada", "ada@x.example");
    door.clock.advance(Duration::from_secs(3600 + 59));
    assert!(door.ask(&token).await.is_some(), "clocks may differ by a minute");
    door.clock.advance(Duration::from_secs(1));
    assert!(door.ask(&door.token("ada", "ada@x.example")).await.is_some());
    assert_eq!(door.ask(&token).await, None);
}

#[tokio::test]
async fn people_of_a_suspended_tenant_come_in_and_those_of_a_closed_one_do_not() {
    let door = Door::open().await;
    let id = door.join(Standing::Owner, "ada@x.example", "ada").await;
    let machine =
        people::access_token(&door.owner, id, &[Permission::SeeTenant], door.clock.now() + Duration::from_secs(60)).await.reveal();
    let token = door.token("ada", "ada@x.example");
    for (status, comes_in) in [("suspended", true), ("closed", false), ("active", true)] {
        door.run(&format!("UPDATE tenants SET status = '{status}'")).await;
        door.callers.forget();
        assert_eq!(door.ask(&token).await.is_some(), comes_in, "{status}");
        assert_eq!(door.ask(&machine).await.is_some(), comes_in, "{status}");
    }
    door.run("UPDATE tenants SET status = 'closed'").await;
    door.callers.forget();
    assert_eq!(door.account(&token).await.principals(), Err(NotAdmitted::TenantSuspended));
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
