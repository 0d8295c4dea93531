//! Usage.

use platform::domain::Timestamp;
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::{
    people::Person,
    rig::{Rig, Tenant},
};

const PATH: &str = "/api/v1/usage";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A session of a tenant's license that was there from one moment to another, or is there still.
async fn sat(owner: &Client, tenant: &Tenant, seat: i32, who: (&str, &str), from: &str, until: Option<&str>) {
    let sql = "INSERT INTO sessions (id, tenant_id, license_id, seat, holder, hardware_id, user_email, started_at, expires_at, ended_at, ended_reason)
               VALUES (gen_random_uuid(), $1, $2, $3, uuid_send(gen_random_uuid()), $4, $5, $6, $6, $7, CASE WHEN $7::timestamptz IS NOT NULL THEN 'released' END)";
    let (of, license) = (tenant.customer.tenant.as_uuid(), tenant.customer.license.as_uuid());
    owner.execute(sql, &[&of, &license, &seat, &who.1, &who.0, &at(from), &until.map(at)]).await.unwrap();
}

/// What the engine counted of a tenant's license in an hour: acquired, denied, peak.
async fn counted(owner: &Client, tenant: &Tenant, hour: &str, numbers: (i64, i64, i32)) {
    let sql =
        "INSERT INTO usage_hourly (tenant_id, license_id, hour, acquired, denied, peak, heartbeats) VALUES ($1, $2, $3, $4, $5, $6, 10)
               ON CONFLICT (license_id, hour) DO UPDATE SET acquired = $4, denied = $5, peak = $6";
    let (of, license) = (tenant.customer.tenant.as_uuid(), tenant.customer.license.as_uuid());
    owner.execute(sql, &[&of, &license, &at(hour), &numbers.0, &numbers.1, &numbers.2]).await.unwrap();
}

/// A second license of a tenant.
async fn second_license(owner: &Client, tenant: &Tenant) -> uuid::Uuid {
    let sql = "INSERT INTO licenses SELECT (l).* FROM (
                   SELECT jsonb_populate_record(x, jsonb_build_object('id', gen_random_uuid(), 'key_hash', '\\x' || repeat('ab', 32))) AS l
                   FROM licenses AS x WHERE id = $1) AS y RETURNING id";
    owner.query_one(sql, &[&tenant.customer.license.as_uuid()]).await.unwrap().get(0)
}

async fn list(rig: &Rig, who: &Person, query: &str) -> Vec<Value> {
    rig.get(who, &format!("{PATH}?{query}")).await.expect(200).body["items"].as_array().unwrap().clone()
}

/// The numbers of an entry: acquired, denied, peak, average, distinct users, distinct hardware.
fn numbers(usage: &Value) -> Value {
    json!([usage["acquired"], usage["denied"], usage["peak"], usage["average"], usage["distinct_users"], usage["distinct_hardware"]])
}

#[tokio::test]
async fn an_hour_tells_what_was_counted_and_who_sat() {
    let rig = Rig::start().await;
    let owner = rig.database.owner().await;
    sat(&owner, &rig.ours, 1, ("a@x.example", "one"), "2026-01-05T09:30:00Z", Some("2026-01-05T10:30:00Z")).await;
    sat(&owner, &rig.ours, 2, ("A@x.example", "two"), "2026-01-05T10:15:00Z", Some("2026-01-05T10:30:00Z")).await;
    sat(&owner, &rig.ours, 2, ("b@x.example", "two"), "2026-01-05T10:45:00Z", None).await;
    // Before the hour, after it, and another tenant's.
    sat(&owner, &rig.ours, 3, ("c@x.example", "three"), "2026-01-05T08:00:00Z", Some("2026-01-05T10:00:00Z")).await;
    sat(&owner, &rig.ours, 3, ("d@x.example", "four"), "2026-01-05T11:00:00Z", None).await;
    sat(&owner, &rig.theirs, 1, ("e@x.example", "five"), "2026-01-05T10:00:00Z", None).await;
    counted(&owner, &rig.ours, "2026-01-05T10:00:00Z", (3, 4, 1)).await;

    let hours = list(&rig, &rig.ours.member, "").await;
    assert_eq!(hours.len(), 1);
    assert_eq!(hours[0]["starts_at"], "2026-01-05T10:00:00.000Z");
    assert_eq!(hours[0]["tenant_id"], rig.ours.customer.tenant.to_string());
    assert_eq!(hours[0]["license_id"], rig.ours.customer.license.to_string());
    // 30 minutes, 15 and 15; two at once, though the engine, which had forgotten, counted one.
    assert_eq!((numbers(&hours[0]), &hours[0]["seat_hours"]), (json!([3, 4, 2, 1.0, 2, 2]), &json!(1.0)));
    let whole = list(&rig, &rig.ours.member, "group=tenant").await;
    assert_eq!((numbers(&whole[0]), &whole[0]["license_id"]), (numbers(&hours[0]), &Value::Null));

    // Counted anew, it is what it is, not more of it.
    counted(&owner, &rig.ours, "2026-01-05T10:00:00Z", (5, 4, 6)).await;
    let again = list(&rig, &rig.ours.member, "interval=day").await;
    assert_eq!(numbers(&again[0]), json!([5, 4, 6, 0.042, 3, 3]), "whoever came at 8 is of the day");
    owner.batch_execute("SET ROLE coditect_jobs").await.unwrap();
    owner.execute("SELECT total_usage($1, $2)", &[&rig.ours.customer.tenant.as_uuid(), &at("2026-01-05T10:00:00Z")]).await.unwrap();
    assert_eq!(list(&rig, &rig.ours.member, "interval=day").await, again);
}

