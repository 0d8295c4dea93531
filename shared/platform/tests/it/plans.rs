//! The hot statements use their indexes at 100,000 rows, and every statement there is can be prepared.

use platform::{
    db::{self, Role},
    seats::statements,
    signing,
};
use testkit::{TestDatabase, policy};

#[tokio::test]
async fn every_statement_of_the_functions_can_be_prepared_by_their_role() {
    let database = TestDatabase::new().await;
    let client = database.connect(Role::Functions).client().await.unwrap();
    for sql in statements::FUNCTIONS.iter().chain(signing::statements::FUNCTIONS).chain(db::PEOPLE) {
        client.prepare(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    let client = database.connect(Role::Jobs).client().await.unwrap();
    for sql in statements::JOBS.iter().chain(signing::statements::JOBS) {
        client.prepare(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

#[tokio::test]
async fn the_hot_statements_read_no_table_from_end_to_end_at_100_000_rows() {
    let database = TestDatabase::new().await;
    let owner = database.owner().await;
    let customer = database.customer(policy(10)).await;
    owner
        .batch_execute(&format!(
            "INSERT INTO licenses (id, tenant_id, key_hash, key_last_four, tier, seats_total, created_at, updated_at)
             SELECT gen_random_uuid(), '{tenant}', sha256(n::text::bytea), 'AAAA', 'trial', 100, now(), now() FROM generate_series(1, 2000) n;
             INSERT INTO sessions (id, tenant_id, license_id, seat, holder, hardware_id, user_email, started_at, expires_at, ended_at, ended_reason)
             SELECT gen_random_uuid(), l.tenant_id, l.id, n, decode(md5(n::text), 'hex'), 'h', 'u@x.example', now(), now() + n * interval '7 seconds',
                    CASE WHEN n % 2 = 0 THEN now() END, CASE WHEN n % 2 = 0 THEN 'expired' END
             FROM licenses l, generate_series(1, 50) n;
             ANALYZE",
            tenant = customer.tenant.as_uuid()
        ))
        .await
        .unwrap();
    for (role, statements) in [(Role::Functions, statements::FUNCTIONS), (Role::Jobs, statements::JOBS)] {
        let mut client = database.connect(role).client().await.unwrap();
        for sql in statements.iter().filter(|sql| sql.contains("sessions") || sql.contains("license_by")) {
            let transaction = client.transaction().await.unwrap();
            transaction.query("SELECT set_config('coditect.tenant', $1, true)", &[&customer.tenant.as_uuid().to_string()]).await.unwrap();
            let plan = explain(&transaction, sql).await;
            assert!(!plan.contains("Seq Scan on sessions"), "{sql}\n{plan}");
            assert!(!plan.contains("Seq Scan on licenses"), "{sql}\n{plan}");
        }
    }
}

#[tokio::test]
async fn what_the_engine_asks_is_planned_by_its_own_indexes_while_the_tables_are_empty_still() {
    const OF_THE_ENGINE: [&str; 3] = ["sessions_pkey", "sessions_live_seat", "sessions_live_holder"];
    let database = TestDatabase::new().await;
    let mut client = database.connect(Role::Functions).client().await.unwrap();
    for sql in statements::FUNCTIONS {
        let plan = explain(&client.transaction().await.unwrap(), sql).await;
        let indexes = plan
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .filter(|word| word.starts_with("sessions_") && !word.ends_with(char::is_numeric));
        for index in indexes {
            assert!(OF_THE_ENGINE.contains(&index), "{sql}\n{plan}");
        }
    }
    // However many seats are taken, a grant looks at those above the limit alone.
    let plan = explain(
        &client.transaction().await.unwrap(),
        statements::FUNCTIONS.iter().find(|sql| sql.starts_with("-- seats::grant\n")).unwrap(),
    )
    .await;
    let condition = plan.lines().skip_while(|line| !line.contains("sessions_live_seat on sessions")).nth(1).unwrap();
    assert!(condition.contains("Index Cond") && condition.contains("seat > "), "{plan}");
}

/// The plan that serves any parameters, as a long-lived prepared statement gets it.
async fn explain(transaction: &deadpool_postgres::Transaction<'_>, sql: &str) -> String {
    transaction.batch_execute("SET LOCAL plan_cache_mode = force_generic_plan").await.unwrap();
    let parameters = transaction.prepare(sql).await.unwrap().params().len();
    let nulls = vec!["NULL"; parameters].join(", ");
    transaction.batch_execute(&format!("PREPARE explained AS {sql}")).await.unwrap();
    let call = if parameters == 0 { "EXPLAIN EXECUTE explained".to_owned() } else { format!("EXPLAIN EXECUTE explained ({nulls})") };
    let rows = transaction.query(&call, &[]).await.unwrap();
    transaction.batch_execute("DEALLOCATE explained").await.unwrap();
    rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>().join("\n")
}
