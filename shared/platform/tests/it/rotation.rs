//! Keys change, by whoever and however many.

use futures_util::future::join_all;
use platform::db::Role;
use testkit::{TestDatabase, keys};

#[tokio::test]
async fn however_many_rotate_at_once_they_make_one_key() {
    let database = TestDatabase::new().await;
    let owner = database.owner().await;
    owner.batch_execute("DELETE FROM signing_keys; DELETE FROM revocation_lists").await.unwrap();
    let rotations: Vec<_> = (0..8).map(|_| keys::rotation(database.connect(Role::Jobs))).collect();
    let made = join_all(rotations.iter().map(async |rotation| rotation.rotate().await.unwrap())).await;
    assert_eq!(made.iter().filter(|rotated| rotated.made.is_some()).count(), 1);
    let count = "SELECT (SELECT count(*) FROM signing_keys), (SELECT count(*) FROM revocation_lists)";
    let row = owner.query_one(count, &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (1, 1));

    // The next is made once as well, when it is time.
    owner.execute("UPDATE signing_keys SET signs_until = now() + interval '1 hour'", &[]).await.unwrap();
    let made = join_all(rotations.iter().map(async |rotation| rotation.rotate().await.unwrap())).await;
    assert_eq!(made.iter().filter(|rotated| rotated.made.is_some()).count(), 1);
    let states = owner.query("SELECT state FROM signing_keys ORDER BY created_at", &[]).await.unwrap();
    assert_eq!(states.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>(), ["active", "pending"]);
}

#[tokio::test]
async fn a_key_that_no_longer_signs_is_destroyed() {
    let database = TestDatabase::new().await;
    let owner = database.owner().await;
    let rotation = keys::rotation(database.connect(Role::Jobs));
    // A second ago, since PostgreSQL's clock is finer than ours.
    owner
        .execute(
            "UPDATE signing_keys SET created_at = now() - interval '2 h', signs_from = now() - interval '1 h', signs_until = now() - interval '1 s'",
            &[],
        )
        .await
        .unwrap();
    let made = rotation.rotate().await.unwrap().made.unwrap();
    owner
        .execute(
            "UPDATE signing_keys SET created_at = now() - interval '2 h', signs_from = now() - interval '1 s' WHERE kid = $1",
            &[&made],
        )
        .await
        .unwrap();
    let rotated = rotation.rotate().await.unwrap();
    assert_eq!(rotated.activated, Some(made));
    let retired = rotated.retired.unwrap();
    let row = owner.query_one("SELECT state, sealed_private IS NULL FROM signing_keys WHERE kid = $1", &[&retired]).await.unwrap();
    assert_eq!((row.get::<_, String>(0).as_str(), row.get::<_, bool>(1)), ("retired", true));
    owner.execute("UPDATE signing_keys SET expires_at = now() - interval '1 s' WHERE kid = $1", &[&retired]).await.unwrap();
    assert_eq!(rotation.rotate().await.unwrap().purged, [retired]);
}