#[tokio::test]
async fn a_day_adds_up_its_hours_and_counts_everybody_once() {
    let rig = Rig::start().await;
    let owner = rig.database.owner().await;
    let second = second_license(&owner, &rig.ours).await;
    sat(&owner, &rig.ours, 1, ("a@x.example", "one"), "2026-01-05T09:00:00Z", Some("2026-01-05T11:00:00Z")).await;
    sat(&owner, &rig.ours, 2, ("b@x.example", "two"), "2026-01-05T10:00:00Z", Some("2026-01-05T10:30:00Z")).await;
    let other = "UPDATE sessions SET license_id = $1 WHERE hardware_id = 'two'";
    owner.execute(other, &[&second]).await.unwrap();
    sat(&owner, &rig.ours, 3, ("a@x.example", "one"), "2026-01-05T10:00:00Z", Some("2026-01-05T10:30:00Z")).await;
    owner.execute("UPDATE sessions SET license_id = $1 WHERE seat = 3", &[&second]).await.unwrap();
    counted(&owner, &rig.ours, "2026-01-05T09:00:00Z", (1, 0, 1)).await;
    counted(&owner, &rig.ours, "2026-01-05T10:00:00Z", (0, 2, 1)).await;
    counted(&owner, &rig.ours, "2026-01-06T00:00:00Z", (7, 7, 7)).await;

    let days = list(&rig, &rig.ours.owner, "interval=day&group=tenant&until=2026-01-06T00:00:00Z").await;
    assert_eq!(days.len(), 1);
    assert_eq!((&days[0]["starts_at"], &days[0]["seat_hours"]), (&json!("2026-01-05T00:00:00.000Z"), &json!(3.0)));
    assert_eq!(numbers(&days[0]), json!([1, 2, 3, 0.125, 2, 2]));
    let license = rig.ours.customer.license;
    let days = list(&rig, &rig.ours.owner, &format!("interval=day&license_id={license}")).await;
    assert_eq!(days.iter().map(numbers).collect::<Vec<_>>(), [json!([7, 7, 7, 0.0, 0, 0]), json!([1, 2, 1, 0.083, 1, 1])]);
    // The other license was sat on, though the engine has counted nothing.
    let hours = list(&rig, &rig.ours.owner, "from=2026-01-05T10:00:00Z&until=2026-01-05T11:00:00Z").await;
    let second = hours.iter().find(|hour| hour["license_id"] != license.to_string()).unwrap();
    assert_eq!(numbers(second), json!([0, 0, 2, 1.0, 2, 2]));
}

#[tokio::test]
async fn two_who_roll_up_at_once_lose_nothing() {
    let rig = Rig::start().await;
    let (mut one, two) = (rig.database.owner().await, rig.database.owner().await);
    let second = second_license(&two, &rig.ours).await;
    let first = one.transaction().await.unwrap();
    let count = "INSERT INTO usage_hourly (tenant_id, license_id, hour, acquired) VALUES ($1, $2, '2026-01-05T10:00:00Z', 1)";
    let (tenant, license) = (rig.ours.customer.tenant.as_uuid(), rig.ours.customer.license.as_uuid());
    first.execute(count, &[&tenant, &license]).await.unwrap();
    // The second cannot see what the first has counted, and so waits for it.
    let waits = async {
        let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        while first.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            tokio::task::yield_now().await;
        }
        first.commit().await.unwrap();
    };
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&tenant, &second];
    let (counted, ()) = tokio::join!(two.execute(count, &params), waits);
    counted.unwrap();
    for interval in ["hour", "day"] {
        let whole = list(&rig, &rig.ours.owner, &format!("group=tenant&interval={interval}")).await;
        assert_eq!(whole[0]["acquired"], 2, "{interval}");
    }
}

