//! A million events and a million hours: every page, however deep. `scripts/bench` runs this and judges its figures.

use std::time::Duration;

use testkit::measured;

use crate::{people::Person, rig::Rig};

/// 99 more tenants with 10 licenses each, and 10 licenses more of ours. Ours and theirs have a tenth of everything.
const TENANTS: &str = "
    SET session_replication_role = replica;
    CREATE TEMP TABLE crowd AS SELECT gen_random_uuid() AS tenant, n FROM generate_series(1, 90) AS n;
    INSERT INTO tenants SELECT (jsonb_populate_record(t, jsonb_build_object('id', c.tenant, 'name', 'Crowd ' || c.n))).*
        FROM crowd AS c, tenants AS t WHERE t.id = (SELECT id FROM tenants LIMIT 1);
    CREATE TEMP TABLE many AS SELECT id AS tenant, gen_random_uuid() AS license, row_number() OVER () AS n FROM tenants, generate_series(1, 10);
    INSERT INTO licenses SELECT (jsonb_populate_record(l, jsonb_build_object('id', m.license, 'tenant_id', m.tenant,
        'key_hash', '\\x' || encode(sha256(m.license::text::bytea), 'hex')))).* FROM many AS m, licenses AS l WHERE l.id = (SELECT id FROM licenses LIMIT 1);";

/// Nine in ten of what happened the seat engine tells; a tenth of all is of our tenant ($1).
const EVENTS: &str = "
    INSERT INTO audit_events (tenant_id, at, actor, action, actor_id, subject_type, subject_id, license_id, session_id, after, is_refused)
    SELECT CASE WHEN n % 10 = 0 THEN $1 ELSE m.tenant END, '2026-01-01T00:00:00Z'::timestamptz + (n / 3) * interval '1 second',
        CASE WHEN n % 7 = 0 THEN 'user' ELSE 'client' END,
        CASE WHEN n % 7 = 0 THEN (ARRAY['license.changed', 'user.changed', 'suspend_tenant'])[1 + n % 3]
             WHEN n % 2 = 0 THEN 'session.acquired' ELSE 'session.released' END,
        CASE WHEN n % 7 = 0 THEN CASE WHEN n % 14 = 0 THEN $2 ELSE 'usr_' || n % 1000 END END,
        CASE WHEN n % 7 = 0 THEN 'license' END, CASE WHEN n % 7 = 0 THEN 'lic_' || n % 1000 END,
        m.license, CASE WHEN n % 7 <> 0 THEN gen_random_uuid() END, CASE WHEN n % 7 = 0 THEN '{\"seats_total\": 5}'::jsonb END, n % 70 = 0
    FROM generate_series(0, 999999) AS n JOIN (SELECT tenant, license, n AS place FROM many) AS m ON place = 1 + n % 900";

const HOURS: &str = "
    INSERT INTO usage_hourly (tenant_id, license_id, hour, acquired, denied, peak)
    SELECT tenant, license, '2026-01-01T00:00:00Z'::timestamptz + h * interval '1 hour', 5, 1, 3 FROM many, generate_series(0, 1086) AS h;
    INSERT INTO usage_totals SELECT tenant_id, license_id, false, 'hour', hour, acquired, denied, 0, 0, peak, 3600, 2, 2 FROM usage_hourly;
    INSERT INTO usage_totals SELECT tenant_id, tenant_id, true, 'hour', hour, sum(acquired), sum(denied), 0, 0, sum(peak), 36000, 20, 20
        FROM usage_hourly GROUP BY tenant_id, hour;
    INSERT INTO usage_totals SELECT tenant_id, subject_id, is_of_tenant, 'day', date_trunc('day', starts_at, 'UTC'), sum(acquired), sum(denied), 0, 0,
        max(peak), sum(seat_seconds), 5, 5 FROM usage_totals GROUP BY tenant_id, subject_id, is_of_tenant, date_trunc('day', starts_at, 'UTC');
    ANALYZE";

/// Reads a list from its first page, and from moments deep in it to some pages on; tells the slowest page.
async fn slowest(rig: &Rig, who: &Person, list: &str) -> Duration {
    let mut slowest = Duration::ZERO;
    let depths = ["", "&until=2026-02-10T00:00:00Z", "&until=2026-01-20T00:00:00Z", "&until=2026-01-02T01:00:00Z"];
    for depth in depths {
        let mut cursor = String::new();
        for _ in 0..5 {
            let path = format!("{list}&limit=200{depth}{cursor}");
            let page = rig.get(who, &path).await.expect(200);
            // The quickest of three: what else the machine does is not measured.
            let again = [rig.get(who, &path).await.took, rig.get(who, &path).await.took];
            slowest = slowest.max(again.into_iter().fold(page.took, Duration::min));
            let Some(next) = page.body["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
    }
    slowest
}

#[tokio::test]
#[ignore = "a measurement of scripts/bench"]
async fn pages_of_a_million_events_and_hours_are_shown_at_any_depth() {
    let rig = Rig::start().await;
    let owner = rig.database.owner().await;
    owner.batch_execute(TENANTS).await.unwrap();
    let tenant = rig.ours.customer.tenant;
    owner.execute(EVENTS, &[&tenant.as_uuid(), &rig.ours.owner.id.to_string()]).await.unwrap();
    owner.batch_execute(HOURS).await.unwrap();

    let license: uuid::Uuid =
        owner.query_one("SELECT license FROM many WHERE tenant = $1 LIMIT 1", &[&tenant.as_uuid()]).await.unwrap().get(0);
    let license = platform::domain::LicenseId::from_uuid(license);
    let (actor, usage, events) = (rig.ours.owner.id, "/api/v1/usage?", "/api/v1/audit-events?");
    let lists = [
        format!("{usage}interval=hour"),
        format!("{usage}interval=hour&license_id={license}"),
        format!("{usage}interval=hour&group=tenant"),
        format!("{usage}interval=day"),
        format!("{usage}interval=day&group=tenant"),
        events.to_owned(),
        format!("{events}actor_id={actor}"),
        format!("{events}action=license.changed"),
        format!("{events}action=session.acquired"),
        format!("{events}action=session.expired"),
        format!("{events}action=no.such"),
        format!("{events}subject_id=lic_7"),
        format!("{events}refused=true"),
        format!("{events}refused=true&actor_id={actor}&action=suspend_tenant"),
    ];
    let (mut longest, mut detail) = (Duration::ZERO, String::new());
    for list in &lists {
        for who in [&rig.ours.owner, &rig.staff] {
            let took = slowest(&rig, who, list).await;
            if took > longest {
                (longest, detail) = (took, format!("{}: {list}", who.standing.as_str()));
            }
        }
    }
    let all = rig.get(&rig.ours.owner, &format!("{events}format=ndjson")).await.expect(200);
    measured("a page of 1,000,000 events or hours", longest.as_secs_f64() * 1000.0, "ms", "<= 50", &detail);
    measured("export of a tenant's events", all.took.as_secs_f64(), "s", "", &format!("{} events", all.text.lines().count()));
}
