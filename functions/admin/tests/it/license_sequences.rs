//! Whatever is done to a license, in whatever order, its version tells how often it has changed, to the record and to the seat engine.

use std::collections::BTreeSet;

use platform::{
    domain::LicenseKey,
    seats::{Engine, Inspected},
};
use proptest::{collection::vec, prelude::*, test_runner::Config};
use serde_json::{Value, json};

use crate::{
    licenses::{PATH, issue, new_license, widen},
    rig::Rig,
};

/// Something that staff do.
#[derive(Clone, Copy, Debug)]
enum Step {
    Seats(u32),
    Token(bool),
    Ends(Option<&'static str>),
    Nothing,
    Suspend,
    Reinstate,
    Rotate,
    Revoke,
    /// Of a version that is over.
    Stale(u32),
    SuspendTenant,
    ReinstateTenant,
    /// Two at once, of one version.
    Race(u32, u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1..4_u32).prop_map(Step::Seats),
        1 => any::<bool>().prop_map(Step::Token),
        1 => prop::sample::select(vec![None, Some("2099-01-01T00:00:00Z")]).prop_map(Step::Ends),
        1 => Just(Step::Nothing),
        2 => Just(Step::Suspend),
        2 => Just(Step::Reinstate),
        2 => Just(Step::Rotate),
        // Rare: it is the end.
        1 => prop::sample::select(vec![Step::Revoke, Step::Nothing, Step::Reinstate, Step::ReinstateTenant]),
        1 => (1..4_u32).prop_map(Step::Stale),
        1 => Just(Step::SuspendTenant),
        2 => Just(Step::ReinstateTenant),
        1 => (1..4_u32, 1..4_u32).prop_map(|(one, two)| Step::Race(one, two)),
    ]
}

/// The license as it must be.
struct Model {
    path: String,
    view: Value,
    tenant_is_active: bool,
    version: i64,
    key: LicenseKey,
    old_keys: Vec<LicenseKey>,
}

impl Model {
    fn is_revoked(&self) -> bool {
        self.view["status"] == "revoked"
    }

    /// A member is to be this: whether that changes anything, which it does not do with what is revoked.
    fn set(&mut self, member: &str, value: Value) -> bool {
        let is_change = !self.is_revoked() && self.view[member] != value;
        if is_change {
            self.view[member] = value;
            self.version += 1;
        }
        is_change
    }

    /// Sends a change of the version that is current.
    async fn send(&self, rig: &Rig, method: &str, verb: &str, body: Option<&Value>) -> (u16, Value) {
        let tag = format!("\"{}\"", self.version);
        let answer = rig.call(&rig.staff, method, &format!("{}{verb}", self.path), &[("if-match", &tag)], body).await;
        (answer.status, answer.body)
    }

    /// Changes one member by a patch or a verb, and holds the answer to what must come of it.
    async fn change(&mut self, rig: &Rig, (member, value): (&str, Value), method: &str, verb: &str) {
        let body = json!({ member: value.clone() });
        let was_revoked = self.is_revoked();
        let (status, answer) = self.send(rig, method, verb, (method == "PATCH").then_some(&body)).await;
        let is_refused = was_revoked && verb != "/revoke";
        assert_eq!(status, if is_refused { 409 } else { 200 }, "{member} {value} {answer}");
        self.set(member, value);
        assert!(is_refused || answer["version"] == self.version, "{answer}");
    }

