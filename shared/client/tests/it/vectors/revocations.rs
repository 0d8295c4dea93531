//! Vectors of revocation lists.

use serde_json::{Value, json};

use super::{
    Case,
    forms::Form,
    keys::{base64url, signing_input},
    world::{CERTIFICATE, LEASE, LICENSE, NOW, REVOCATIONS, World, lease_claims, license_claims, revocation_claims},
};

pub(super) fn cases(world: &World) -> Vec<Case> {
    let claims = revocation_claims(2, &[&world.leaf, &world.other_leaf]);
    let (root, leaf) = (&world.root, &world.leaf);
    let good = Case { roots: vec!["root".into()], token: root.token(REVOCATIONS, &claims), ..Case::default() };
    let case = |name: &str, description: &str, verdict: &str| good.clone().named(name, description, verdict);
    let with = |case: Case, token: String| Case { token, ..case };
    let changed = |case: Case, name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        with(case, root.token(REVOCATIONS, &claims))
    };
    let both = vec!["root".to_owned(), "next_root".to_owned()];
    let next = world.next_root.token(REVOCATIONS, &claims);
    let signed = signing_input(&root.header(REVOCATIONS), claims.to_string().as_bytes());
    let by_leaf = format!("{signed}.{}", base64url(&leaf.sign("EdDSA", &signed)));

    let mut cases = vec![
        case("valid", "A list of two leaves", "accept"),
        with(case("valid_empty", "The first list: nothing is revoked", "accept"), root.token(REVOCATIONS, &revocation_claims(1, &[]))),
        changed(case("valid_unknown_claim", "Unknown claims are passed over", "accept"), "later", json!([])),
        Case {
            roots: both,
            ..with(case("valid_by_the_next_root", "Two roots are pinned; the next one has signed", "accept"), next.clone())
        },
        with(case("next_root_not_pinned", "Signed by the next root, which is not pinned yet", "unknown_root"), next),
        with(
            case("retired_root", "Signed by a root that is no longer pinned", "unknown_root"),
            world.retired_root.token(REVOCATIONS, &claims),
        ),
        with(case("signed_by_a_leaf", "A leaf revokes nothing", "unknown_root"), leaf.token(REVOCATIONS, &claims)),
        with(case("signed_by_a_leaf_as_root", "A leaf's signature under the root's header", "bad_signature"), by_leaf),
        with(case("license_as_revocations", "A license, where a list is wanted", "wrong_type"), root.token(LICENSE, &license_claims())),
        with(
            case("certificate_as_revocations", "A certificate, where a list is wanted", "wrong_type"),
            root.token(CERTIFICATE, &world.certificate()),
        ),
        with(case("lease_as_revocations", "A lease, where a list is wanted", "wrong_type"), leaf.token(LEASE, &lease_claims())),
        changed(case("bad_revoked_texts", "Leaves are named by objects", "bad_claims"), "revoked", json!([leaf.kid])),
        changed(case("bad_revoked_without_kid", "A leaf without a name", "bad_claims"), "revoked", json!([{"revoked_at": NOW}])),
        changed(case("bad_revoked_null", "No list at all", "bad_claims"), "revoked", Value::Null),
        changed(case("bad_version_text", "A version is a number", "bad_claims"), "version", json!("2")),
    ];
    let form = Form {
        typ: REVOCATIONS,
        claims: claims.clone(),
        key: root,
        same_kind: &world.retired_root,
        other_kind: leaf,
        unknown: "unknown_root",
        good: good.clone(),
        optional: &[],
    };
    cases.extend(form.cases());
    cases
}
