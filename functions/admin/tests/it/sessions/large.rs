//! A million sessions: each page of each list, at any depth. `scripts/bench` runs this and judges its figures.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use platform::{
    domain::{Clock, LicenseId, TenantId, Timestamp, rfc3339},
    signing::SealingKey,
};
use testkit::{keys, measured};
use uuid::Uuid;

use super::PATH;
use crate::{people::Person, rig::Rig};

const MOST: Duration = Duration::from_millis(50);
const DAYS: u64 = 90;

/// Half of them of one tenant, on ten licenses, one of which has most; half of a thousand others. Over ninety days: most were released, a tenth
/// fell silent, one of a thousand was revoked. One machine of the large tenant has five thousand of them, and so has a person
/// who left long ago: what a page costs that is filtered by a person or a device grows with the sessions that these have had.
const FILL: &str = "
INSERT INTO tenants (id, name, tier, seat_limit, created_at, updated_at)
SELECT gen_random_uuid(), 'small', 'trial', 100, now(), now() FROM generate_series(1, 1000);
INSERT INTO licenses (id, tenant_id, key_hash, key_last_four, tier, seats_total, created_at, updated_at)
SELECT gen_random_uuid(), id, sha256(id::text::bytea), 'AAAA', 'trial', 100, now(), now() FROM tenants WHERE name = 'small';
INSERT INTO licenses (id, tenant_id, key_hash, key_last_four, tier, seats_total, created_at, updated_at)
SELECT gen_random_uuid(), '$TENANT', sha256(n::text::bytea), 'BBBB', 'trial', 100000, now(), now() FROM generate_series(1, 9) AS n;
CREATE TEMP TABLE small AS SELECT row_number() OVER () - 1 AS n, tenant_id, id FROM licenses WHERE key_last_four = 'AAAA';
CREATE TEMP TABLE large AS SELECT row_number() OVER (ORDER BY id <> '$LICENSE') - 1 AS n, tenant_id, id FROM licenses WHERE tenant_id = '$TENANT';
INSERT INTO sessions (id, tenant_id, license_id, seat, holder, hardware_id, user_email, started_at, expires_at, ended_at, ended_reason)
SELECT gen_random_uuid(), l.tenant_id, l.id, s.n, decode(md5(s.n::text), 'hex'),
       CASE WHEN s.n % 100 = 7 THEN 'ci' ELSE 'h' || s.n % 5003 END,
       CASE WHEN s.n % 100 = 7 THEN 'ci@test.example' WHEN s.n < 10000 AND s.n % 2 = 0 THEN 'gone@test.example' ELSE 'u' || s.n % 997 || '@test.example' END,
       s.at, s.at + interval '6 minutes', CASE WHEN s.reason IS NOT NULL THEN s.at + interval '5 minutes' END, s.reason
FROM (SELECT n, '$BEGIN'::timestamptz + n * interval '90 days' / 500000 AS at,
             CASE WHEN n > 480000 THEN NULL WHEN n % 1000 = 3 THEN 'revoked' WHEN n % 10 = 4 THEN 'expired' ELSE 'released' END AS reason
      FROM generate_series(1, 500000) AS n) AS s
JOIN large AS l ON l.n = CASE WHEN s.n % 10 < 8 THEN 0 ELSE s.n % 9 + 1 END;
INSERT INTO sessions (id, tenant_id, license_id, seat, holder, hardware_id, user_email, started_at, expires_at, ended_at, ended_reason)
SELECT gen_random_uuid(), l.tenant_id, l.id, s.n, decode(md5(s.n::text), 'hex'), 'h' || s.n % 5003, 'u' || s.n % 997 || '@test.example',
       s.at, s.at + interval '6 minutes', CASE WHEN s.reason IS NOT NULL THEN s.at + interval '5 minutes' END, s.reason
FROM (SELECT n, '$BEGIN'::timestamptz + n * interval '90 days' / 500000 AS at,
             CASE WHEN n > 480000 THEN NULL WHEN n % 1000 = 3 THEN 'revoked' WHEN n % 10 = 4 THEN 'expired' ELSE 'released' END AS reason
      FROM generate_series(1, 500000) AS n) AS s
JOIN small AS l ON l.n = s.n % 1000;
";

/// A cursor of the list at that moment, as the administration makes them: so every depth can be asked for without going there.
fn cursor(tenant: Option<TenantId>, at: Timestamp) -> String {
    let context = tenant.map_or_else(|| "coditect cursor\nsessions".to_owned(), |tenant| format!("coditect cursor\nsessions\n{tenant}"));
    let bytes = [&at.timestamp_micros().to_be_bytes()[..], Uuid::nil().as_bytes()].concat();
    BASE64URL.encode(keys::SEALING_KEY.parse::<SealingKey>().unwrap().seal(&context, &bytes).unwrap())
}

