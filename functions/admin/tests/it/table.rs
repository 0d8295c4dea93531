//! The table of operations and the statements behind them.

use admin::statements;
use platform::db::Role;
use testkit::TestDatabase;

#[tokio::test]
async fn every_statement_of_the_administration_can_be_prepared_by_its_role() {
    let database = TestDatabase::new().await;
    let client = database.connect(Role::Admin).client().await.unwrap();
    for sql in statements::ADMIN.into_iter().flatten() {
        client.prepare(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert!(sql.starts_with("-- "), "{sql}");
    }
}
