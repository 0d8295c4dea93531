//! Migrations.

use platform::db;
use testkit::TestDatabase;

#[tokio::test]
async fn migrating_twice_does_nothing_the_second_time() {
    let database = TestDatabase::new().await;
    let report = db::migrate(&mut database.owner().await).await.unwrap();
    assert!(report.applied_migrations().is_empty());
}
