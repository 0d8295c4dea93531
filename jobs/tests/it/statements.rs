//! Every statement can be prepared by the role that runs it.

use jobs::jobs::STATEMENTS;
use platform::db::Role;
use testkit::TestDatabase;

#[tokio::test]
async fn every_statement_of_the_jobs_can_be_prepared_by_their_role() {
    let database = TestDatabase::new().await;
    let client = database.connect(Role::Jobs).client().await.unwrap();
    for sql in STATEMENTS.iter().copied().flatten() {
        client.prepare(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}
