//! Lists of 100,000 licenses: in one tenant, and over a thousand.

use std::time::{Duration, Instant};

use crate::{people::Person, rig::Rig};

const MANY: &str = "
INSERT INTO licenses (id, tenant_id, key_hash, key_last_four, tier, status, seats_total, expires_at, created_at, updated_at)
SELECT gen_random_uuid(), (SELECT id FROM tenants ORDER BY created_at LIMIT 1), sha256(n::text::bytea), upper(substr(md5(n::text), 1, 4)), 'trial',
       CASE WHEN n % 1000 = 0 THEN 'revoked' WHEN n % 10 = 0 THEN 'suspended' ELSE 'active' END, 1,
       CASE WHEN n % 2 = 0 THEN now() + n * interval '1 minute' END, now() - n * interval '1 second', now()
FROM generate_series(1, 100000) n;
INSERT INTO tenants (id, name, tier, seat_limit, created_at, updated_at)
SELECT gen_random_uuid(), 'Many ' || n, 'trial', 100, now(), now() FROM generate_series(1, 1000) n;
INSERT INTO licenses (id, tenant_id, key_hash, key_last_four, tier, seats_total, created_at, updated_at)
SELECT gen_random_uuid(), t.id, sha256((t.id || '/' || n)::bytea), upper(substr(md5(t.id || '/' || n), 1, 4)), 'trial', 1,
       now() - n * interval '1 hour', now() FROM tenants t, generate_series(1, 100) n WHERE t.name LIKE 'Many %';
ANALYZE";

/// Walks a list to its end; answers how many licenses there are, and how long pages took: half of them at most, and the longest.
async fn walk(rig: &Rig, who: &Person, query: &str) -> (usize, Duration, Duration) {
    let (mut seen, mut times, mut cursor) = (0, Vec::new(), String::new());
    loop {
        let path = format!("/api/v1/licenses?limit=200{query}{cursor}");
        let start = Instant::now();
        let page = rig.get(who, &path).await.expect(200);
        times.push(start.elapsed());
        seen += page.body["items"].as_array().unwrap().len();
        let Some(next) = page.body["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    times.sort_unstable();
    (seen, times[times.len() / 2], times[times.len() - 1])
}

#[tokio::test]
#[ignore = "a measurement, which takes a minute"]
async fn each_page_of_100_000_licenses_answers_within_50_ms_at_any_depth() {
    let rig = Rig::start().await;
    rig.database.owner().await.batch_execute(MANY).await.unwrap();
    // Connections, statements and people are known before it counts.
    for who in [&rig.ours.member, &rig.staff] {
        rig.get(who, "/api/v1/licenses?limit=1").await.expect(200);
    }
    let theirs = format!("&tenant_id={}", rig.ours.customer.tenant);
    let mut slow = Vec::new();
    for (who, query, at_least) in [
        (&rig.ours.member, String::new(), 100_000),
        (&rig.staff, String::new(), 200_000),
        (&rig.staff, theirs, 100_000),
        (&rig.ours.member, "&status=suspended".to_owned(), 9_900),
        (&rig.ours.member, "&status=revoked".to_owned(), 100),
        (&rig.staff, "&status=revoked".to_owned(), 100),
        (&rig.ours.member, "&key_last_four=1A2B".to_owned(), 0),
        (&rig.staff, "&key_last_four=1A2B".to_owned(), 0),
        (&rig.ours.member, "&expires_before=2020-01-01T00:00:00Z".to_owned(), 0),
        (&rig.ours.member, "&expires_before=2099-01-01T00:00:00Z".to_owned(), 50_000),
        (&rig.theirs.member, "&expires_before=2099-01-01T00:00:00Z".to_owned(), 0),
        (&rig.staff, "&expires_before=2020-01-01T00:00:00Z".to_owned(), 0),
        (&rig.staff, "&expires_before=2099-01-01T00:00:00Z&status=suspended".to_owned(), 9_900),
    ] {
        let (seen, half, longest) = walk(&rig, who, &query).await;
        println!("{:>6} {query:<60} {seen:>7} licenses, a page {half:?} (median), {longest:?} (longest)", who.standing.as_str());
        assert!(seen >= at_least, "{query}: {seen}");
        if longest > Duration::from_millis(50) {
            slow.push((query, longest));
        }
    }
    assert!(slow.is_empty(), "{slow:?}");
}