#[tokio::test]
async fn nobody_sees_how_another_tenant_uses_its_licenses() {
    let rig = Rig::start().await;
    let owner = rig.database.owner().await;
    for (tenant, number) in [(&rig.ours, 1), (&rig.theirs, 2)] {
        for hour in ["2026-01-05T09:00:00Z", "2026-01-05T10:00:00Z"] {
            counted(&owner, tenant, hour, (number, number, 1)).await;
        }
    }
    let (ours, theirs) = (rig.ours.customer.tenant.to_string(), rig.theirs.customer.tenant.to_string());
    let page = rig.get(&rig.theirs.owner, &format!("{PATH}?limit=1")).await.expect(200);
    let cursor = page.body["next_cursor"].as_str().unwrap();
    for who in [&rig.ours.member, &rig.ours.admin, &rig.ours.owner] {
        for group in ["license", "tenant"] {
            for format in ["", "&format=csv"] {
                let seen = rig.get(who, &format!("{PATH}?group={group}{format}")).await.expect(200);
                assert!(seen.text.contains(&ours) && !seen.text.contains(&theirs), "{}", seen.text);
            }
        }
        let license = rig.theirs.customer.license;
        assert_eq!(list(&rig, who, &format!("license_id={license}")).await, [] as [Value; 0]);
        let csv = rig.get(who, &format!("{PATH}?license_id={license}&format=csv")).await.expect(200);
        assert_eq!(csv.text.lines().count(), 1);
        assert_eq!(rig.get(who, &format!("{PATH}?cursor={cursor}")).await.expect(400).faults(), ["cursor"]);
        let foreign = [("x-tenant-id", theirs.as_str())];
        rig.call(who, "GET", &format!("{PATH}?format=csv"), &foreign, None).await.assert_problem(403, "forbidden");
    }
    rig.get(&rig.ours.guest, PATH).await.assert_problem(403, "forbidden");
    assert_eq!(list(&rig, &rig.staff, "").await.len(), 2);
    assert_eq!(list(&rig, &rig.staff, "group=tenant&interval=day").await.len(), 1);
    let one = rig.call(&rig.staff, "GET", PATH, &[("x-tenant-id", &theirs)], None).await.expect(200);
    assert_eq!(one.body["items"].as_array().unwrap().len(), 2);
    assert!(one.text.contains(&theirs) && !one.text.contains(&ours));
}

#[tokio::test]
async fn pages_of_usage_show_everything_once() {
    let rig = Rig::start().await;
    let owner = rig.database.owner().await;
    for hour in 0..7 {
        for tenant in [&rig.ours, &rig.theirs] {
            counted(&owner, tenant, &format!("2026-01-05T0{hour}:00:00Z"), (hour, 0, 1)).await;
        }
    }
    for who in [&rig.staff, &rig.ours.member] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = rig.get(who, &format!("{PATH}?limit=3{cursor}")).await.expect(200);
            seen.extend(page.body["items"].as_array().unwrap().clone());
            counted(&owner, &rig.ours, "2026-01-05T08:00:00Z", (9, 0, 1)).await;
            let Some(next) = page.body["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        let place = |usage: &Value| (usage["starts_at"].as_str().unwrap().to_owned(), usage["license_id"].as_str().unwrap().to_owned());
        assert!(seen.iter().map(place).is_sorted_by(|a, b| a > b), "{seen:?}");
        assert!(seen.len() >= 7);
    }
    let wrong =
        rig.get(&rig.staff, &format!("{PATH}?interval=week&group=x&license_id=x&from=x&until=x&format=xls&limit=0")).await.expect(400);
    assert_eq!(wrong.faults(), ["limit", "interval", "group", "license_id", "from", "until", "format"]);
    let both = format!("{PATH}?group=tenant&license_id={}", rig.ours.customer.license);
    assert_eq!(rig.get(&rig.staff, &both).await.expect(400).faults(), ["license_id"]);
}

