//! Audit events, by SQL: each role writes those of its own kind, for the tenant of its transaction, and no others.

use platform::{
    db::{self, Access, Role, Rows, Scope},
    domain::{Permission, Principal, Standing, UserId},
};
use testkit::{Customer, TestDatabase, policy};
use tokio_postgres::{Client, error::SqlState};

const ROLES: [&str; 4] = ["coditect_functions", "coditect_admin", "coditect_jobs", "coditect_resolver"];

/// An event, as SQL: its columns in the order of [`insert`].
#[derive(Clone, Copy)]
struct Event {
    tenant: &'static str,
    actor: &'static str,
    actor_id: &'static str,
    token_id: &'static str,
    action: &'static str,
    is_refused: &'static str,
}

/// What the seat engine writes by itself.
const EXPIRED: Event =
    Event { tenant: "$ours", actor: "'system'", actor_id: "NULL", token_id: "NULL", action: "'session.expired'", is_refused: "false" };
/// What the administration writes.
const CHANGED: Event = Event { actor: "'user'", actor_id: "'usr_ada'", action: "'tenant.changed'", ..EXPIRED };
/// What is written when somebody signs in for the first time.
const JOINED: Event = Event { actor: "'user'", actor_id: "'usr_ada'", action: "'user.joined'", ..EXPIRED };

struct Writer {
    client: Client,
    ours: Customer,
    theirs: Customer,
}

impl Writer {
    /// A connection of this role whose transactions are for a tenant, and for a person if one is named.
    async fn of(database: &TestDatabase, role: &str, actor: &str) -> Self {
        let (ours, theirs) = (database.customer(policy(1)).await, database.customer(policy(1)).await);
        let client = db::connect_as_login(database.settings()).await.unwrap();
        let scope = format!("SET ROLE {role}; SET coditect.tenant = '{}'; SET coditect.actor = '{actor}'", ours.tenant.as_uuid());
        client.batch_execute(&scope).await.unwrap();
        Self { client, ours, theirs }
    }

    async fn write(&self, table: &str, event: Event) -> Result<(), tokio_postgres::Error> {
        let Event { tenant, actor, actor_id, token_id, action, is_refused } = event;
        let tenant = match tenant {
            "$ours" => format!("'{}'", self.ours.tenant.as_uuid()),
            "$theirs" => format!("'{}'", self.theirs.tenant.as_uuid()),
            other => other.to_owned(),
        };
        let sql = format!(
            "INSERT INTO {table} (tenant_id, at, actor, actor_id, token_id, action, is_refused)
             VALUES ({tenant}, now(), {actor}, {actor_id}, {token_id}, {action}, {is_refused})"
        );
        self.client.batch_execute(&sql).await
    }

    async fn must_write(&self, table: &str, event: Event) {
        let Event { actor, action, .. } = event;
        self.write(table, event).await.unwrap_or_else(|error| panic!("{table}: {actor} {action}: {error}"));
    }

    async fn must_not_write(&self, table: &str, event: Event) {
        let Event { tenant, actor, actor_id, action, .. } = event;
        let what = format!("{table}: {tenant} {actor} {actor_id} {action}");
        let refused = self.write(table, event).await.expect_err(&what);
        let allowed = [SqlState::INSUFFICIENT_PRIVILEGE, SqlState::CHECK_VIOLATION];
        assert!(allowed.contains(refused.code().unwrap()), "{what}: {refused}");
    }
}

const TOKEN: &str = "'11111111-1111-1111-1111-111111111111'";

#[tokio::test]
async fn engine_event_of_another_actor_is_refused() {
    let database = TestDatabase::new().await;
    let engine = Writer::of(&database, "coditect_functions", "user usr_ada").await;
    let acquired = Event { actor: "'client'", action: "'session.acquired'", ..EXPIRED };
    engine.must_write("audit_events", EXPIRED).await;
    engine.must_write("audit_events", acquired).await;
    engine.must_write("audit_events_of_seats", acquired).await;
    let forged = |event: Event| {
        [
            Event { actor: "'user'", actor_id: "'usr_ada'", ..event },
            Event { actor: "'staff'", ..event },
            Event { actor_id: "'usr_ada'", ..event },
            Event { token_id: TOKEN, ..event },
            Event { tenant: "$theirs", ..event },
            Event { tenant: "NULL", ..event },
            Event { is_refused: "true", ..event },
        ]
    };
    for event in forged(EXPIRED) {
        engine.must_not_write("audit_events", event).await;
    }
    for event in forged(acquired).into_iter().chain([Event { actor: "'system'", ..acquired }]) {
        engine.must_not_write("audit_events_of_seats", event).await;
    }
    for action in ["'license.rotated_key'", "'user.joined'", "'tenant.changed'"] {
        engine.must_not_write("audit_events", Event { action, ..EXPIRED }).await;
    }
}

#[tokio::test]
async fn engine_event_without_a_tenant_named_is_refused() {
    let database = TestDatabase::new().await;
    let engine = Writer::of(&database, "coditect_functions", "").await;
    engine.client.batch_execute("SET coditect.tenant = ''").await.unwrap();
    engine.must_not_write("audit_events", EXPIRED).await;
    engine.must_not_write("audit_events_of_seats", Event { actor: "'client'", action: "'session.released'", ..EXPIRED }).await;
}

#[tokio::test]
async fn job_event_of_another_actor_is_refused() {
    let database = TestDatabase::new().await;
    let job = Writer::of(&database, "coditect_jobs", "user usr_ada").await;
    job.must_write("audit_events", EXPIRED).await;
    job.must_write("audit_events", Event { tenant: "$theirs", action: "'license.expired'", ..EXPIRED }).await;
    for event in [
        CHANGED,
        Event { actor: "'client'", ..EXPIRED },
        Event { actor: "'staff'", ..EXPIRED },
        Event { actor_id: "'usr_ada'", ..EXPIRED },
        Event { token_id: TOKEN, ..EXPIRED },
        Event { tenant: "NULL", ..EXPIRED },
    ] {
        job.must_not_write("audit_events", event).await;
    }
}