/// The slowest page of a list by this query, each depth's the fastest of three, or of ten: others use the machine too.
async fn slowest(rig: &Rig, who: &Person, tenant: Option<TenantId>, query: &str) -> (Duration, u64, usize) {
    let (mut slowest, mut deepest, mut shown) = (Duration::ZERO, 0, 0);
    let begin = rig.clock.now() - Duration::from_secs(DAYS * 86_400);
    for depth in [0, 1, 10, 50, 90, 99, 100] {
        let after = match depth {
            0 => String::new(),
            depth => format!("&cursor={}", cursor(tenant, begin + Duration::from_secs(DAYS * 864 * (100 - depth)))),
        };
        let mut fastest = Duration::MAX;
        for tried in 0..10 {
            if tried >= 3 && fastest <= MOST {
                break;
            }
            let answer = rig.get(who, &format!("{PATH}?{query}{after}")).await.expect(200);
            shown += answer.body["items"].as_array().unwrap().len();
            fastest = fastest.min(answer.took);
        }
        if fastest > slowest {
            (slowest, deepest) = (fastest, depth);
        }
    }
    (slowest, deepest, shown)
}

#[tokio::test]
#[ignore = "a measurement of scripts/bench"]
async fn a_million_sessions_are_listed_page_by_page_whatever_the_filter() {
    let rig = Rig::start().await;
    let ours = &rig.ours.customer;
    let begin = rig.clock.now() - Duration::from_secs(DAYS * 86_400);
    let fill = FILL.replace("$TENANT", &ours.tenant.as_uuid().to_string()).replace("$LICENSE", &ours.license.as_uuid().to_string());
    let owner = rig.database.owner().await;
    owner.batch_execute(&fill.replace("$BEGIN", &rfc3339(begin))).await.unwrap();
    owner.batch_execute("VACUUM ANALYZE").await.unwrap();
    let count: i64 = owner.query_one("SELECT count(*) FROM sessions", &[]).await.unwrap().get(0);
    assert_eq!(count, 1_000_000);
    let of = |row: &tokio_postgres::Row| (LicenseId::from_uuid(row.get(0)), TenantId::from_uuid(row.get(1)));
    let (small_license, small) = of(&owner.query_one("SELECT id, tenant_id FROM small LIMIT 1", &[]).await.unwrap());
    let (other, _) = of(&owner.query_one("SELECT id, tenant_id FROM large WHERE n = 3", &[]).await.unwrap());
    let of_small = Person::make(&owner, Some(small), platform::domain::Standing::Member).await;

    let middle = rfc3339(begin + Duration::from_secs(DAYS * 43_200));
    let day = rfc3339(begin + Duration::from_secs(DAYS * 43_200 + 86_400));
    let queries = [
        String::new(),
        "state=live".to_owned(),
        "state=ended".to_owned(),
        "ended_reason=released".to_owned(),
        "ended_reason=expired".to_owned(),
        "ended_reason=revoked".to_owned(),
        format!("license_id={}", ours.license),
        format!("license_id={other}"),
        format!("license_id={small_license}"),
        format!("license_id={}&state=live", ours.license),
        format!("license_id={}&ended_reason=revoked", ours.license),
        "user_email=u7@test.example".to_owned(),
        "user_email=ci@test.example".to_owned(),
        "user_email=gone@test.example".to_owned(),
        "user_email=nobody@test.example".to_owned(),
        "hardware_id=h7".to_owned(),
        "hardware_id=ci".to_owned(),
        format!("started_from={middle}"),
        format!("started_until={middle}"),
        format!("started_from={middle}&started_until={day}"),
        format!("license_id={}&user_email=u8@test.example&state=ended&started_from={middle}", ours.license),
    ];
    let everybody = [
        ("large", &rig.ours.member, Some(ours.tenant)),
        ("small", &of_small, Some(small)),
        ("own", &rig.ours.guest, Some(ours.tenant)),
        ("staff", &rig.staff, Some(ours.tenant)),
    ];
    let (mut longest, mut detail) = (Duration::ZERO, String::new());
    for limit in [50, 200] {
        for query in &queries {
            for (whose, who, tenant) in everybody {
                let (took, depth, shown) = slowest(&rig, who, tenant, &format!("limit={limit}&{query}")).await;
                if took > longest {
                    (longest, detail) = (took, format!("{whose}, limit={limit}&{query}, at {depth} %, {shown} shown"));
                }
            }
        }
    }
    measured("a page of 1,000,000 sessions", longest.as_secs_f64() * 1000.0, "ms", "<= 50", &detail);
}
