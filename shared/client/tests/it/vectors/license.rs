//! Vectors of license documents.

use serde_json::{Value, json};

use super::{
    Case,
    forms::Form,
    keys::{base64url, signing_input},
    world::{CERTIFICATE, LEASE, LICENSE, REVOCATIONS, World, lease_claims, license_claims, revocation_claims},
};

pub(super) fn cases(world: &World) -> Vec<Case> {
    let claims = license_claims();
    let root = &world.root;
    let good = Case { roots: vec!["root".into()], token: root.token(LICENSE, &claims), ..Case::default() };
    let case = |name: &str, description: &str, verdict: &str| good.clone().named(name, description, verdict);
    let changed = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        root.token(LICENSE, &claims)
    };
    let with = |case: Case, token: String| Case { token, ..case };
    let pinned = |case: Case, roots: &[&str]| Case { roots: roots.iter().map(ToString::to_string).collect(), ..case };
    let ids = json!({"tenant_id": claims["tenant_id"], "license_id": claims["license_id"]});
    let expecting = |case: Case, expected: Value| Case { expected: serde_json::from_value(expected).expect("expectations"), ..case };
    let bad =
        |name: &str, value: Value| with(case(name, "Signed, but not claims of a license", "bad_claims"), changed(&claim_of(name), value));
    let next = world.next_root.token(LICENSE, &claims);
    let retired = world.retired_root.token(LICENSE, &claims);
    let pss = root.sign("PS256", &signing_input(&root.header(LICENSE), claims.to_string().as_bytes()));
    let (next_header, payload) = (world.next_root.header(LICENSE), claims.to_string());
    let claimed = signing_input(&next_header.replace("PS256", "RS256"), payload.as_bytes());
    let rs256 = format!("{claimed}.{}", base64url(&world.next_root.sign("RS256", &claimed)));
    let salted = signing_input(&next_header, payload.as_bytes());
    let salted = format!("{salted}.{}", base64url(&world.next_root.sign("PS256 with a salt of 20 bytes", &salted)));
    let signed = good.token.rsplit_once('.').expect("three parts").0;

    let mut cases = vec![
        expecting(case("valid", "A license, tenant and license as expected", "accept"), ids),
        case("valid_without_expectations", "What the caller does not expect is not compared", "accept"),
        with(case("valid_without_end", "A license that holds for good", "accept"), world.endless_license()),
        with(case("valid_unknown_claim", "Unknown claims are passed over", "accept"), changed("later", json!({"a": [1, null]}))),
        pinned(with(case("valid_ps256", "A root that signs with PS256", "accept"), next.clone()), &["next_root"]),
        pinned(case("valid_while_the_root_changes", "Two roots are pinned; the old one has signed", "accept"), &["root", "next_root"]),
        pinned(
            with(case("valid_by_the_next_root", "Two roots are pinned; the next one has signed", "accept"), next.clone()),
            &["root", "next_root"],
        ),
        with(case("next_root_not_pinned", "Signed by the next root, which is not pinned yet", "unknown_root"), next),
        with(case("retired_root", "Signed by a root that is no longer pinned", "unknown_root"), retired),
        pinned(case("no_root", "Nothing is pinned, so nothing is believed", "unknown_root"), &[]),
        with(case("signed_by_a_leaf", "A leaf signs no licenses", "unknown_root"), world.leaf.token(LICENSE, &claims)),
        with(
            case("ps256_signature_under_rs256", "The root's own PS256 signature; it signs with RS256", "bad_signature"),
            format!("{signed}.{}", base64url(&pss)),
        ),
        pinned(
            with(
                case("rs256_claimed_for_ps256", "The root's own RS256 signature, named as such; it signs with PS256", "wrong_algorithm"),
                rs256,
            ),
            &["next_root"],
        ),
        pinned(with(case("ps256_another_salt", "A salt of 20 bytes instead of 32", "bad_signature"), salted), &["next_root"]),
        with(
            case("certificate_as_license", "A certificate, where a license is wanted", "wrong_type"),
            root.token(CERTIFICATE, &world.certificate()),
        ),
        with(
            case("revocations_as_license", "A revocation list, where a license is wanted", "wrong_type"),
            root.token(REVOCATIONS, &revocation_claims(1, &[])),
        ),
        with(case("lease_as_license", "A lease, where a license is wanted", "wrong_type"), world.leaf.token(LEASE, &lease_claims())),
        expecting(case("wrong_tenant", "Another tenant's license", "wrong_tenant"), json!({"tenant_id": "ten_other"})),
        expecting(
            case("wrong_license", "Another license of the tenant", "wrong_license"),
            json!({"tenant_id": claims["tenant_id"], "license_id": "lic_other"}),
        ),
        expecting(case("valid_version_as_expected", "The version that the lease names", "accept"), json!({"license_version": 3})),
        expecting(
            case("valid_version_later_than_expected", "A later version than was seen before", "accept"),
            json!({"license_version": 2}),
        ),
        expecting(
            case("version_before_expected", "An earlier version than the one in force, put forward again", "old_license"),
            json!({"license_version": 4}),
        ),
        expecting(case("tenant_in_upper_case", "Ids are compared exactly", "wrong_tenant"), json!({"tenant_id": "TEN_01"})),
        bad("bad_seats_total_text", json!("25")),
        bad("bad_seats_total_negative", json!(-1)),
        bad("bad_seats_total_fraction", json!(2.5)),
        bad("bad_seats_total_huge", json!(4_294_967_296_u64)),
        bad("bad_features_text", json!("sso")),
        bad("bad_seat_unit_unknown", json!("floor")),
        bad("bad_expires_at_number", json!(1_900_000_000)),
        bad("bad_license_id_null", Value::Null),
    ];
    let form = Form {
        typ: LICENSE,
        claims: claims.clone(),
        key: root,
        same_kind: &world.retired_root,
        other_kind: &world.leaf,
        unknown: "unknown_root",
        good: good.clone(),
        optional: &[],
    };
    cases.extend(form.cases());
    cases
}

/// The claim in a name like `bad_seats_total_text`.
fn claim_of(name: &str) -> String {
    let name = name.strip_prefix("bad_").expect("a name of a bad claim");
    name.rsplit_once('_').expect("a claim and what is wrong with it").0.to_owned()
}