#[tokio::test]
async fn sign_in_event_of_nobody_is_refused() {
    let database = TestDatabase::new().await;
    let resolver = Writer::of(&database, "coditect_resolver", "").await;
    resolver.must_write("audit_events", JOINED).await;
    for event in [EXPIRED, Event { actor: "'client'", ..JOINED }, Event { actor_id: "NULL", ..JOINED }, Event { token_id: TOKEN, ..JOINED }]
    {
        resolver.must_not_write("audit_events", event).await;
    }
}

#[tokio::test]
async fn administration_event_of_another_person_is_refused() {
    let database = TestDatabase::new().await;
    let admin = Writer::of(&database, "coditect_admin", "user usr_ada").await;
    admin.must_write("audit_events", CHANGED).await;
    let forged = [
        Event { actor_id: "'usr_eve'", ..CHANGED },
        Event { actor_id: "NULL", ..CHANGED },
        Event { actor: "'staff'", ..CHANGED },
        Event { token_id: TOKEN, ..CHANGED },
        Event { tenant: "$theirs", ..CHANGED },
        Event { tenant: "NULL", ..CHANGED },
        EXPIRED,
    ];
    for event in forged {
        admin.must_not_write("audit_events", event).await;
    }
    admin.client.batch_execute("SET coditect.actor = 'user usr_ada 11111111-1111-1111-1111-111111111111'").await.unwrap();
    admin.must_not_write("audit_events", CHANGED).await;
    admin.must_write("audit_events", Event { token_id: TOKEN, ..CHANGED }).await;
    admin.client.batch_execute("SET coditect.actor = 'staff usr_sam'; SET coditect.staff = 'yes'").await.unwrap();
    for tenant in ["$ours", "$theirs", "NULL"] {
        admin.must_write("audit_events", Event { tenant, actor: "'staff'", actor_id: "'usr_sam'", ..CHANGED }).await;
    }
}

#[tokio::test]
async fn administration_of_an_older_release_still_writes() {
    let database = TestDatabase::new().await;
    // It names no actor; its tenant is bound all the same.
    let admin = Writer::of(&database, "coditect_admin", "").await;
    admin.must_write("audit_events", CHANGED).await;
    for event in
        [Event { tenant: "$theirs", ..CHANGED }, Event { tenant: "NULL", ..CHANGED }, Event { actor_id: "NULL", ..CHANGED }, EXPIRED]
    {
        admin.must_not_write("audit_events", event).await;
    }
}

#[tokio::test]
async fn transaction_of_a_person_writes_events_of_that_person() {
    let database = TestDatabase::new().await;
    let customer = database.customer(policy(1)).await;
    let pool = database.connect(Role::Admin);
    let (token, id) = (uuid::Uuid::new_v4(), UserId::random());
    let mut ada =
        Principal { id, standing: Standing::Owner, tenant: Some(customer.tenant), email: "ada@x.example".to_owned(), token: None };
    let write = "INSERT INTO audit_events (tenant_id, at, actor, actor_id, token_id, action) VALUES ($1, now(), $2, $3, $4, 'x')";
    let tenant = customer.tenant.as_uuid();
    for came_with in [None, Some(token)] {
        ada.token = came_with.map(|token| (token, vec![Permission::SeeTenant]));
        let scope = Scope::new(Rows::Tenant(customer.tenant), &ada);
        let (transaction, _) = pool.begin(scope.clone(), Access::Change, &[]).await.unwrap();
        transaction.query(write, &[&tenant, &"user", &id.to_string(), &came_with]).await.unwrap();
        transaction.commit().await.unwrap();
        for (kind, id) in [("staff", id), ("user", UserId::random())] {
            let (transaction, _) = pool.begin(scope.clone(), Access::Change, &[]).await.unwrap();
            assert!(transaction.query(write, &[&tenant, &kind, &id.to_string(), &came_with]).await.is_err(), "{kind} {id}");
        }
    }
}

#[tokio::test]
async fn every_role_that_may_write_events_has_a_policy_of_its_own() {
    let database = TestDatabase::new().await;
    let owner = database.owner().await;
    let inserters = "
        SELECT c.relname || ' ' || r.rolname, EXISTS (
            SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polcmd = 'a' AND p.polroles = ARRAY[r.oid]
              AND pg_get_expr(p.polwithcheck, c.oid) ~ 'actor' AND pg_get_expr(p.polwithcheck, c.oid) ~ 'tenant_id|actor_id'
        )
        FROM pg_class c, pg_roles r WHERE c.relname ~ '^audit_events' AND c.relkind IN ('r', 'p') AND NOT r.rolsuper
          AND r.rolname LIKE 'coditect\\_%' AND NOT r.rolcanlogin AND has_table_privilege(r.oid, c.oid, 'INSERT')";
    let rows = owner.query(inserters, &[]).await.unwrap();
    assert!(rows.len() > ROLES.len());
    for row in rows {
        assert!(row.get::<_, bool>(1), "{}", row.get::<_, String>(0));
    }
    let for_all = "SELECT count(*) FROM pg_policy
                   WHERE polrelid IN ('audit_events'::regclass, 'audit_events_of_seats'::regclass) AND polcmd IN ('a', '*') AND polroles = '{0}'";
    assert_eq!(owner.query_one(for_all, &[]).await.unwrap().get::<_, i64>(0), 0, "a policy for all roles lets events in");
}
