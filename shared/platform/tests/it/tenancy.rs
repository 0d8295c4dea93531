//! Row-level security: what the functions' role can and cannot see, by SQL.

use platform::db::connect_as_login;
use testkit::{TestDatabase, policy};
use tokio_postgres::Client;

const TENANT_TABLES: [&str; 6] = ["tenants", "users", "licenses", "sessions", "audit_events", "usage_hourly"];

async fn as_role(database: &TestDatabase, role: &str) -> Client {
    let client = connect_as_login(database.settings()).await.unwrap();
    client.batch_execute(&format!("SET ROLE {role}")).await.unwrap();
    client
}

#[tokio::test]
async fn every_table_with_a_tenant_has_forced_row_level_security() {
    let database = TestDatabase::new().await;
    let owner = database.owner().await;
    let unforced = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
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
    let smuggle = "INSERT INTO audit_events (tenant_id, at, actor, action) VALUES ($1, now(), 'x', 'x')";
    assert!(client.execute(smuggle, &[&theirs.tenant.as_uuid()]).await.is_err(), "a row of another tenant can be written");
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
        "DELETE FROM audit_events",
        "UPDATE audit_events SET actor = 'nobody'",
        "TRUNCATE sessions",
        "CREATE TABLE public.mine (id int)",
    ] {
        let refused = client.batch_execute(forbidden).await.expect_err(forbidden);
        assert_eq!(refused.code(), Some(&tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE), "{forbidden}: {refused}");
    }
}
