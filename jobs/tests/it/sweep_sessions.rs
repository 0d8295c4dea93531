//! `sweep-sessions`.

use std::time::Duration;

use testkit::policy;

use crate::rig::Rig;

#[tokio::test]
async fn a_rehearsal_tells_what_a_sweep_then_does_and_changes_nothing() {
    let rig = Rig::new().await;
    let customer = rig.database.customer(policy(3)).await;
    for device in ["dead-1", "dead-2"] {
        rig.seat(&customer, device).await;
    }
    rig.clock.advance(Duration::from_secs(200));
    let alive = rig.seat(&customer, "alive").await;
    rig.clock.advance(Duration::from_secs(200));
    rig.context.engine.heartbeat(alive.session).await.unwrap();

    let sql = "SELECT count(*) FROM sessions WHERE ended_at IS NULL";
    let would = [rig.rehearse("sweep-sessions").await, rig.rehearse("sweep-sessions").await];
    assert_eq!(would[0], would[1]);
    assert_eq!(would[0], [("renewed", 1), ("expired", 2), ("rebuilt", 0)].into());
    assert_eq!(rig.number(sql).await, 3);
    assert_eq!(rig.counts("sweep-sessions").await, would[0]);
    assert_eq!(rig.number(sql).await, 1);
    assert_eq!(rig.rehearse("sweep-sessions").await, [("renewed", 0), ("expired", 0), ("rebuilt", 0)].into());
}
