//! Row-level security: what the functions' role can and cannot see, by SQL.

use platform::db::connect_as_login;
use testkit::{TestDatabase, policy};
use tokio_postgres::Client;

const TENANT_TABLES: [&str; 7] = ["tenants", "users", "licenses", "sessions", "audit_events", "usage_hourly", "usage_totals"];

async fn as_role(database: &TestDatabase, role: &str) -> Client {
    let client = connect_as_login(database.settings()).await.unwrap();
    client.batch_execute(&format!("SET ROLE {role}")).await.unwrap();
    client
}

#[tokio::test]
async fn every_table_with_a_tenant_has_forced_row_level_security() {
    let database = TestDatabase::new().await;
    let owner = database.owner().await;
    let unforced = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
                    AND NOT (relrowsecurity AND relforcerowsecurity) AND relname <> 'refinery_schema_history'";
    let unforced: Vec<String> = owner.query(unforced, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert!(unforced.is_empty(), "{unforced:?}");
    for table in TENANT_TABLES {
        let there = owner.query_one("SELECT to_regclass($1) IS NOT NULL", &[&table]).await.unwrap();
        assert!(there.get::<_, bool>(0), "{table}");
    }
}

#[tokio::test]
async fn a_forgotten_tenant_yields_no_rows() {
    let database = TestDatabase::new().await;
    database.customer(policy(1)).await;
    let client = as_role(&database, "coditect_functions").await;
    for table in ["tenants", "licenses", "sessions"] {
        let rows = client.query(&format!("SELECT 1 FROM {table}"), &[]).await.unwrap();
        assert!(rows.is_empty(), "{table}");
    }
}

#[tokio::test]
async fn a_function_sees_its_tenant_and_no_other() {
    let database = TestDatabase::new().await;
    let (ours, theirs) = (database.customer(policy(1)).await, database.customer(policy(1)).await);
    let client = as_role(&database, "coditect_functions").await;
    client.query("SELECT set_config('coditect.tenant', $1, false)", &[&ours.tenant.as_uuid().to_string()]).await.unwrap();
    let seen: Vec<uuid::Uuid> = client.query("SELECT id FROM licenses", &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(seen, [ours.license.as_uuid()]);
    for smuggle in [
        "INSERT INTO audit_events (tenant_id, at, actor, action) VALUES ($1, now(), 'system', 'session.expired')",
        "INSERT INTO audit_events_of_seats (tenant_id, at, actor, action) VALUES ($1, now(), 'client', 'session.acquired')",
    ] {
        assert!(client.execute(smuggle, &[&theirs.tenant.as_uuid()]).await.is_err(), "a row of another tenant can be written: {smuggle}");
        assert_eq!(client.execute(smuggle, &[&ours.tenant.as_uuid()]).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn a_function_may_do_only_what_serving_needs() {
    let database = TestDatabase::new().await;
    let customer = database.customer(policy(1)).await;
    let client = as_role(&database, "coditect_functions").await;
    client.query("SELECT set_config('coditect.tenant', $1, false)", &[&customer.tenant.as_uuid().to_string()]).await.unwrap();
    for forbidden in [
        "UPDATE licenses SET seats_total = 1000",
        "UPDATE tenants SET status = 'active'",
        "DELETE FROM sessions",
        "UPDATE sessions SET seat = 1",
        "SELECT * FROM users",
        "SELECT * FROM audit_events",
        "SELECT * FROM audit_events_of_seats",
        "INSERT INTO audit_events_of_others (at, actor, action) VALUES (now(), 'x', 'x')",
        "DELETE FROM audit_events",
        "UPDATE audit_events SET actor = 'nobody'",
        "TRUNCATE sessions",
        "CREATE TABLE public.mine (id int)",
    ] {
        let refused = client.batch_execute(forbidden).await.expect_err(forbidden);
        assert_eq!(refused.code(), Some(&tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE), "{forbidden}: {refused}");
    }
}

#[tokio::test]
async fn the_administration_sees_one_tenant_unless_it_says_that_it_is_for_staff_and_no_function_can_say_so() {
    let database = TestDatabase::new().await;
    let (ours, theirs) = (database.customer(policy(1)).await, database.customer(policy(1)).await);
    let tables = ["tenants", "users", "licenses", "audit_events"];
    let seen = async |client: &Client, table: &str| client.query(&format!("SELECT 1 FROM {table}"), &[]).await.map(|rows| rows.len());
    let client = as_role(&database, "coditect_admin").await;
    for table in tables {
        assert_eq!(seen(&client, table).await.unwrap(), 0, "{table} of no tenant");
    }
    client.query("SELECT set_config('coditect.tenant', $1, false)", &[&ours.tenant.as_uuid().to_string()]).await.unwrap();
    for table in tables {
        assert_eq!(seen(&client, table).await.unwrap(), 1, "{table} of one tenant");
    }
    for crossing in [
        "UPDATE users SET role = 'guest' WHERE tenant_id = $1",
        "UPDATE tenants SET name = 'x' WHERE id = $1",
        "UPDATE licenses SET seats_total = 9 WHERE tenant_id = $1",
    ] {
        assert_eq!(client.execute(crossing, &[&theirs.tenant.as_uuid()]).await.unwrap(), 0, "{crossing}");
    }
    for smuggle in [
        "UPDATE users SET tenant_id = $1",
        "UPDATE licenses SET tenant_id = $1",
        "INSERT INTO users (id, tenant_id, email, role, created_at, updated_at) VALUES (gen_random_uuid(), $1, 'x@x.example', 'owner', now(), now())",
        "INSERT INTO audit_events (tenant_id, at, actor, actor_id, action) VALUES ($1, now(), 'user', 'usr_x', 'x')",
        "INSERT INTO idempotent_answers (actor_id, key_digest, tenant_id, request_hash, answer, created_at)
         VALUES (gen_random_uuid(), decode(repeat('00', 16), 'hex'), $1, decode(repeat('00', 16), 'hex'), '', now())",
    ] {
        assert!(client.execute(smuggle, &[&theirs.tenant.as_uuid()]).await.is_err(), "{smuggle}");
    }
    client.batch_execute("SELECT set_config('coditect.staff', 'yes', false)").await.unwrap();
    for table in tables {
        assert_eq!(seen(&client, table).await.unwrap(), 2, "{table} of all");
    }
    let function = as_role(&database, "coditect_functions").await;
    function.batch_execute("SELECT set_config('coditect.staff', 'yes', false)").await.unwrap();
    for table in ["tenants", "licenses", "sessions", "hardware_blocks"] {
        assert_eq!(seen(&function, table).await.unwrap(), 0, "{table} for a function that says it is for staff");
    }
}

#[tokio::test]
async fn nobody_who_serves_changes_what_was_written_down() {
    let database = TestDatabase::new().await;
    database.customer(policy(1)).await;
    for role in ["coditect_functions", "coditect_jobs", "coditect_admin", "coditect_resolver"] {
        let client = as_role(&database, role).await;
        client.batch_execute("SELECT set_config('coditect.staff', 'yes', false)").await.unwrap();
        for forbidden in [
            "UPDATE audit_events SET actor = 'nobody'",
            "DELETE FROM audit_events",
            "TRUNCATE audit_events",
            "SELECT * FROM audit_events_of_seats",
            "SELECT * FROM audit_events_of_others",
            "DELETE FROM audit_events_of_seats",
        ] {
            let refused = client.batch_execute(forbidden).await.expect_err(forbidden);
            assert_eq!(refused.code(), Some(&tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE), "{role}: {forbidden}");
        }
    }
    let client = as_role(&database, "coditect_admin").await;
    for forbidden in [
        "DELETE FROM tenants",
        "DELETE FROM users",
        "DELETE FROM licenses",
        "DELETE FROM access_tokens",
        "DELETE FROM sessions",
        "UPDATE sessions SET seat = 1",
        "UPDATE staff SET status = 'active'",
        "SELECT * FROM signing_keys",
    ] {
        let refused = client.batch_execute(forbidden).await.expect_err(forbidden);
        assert_eq!(refused.code(), Some(&tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE), "{forbidden}: {refused}");
    }
}

const ASKS_WHO_SOMEBODY_IS: [&str; 5] = [
    "SELECT public.memberships_of('i', 's', true, NULL, NULL, now())",
    "SELECT public.member_seen(gen_random_uuid(), now())",
    "SELECT public.membership_by_token('\\x00', now())",
    "SELECT public.invitations_for('a@x.example', true, NULL, NULL)",
    "SELECT public.answer_invitation(gen_random_uuid(), true, 'i', 's', 'a@x.example', true, NULL, NULL, now(), '', '')",
];

/// Whether PostgreSQL refuses a statement for want of a right.
async fn is_denied(client: &Client, sql: &str) -> bool {
    let denied = Some(&tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE);
    client.batch_execute(sql).await.is_err_and(|error| error.code() == denied)
}

#[tokio::test]
async fn login_of_heartbeat_cannot_ask_who_somebody_is_and_that_of_acquire_can() {
    let database = TestDatabase::new().await;
    let owner = database.owner().await;
    // Logins belong to the whole server.
    let name = uuid::Uuid::new_v4().simple().to_string();
    let (heartbeat, acquire) = (format!("heartbeat_{name}"), format!("acquire_{name}"));
    let make = format!(
        "CREATE ROLE {heartbeat} LOGIN; GRANT coditect_functions TO {heartbeat};
         CREATE ROLE {acquire} LOGIN; GRANT coditect_functions, coditect_authenticator TO {acquire}"
    );
    owner.batch_execute(&make).await.unwrap();
    let as_login = async |login: &str| {
        let client = connect_as_login(database.settings()).await.unwrap();
        client.batch_execute(&format!("SET SESSION AUTHORIZATION {login}; SET ROLE coditect_functions")).await.unwrap();
        client
    };
    let client = as_login(&heartbeat).await;
    assert!(is_denied(&client, "SET ROLE coditect_authenticator").await);
    for sql in ASKS_WHO_SOMEBODY_IS {
        assert!(is_denied(&client, sql).await, "{sql}");
    }
    let client = as_login(&acquire).await;
    for sql in ASKS_WHO_SOMEBODY_IS {
        assert!(is_denied(&client, sql).await, "as coditect_functions, which every function is: {sql}");
        let taken_on = format!("BEGIN; SET LOCAL ROLE coditect_authenticator; {sql}; COMMIT");
        client.batch_execute(&taken_on).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    drop(client);
    owner.batch_execute(&format!("DROP ROLE {heartbeat}; DROP ROLE {acquire}")).await.unwrap();
    for role in ["coditect_functions", "coditect_admin", "coditect_jobs"] {
        let client = as_role(&database, role).await;
        for sql in ASKS_WHO_SOMEBODY_IS {
            assert!(is_denied(&client, sql).await, "{role}: {sql}");
        }
    }
}

#[tokio::test]
async fn authenticator_role_reads_and_writes_no_table() {
    let database = TestDatabase::new().await;
    let client = as_role(&database, "coditect_authenticator").await;
    for table in TENANT_TABLES.iter().chain(&["staff", "access_tokens", "hardware_blocks", "signing_keys"]) {
        for sql in [format!("SELECT * FROM {table}"), format!("DELETE FROM {table}")] {
            assert!(is_denied(&client, &sql).await, "{sql}");
        }
    }
}

#[tokio::test]
async fn older_processes_find_members_and_claim_no_invitation() {
    let database = TestDatabase::new().await;
    let (ours, theirs) = (database.customer(policy(1)).await, database.customer(policy(1)).await);
    let owner = database.owner().await;
    let ask = "SELECT standing, id, tenant_id, email, token_id, scopes, expires_at FROM person_by_identity('i', $1, $2, now())";
    let client = as_role(&database, "coditect_functions").await;
    for (subject, email) in [("stranger", "owner@test.example"), ("sam", "sam@vendor.example")] {
        assert!(client.query(ask, &[&subject, &email]).await.unwrap().is_empty(), "{subject}");
    }
    let sql = "INSERT INTO users (id, tenant_id, email, role, status, provider_issuer, provider_subject, created_at, updated_at)
               VALUES ($1, $2, 'ada@x.example', 'member', 'active', 'i', 'ada', $3::timestamptz, $3)";
    let (first, now) = (uuid::Uuid::new_v4(), platform::domain::Clock::now(&platform::domain::SystemClock));
    owner.execute(sql, &[&first, &ours.tenant.as_uuid(), &now]).await.unwrap();
    let later = now + std::time::Duration::from_secs(1);
    owner.execute(sql, &[&uuid::Uuid::new_v4(), &theirs.tenant.as_uuid(), &later]).await.unwrap();
    let seen = client.query(ask, &[&"ada", &"ada@x.example"]).await.unwrap();
    let seen: Vec<uuid::Uuid> = seen.iter().map(|row| row.get("id")).collect();
    assert_eq!(seen, [first], "the membership that such a process has served all along");
}