    async fn take(&mut self, rig: &Rig, step: Step) {
        match step {
            Step::Seats(seats) => self.change(rig, ("seats_total", json!(seats)), "PATCH", "").await,
            Step::Token(token) => self.change(rig, ("requires_token", json!(token)), "PATCH", "").await,
            Step::Ends(ends) => {
                let ends = ends.map(|text| text.replace('Z', ".000Z"));
                self.change(rig, ("expires_at", json!(ends)), "PATCH", "").await;
            }
            Step::Nothing => self.change(rig, ("name", self.view["name"].clone()), "PATCH", "").await,
            Step::Suspend => self.change(rig, ("status", json!("suspended")), "POST", "/suspend").await,
            Step::Reinstate => self.change(rig, ("status", json!("active")), "POST", "/reinstate").await,
            Step::Revoke => self.change(rig, ("status", json!("revoked")), "POST", "/revoke").await,
            Step::Rotate => {
                let (status, answer) = self.send(rig, "POST", "/rotate-key", None).await;
                assert_eq!(status, if self.is_revoked() { 409 } else { 200 });
                if status == 200 {
                    let key = LicenseKey::parse(answer["license_key"].as_str().unwrap()).unwrap();
                    self.old_keys.push(std::mem::replace(&mut self.key, key));
                    self.version += 1;
                }
            }
            Step::Stale(seats) => {
                let headers = [("if-match", "\"0\"")];
                let answer = rig.call(&rig.staff, "PATCH", &self.path, &headers, Some(&json!({ "seats_total": seats }))).await;
                answer.assert_problem(412, "stale_version");
            }
            Step::SuspendTenant | Step::ReinstateTenant => {
                let (verb, is_active) = if matches!(step, Step::SuspendTenant) { ("suspend", false) } else { ("reinstate", true) };
                rig.change(&rig.staff, "POST", &format!("{}/{verb}", rig.ours.path()), None).await.expect(200);
                self.version += i64::from(self.tenant_is_active != is_active);
                self.tenant_is_active = is_active;
            }
            Step::Race(one, two) => {
                let bodies = [one, two].map(|seats| json!({ "seats_total": seats }));
                let (first, second) =
                    tokio::join!(self.send(rig, "PATCH", "", Some(&bodies[0])), self.send(rig, "PATCH", "", Some(&bodies[1])));
                let done: Vec<&Value> = [&first, &second].into_iter().filter(|(status, _)| *status == 200).map(|(_, body)| body).collect();
                let changes: BTreeSet<i64> =
                    done.iter().map(|body| body["version"].as_i64().unwrap()).filter(|version| *version > self.version).collect();
                assert!(changes.len() <= 1, "both have changed the same version: {first:?} {second:?}");
                if let Some(last) = done.iter().max_by_key(|body| body["version"].as_i64()) {
                    self.set("seats_total", last["seats_total"].clone());
                }
            }
        }
    }

    /// Holds the record and another container's seat engine to it.
    async fn check(&self, rig: &Rig, step: Step) {
        let read = rig.get(&rig.staff, &self.path).await.expect(200);
        assert_eq!((read.body["version"].as_i64(), &read.body["status"]), (Some(self.version), &self.view["status"]), "{step:?}");
        assert_eq!(read.body["seats_total"], self.view["seats_total"], "{step:?}");
        let is_usable = self.tenant_is_active && self.view["status"] == "active";
        match inspect(&rig.seats, &self.key).await {
            Inspected::Usable(license, occupancy) => {
                assert!(is_usable && self.view["requires_token"] == false, "{step:?}");
                assert_eq!((license.version, json!(occupancy.total)), (self.version, self.view["seats_total"].clone()), "{step:?}");
            }
            Inspected::Refused(_) => assert!(!is_usable, "{step:?}"),
            Inspected::Unadmitted(_) => assert_eq!(self.view["requires_token"], true, "{step:?}"),
            Inspected::Unknown => panic!("{step:?}: the key opens nothing"),
        }
        for key in &self.old_keys {
            assert!(matches!(inspect(&rig.seats, key).await, Inspected::Unknown), "{step:?}: an old key");
        }
    }
}

async fn inspect(seats: &Engine, key: &LicenseKey) -> Inspected {
    seats.inspect(key, None, &[0; 16]).await.unwrap().outcome().unwrap()
}

async fn hold(steps: Vec<Step>) {
    let rig = Rig::start().await;
    widen(&rig, &rig.ours).await;
    let issued = issue(&rig, &rig.ours, &new_license()).await.expect(201).body;
    let mut model = Model {
        path: format!("{PATH}/{}", issued["id"].as_str().unwrap()),
        key: LicenseKey::parse(issued["license_key"].as_str().unwrap()).unwrap(),
        view: issued,
        tenant_is_active: true,
        version: 1,
        old_keys: Vec::new(),
    };
    for step in steps {
        model.take(&rig, step).await;
        model.check(&rig, step).await;
    }
    let sql = "SELECT count(*) FROM licenses l WHERE l.version <> 1 +
               (SELECT count(*) FROM audit_events e WHERE e.license_id = l.id AND e.before IS NOT NULL) +
               (SELECT count(*) FROM audit_events e WHERE e.tenant_id = l.tenant_id AND e.action IN ('tenant.suspended', 'tenant.reinstated'))";
    let untold: i64 = rig.database.owner().await.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(untold, 0, "a version that no event tells of");
}

proptest! {
    #![proptest_config(Config { cases: 12, max_shrink_iters: 40, failure_persistence: None, ..Config::default() })]
    #[test]
    fn no_sequence_of_calls_leaves_a_license_with_a_wrong_version(steps in vec(step(), 1..30)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(hold(steps));
    }
}
