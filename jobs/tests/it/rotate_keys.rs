//! `rotate-keys`.

use std::time::Duration;

use crate::rig::Rig;

const HOUR: u64 = 3600;

#[tokio::test]
async fn a_rehearsal_tells_what_a_rotation_then_does_and_changes_nothing() {
    let rig = Rig::new().await;
    let sql = "SELECT count(*) FROM signing_keys";
    rig.database.customer(testkit::policy(1)).await;
    rig.owner.batch_execute("UPDATE licenses SET version = version + 1").await.unwrap();
    rig.clock.advance(Duration::from_secs(23 * HOUR));
    let would = rig.rehearse("rotate-keys").await;
    assert_eq!(would, [("made", 1), ("activated", 0), ("retired", 0), ("purged", 0), ("documents_signed", 1)].into());
    assert_eq!(rig.number(sql).await, 1);
    assert_eq!(rig.counts("rotate-keys").await, would);
    assert_eq!(rig.number(sql).await, 2);

    rig.clock.advance(Duration::from_secs(2 * HOUR));
    let would = rig.rehearse("rotate-keys").await;
    assert_eq!(would, [("made", 0), ("activated", 1), ("retired", 1), ("purged", 0), ("documents_signed", 0)].into());
    assert_eq!(rig.counts("rotate-keys").await, would);
    assert_eq!(rig.rehearse("rotate-keys").await, rig.counts("rotate-keys").await);
}