#[tokio::test]
async fn usage_can_be_had_whole_as_csv_that_no_program_takes_for_formulas() {
    let rig = Rig::start().await;
    let owner = rig.database.owner().await;
    owner.batch_execute("UPDATE licenses SET name = '=1+1'; UPDATE tenants SET name = '@x'").await.unwrap();
    sat(&owner, &rig.ours, 1, ("=cmd@x.example", "+one"), "2025-01-01T00:00:00Z", Some("2025-01-01T01:00:00Z")).await;
    // More than one batch.
    let many = "INSERT INTO usage_hourly (tenant_id, license_id, hour, acquired, peak)
                SELECT $1, $2, '2025-01-01T00:00:00Z'::timestamptz + n * interval '1 hour', n, 1 FROM generate_series(0, 1100) AS n";
    let (tenant, license) = (&rig.ours.customer.tenant, &rig.ours.customer.license);
    owner.execute(many, &[&tenant.as_uuid(), &license.as_uuid()]).await.unwrap();
    let csv = rig.call(&rig.ours.member, "GET", PATH, &[("accept", "text/csv")], None).await.expect(200);
    assert_eq!((&csv.headers["content-type"], &csv.headers["vary"]), (&"text/csv".parse().unwrap(), &"accept".parse().unwrap()));
    assert!(csv.headers["content-disposition"].to_str().unwrap().starts_with("attachment"));
    let lines: Vec<&str> = csv.text.split_terminator("\r\n").collect();
    assert_eq!(lines.len(), 1102);
    let columns = lines[0].split(',').count();
    for line in &lines {
        let cells: Vec<&str> = line.split(',').collect();
        assert_eq!(cells.len(), columns, "{line}");
        assert!(cells.iter().all(|cell| !cell.starts_with(['=', '+', '-', '@', '\t', '\r', '"', '\''])), "{line}");
    }
    assert_eq!(lines[1101], format!("2025-01-01T00:00:00.000Z,{tenant},{license},0,0,0,0,1,1,1,1,1,true"));
    let numbers: Vec<&str> = lines[1..].iter().map(|line| line.split(',').nth(3).unwrap()).collect();
    assert!(numbers.iter().enumerate().all(|(at, number)| *number == (1100 - at).to_string()), "each once, in order");
    let json = rig.call(&rig.ours.member, "GET", &format!("{PATH}?format=json"), &[("accept", "text/csv")], None).await.expect(200);
    assert_eq!(json.body["items"].as_array().unwrap().len(), 50);
}

#[tokio::test]
async fn export_form_is_negotiated_by_quality_and_specificity() {
    let rig = Rig::start().await;
    for (path, form) in [(PATH, "text/csv"), ("/api/v1/audit-events", "application/x-ndjson")] {
        for (accept, wanted) in [
            (format!("application/json, {form};q=0"), "application/json"),
            (format!("{form};q=0, */*"), "application/json"),
            (format!("application/json, {form}"), "application/json"),
            (format!("{form};q=0.5, application/json;q=0.4"), form),
            (format!("application/json;q=0, {form};q=0.1"), form),
            ("image/png".to_owned(), "application/json"),
            (vec!["text/x;q=0.1"; 3000].join(","), "application/json"),
        ] {
            let answer = rig.call(&rig.ours.owner, "GET", path, &[("accept", accept.as_str())], None).await.expect(200);
            assert_eq!(answer.headers["content-type"], wanted, "{path} {}", &accept[..accept.len().min(80)]);
        }
    }
}

#[tokio::test]
async fn unfinished_hour_and_day_are_shown_and_marked() {
    let rig = Rig::start().await;
    let owner = rig.database.owner().await;
    // Halfway through an hour of noon, which the job has rolled up once meanwhile; all hours before it are closed.
    rig.clock.set(at("2026-01-05T12:30:00Z"));
    owner.execute("UPDATE usage_closing SET closed_until = $1", &[&at("2026-01-05T12:00:00Z")]).await.unwrap();
    for hour in ["2026-01-04T11:00:00Z", "2026-01-05T11:00:00Z", "2026-01-05T12:00:00Z"] {
        counted(&owner, &rig.ours, hour, (1, 0, 1)).await;
    }
    let completes = async |query: &str| {
        let items = list(&rig, &rig.ours.owner, query).await;
        items
            .iter()
            .map(|item| (item["starts_at"].as_str().unwrap()[8..13].to_owned(), item["complete"].as_bool().unwrap()))
            .collect::<Vec<_>>()
    };
    let expected = |expected: &[(&str, bool)]| expected.iter().map(|(at, is)| ((*at).to_owned(), *is)).collect::<Vec<_>>();
    for group in ["license", "tenant"] {
        let hours = completes(&format!("group={group}")).await;
        assert_eq!(hours, expected(&[("05T12", false), ("05T11", true), ("04T11", true)]));
        assert_eq!(completes(&format!("group={group}&interval=day")).await, expected(&[("05T00", false), ("04T00", true)]));
    }
    let csv = rig.get(&rig.ours.owner, &format!("{PATH}?format=csv")).await.expect(200).text;
    let cells: Vec<&str> = csv.lines().map(|line| line.rsplit_once(',').unwrap().1).collect();
    assert_eq!(cells, ["complete", "false", "true", "true"]);
    // The hour is over, and complete once the job has counted it to its end.
    rig.clock.set(at("2026-01-05T13:01:00Z"));
    assert_eq!(completes("limit=1").await, expected(&[("05T12", false)]));
    owner.execute("UPDATE usage_closing SET closed_until = $1", &[&at("2026-01-05T13:00:00Z")]).await.unwrap();
    assert_eq!(completes("limit=1").await, expected(&[("05T12", true)]));
}
