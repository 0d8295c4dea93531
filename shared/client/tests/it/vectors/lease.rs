//! Vectors of leases.

use serde_json::{Value, json};

use super::{
    Case, Published,
    forms::Form,
    keys::{Key, sha256},
    world::{
        CERTIFICATE, CERTIFIED, HARDWARE, HOUR, LEASE, LEASED, LICENSE, NOW, REVOCATIONS, World, all_expected, certificate_of,
        lease_claims, license_claims, revocation_claims,
    },
};

pub(super) fn cases(world: &World) -> Vec<Case> {
    let good = good(world);
    // What is wrong with the form shows under the one certificate, which keeps the file readable.
    let least = Published { certificates: vec![world.root.token(CERTIFICATE, &world.certificate())], revocations: None };
    let form = Form {
        typ: LEASE,
        claims: lease_claims(),
        key: &world.leaf,
        same_kind: &world.other_leaf,
        other_kind: &world.root,
        unknown: "unknown_leaf",
        good: Case { published: Some(least), ..good.clone() },
        optional: &["nonce"],
    };
    [chains(world, &good), windows(world, &good), expectations(world, &good), form.cases()].concat()
}

/// A lease that holds, and all that the caller knows of it.
fn good(world: &World) -> Case {
    Case {
        roots: vec!["root".into()],
        published: Some(world.published()),
        token: world.leaf.token(LEASE, &lease_claims()),
        expected: all_expected(),
        now: Some(NOW),
        skew: Some(60),
        ..Case::default()
    }
}

/// Who vouches for whom.
fn chains(world: &World, good: &Case) -> Vec<Case> {
    let World { root, next_root, retired_root, leaf, other_leaf } = world;
    let case = |name: &str, description: &str, verdict: &str| good.clone().named(name, description, verdict);
    let with = |case: Case, token: String| Case { token, ..case };
    let own = |signer: &Key, claims: &Value| signer.token(CERTIFICATE, claims);
    let certified = |case: Case, certificates: Vec<String>| {
        let revocations = case.published.clone().and_then(|published| published.revocations);
        Case { published: Some(Published { certificates, revocations }), ..case }
    };
    let listed = |case: Case, list: Option<String>| {
        let certificates = case.published.clone().expect("published keys").certificates;
        Case { published: Some(Published { certificates, revocations: list }), ..case }
    };
    let list = |signer: &Key, revoked: &[&Key]| Some(signer.token(REVOCATIONS, &revocation_claims(2, revoked)));
    let both = |case: Case| Case { roots: vec!["root".into(), "next_root".into()], ..case };
    let true_one = own(root, &world.certificate());
    let other = world.other_certificate();
    let shorter = own(root, &certificate_of(leaf, "lease", (CERTIFIED.0, NOW + 100)));
    let used = own(root, &certificate_of(leaf, "license", CERTIFIED));
    let tampered = true_one.replacen(".eyJ", ".eyK", 1);
    let truncated = true_one.rsplit_once('.').expect("three parts").0.to_owned();
    let stolen_name = {
        let mut claims = certificate_of(other_leaf, "lease", CERTIFIED);
        claims["jwk"]["kid"] = json!(leaf.kid);
        own(root, &claims)
    };
    let (unknown, bad_list) = ("unknown_leaf", "bad_revocation_list");
    vec![
        case("valid", "Root, certificate and lease, and all as expected", "accept"),
        listed(certified(case("valid_least", "The one certificate, and no list", "accept"), vec![true_one.clone()]), None),
        certified(
            case("valid_certificates_passed_over", "Certificates that do not verify are passed over if one does", "accept"),
            vec![String::new(), tampered.clone(), own(retired_root, &world.certificate()), true_one.clone()],
        ),
        certified(
            case("valid_certified_twice", "One certificate that carries the lease is enough", "accept"),
            vec![shorter.clone(), used.clone(), true_one.clone()],
        ),
        listed(case("valid_other_leaf_revoked", "Another leaf is revoked", "accept"), list(root, &[other_leaf])),
        listed(
            certified(
                both(case("valid_by_the_next_root", "Two roots are pinned; the next one has certified the leaf", "accept")),
                vec![own(next_root, &world.certificate())],
            ),
            list(next_root, &[]),
        ),
        both(case("valid_while_the_root_changes", "Two roots are pinned; the old one has certified the leaf", "accept")),
        certified(case("chain_truncated", "No certificates", unknown), vec![]),
        certified(case("chain_of_another_leaf", "Only another leaf is certified", unknown), vec![other.clone()]),
        certified(case("chain_cut_short", "The certificate's signature is cut off", unknown), vec![truncated]),
        certified(case("chain_tampered", "The certificate was altered", unknown), vec![tampered]),
        certified(
            case("chain_by_retired_root", "Certified by a root that is no longer pinned", unknown),
            vec![own(retired_root, &world.certificate())],
        ),
        certified(
            case("chain_by_next_root_not_pinned", "Certified by the next root, which is not pinned yet", unknown),
            vec![own(next_root, &world.certificate())],
        ),
        certified(case("chain_by_the_leaf_itself", "The leaf has certified itself", unknown), vec![own(leaf, &world.certificate())]),
        certified(
            case("chain_by_another_leaf", "A certified leaf has certified the leaf", unknown),
            vec![other.clone(), own(other_leaf, &world.certificate())],
        ),
        certified(case("chain_kid_of_another_key", "A true certificate that gives its key this leaf's name", unknown), vec![stolen_name]),
        certified(
            case("chain_license_for_certificate", "A license, where the certificate should be", unknown),
            vec![root.token(LICENSE, &license_claims())],
        ),
        Case { roots: vec![], ..listed(case("chain_without_root", "Nothing is pinned, so nothing is believed", unknown), None) },
        with(case("signed_by_the_root", "The root signs no leases", unknown), root.token(LEASE, &lease_claims())),
        certified(case("wrong_use", "The leaf is certified for something else", "wrong_use"), vec![used]),
        listed(case("revoked", "The leaf is revoked", "leaf_revoked"), list(root, &[other_leaf, leaf])),
        Case {
            now: Some(CERTIFIED.1 + HOUR),
            ..listed(case("revoked_long_ago", "Revoked, whatever the times", "leaf_revoked"), list(root, &[leaf]))
        },
        listed(case("revocations_by_a_leaf", "The list is signed by the leaf", bad_list), list(leaf, &[])),
        listed(
            case("revocations_by_retired_root", "The list is signed by a root that is no longer pinned", bad_list),
            list(retired_root, &[]),
        ),
        listed(case("revocations_empty_text", "The list is no token", bad_list), Some(String::new())),
        listed(
            case("revocations_a_license", "A license, where the list should be", bad_list),
            Some(root.token(LICENSE, &license_claims())),
        ),
        with(case("license_as_lease", "A license, where a lease is wanted", "wrong_type"), root.token(LICENSE, &license_claims())),
        with(case("certificate_as_lease", "A certificate, where a lease is wanted", "wrong_type"), true_one),
        with(
            case("revocations_as_lease", "A revocation list, where a lease is wanted", "wrong_type"),
            root.token(REVOCATIONS, &revocation_claims(1, &[])),
        ),
    ]
}

/// When it holds.
fn windows(world: &World, good: &Case) -> Vec<Case> {
    let case = |name: &str, description: &str, verdict: &str| good.clone().named(name, description, verdict);
    let at = |case: Case, now: u64, skew: u64| Case { now: Some(now), skew: Some(skew), ..case };
    let living = |case: Case, (iat, nbf, exp): (u64, u64, u64)| {
        let mut claims = lease_claims();
        claims["iat"] = json!(iat);
        claims["nbf"] = json!(nbf);
        claims["exp"] = json!(exp);
        Case { token: world.leaf.token(LEASE, &claims), ..case }
    };
    let certified = |case: Case, window: (u64, u64)| {
        let mut published = world.published();
        published.certificates = vec![world.root.token(CERTIFICATE, &certificate_of(&world.leaf, "lease", window))];
        Case { published: Some(published), ..case }
    };
    let ((begins, ends), (from, to)) = (LEASED, CERTIFIED);
    let outside = "issued_outside_certificate";
    vec![
        at(case("window_first_second", "It holds from nbf on", "accept"), begins, 0),
        at(case("window_last_second", "It holds up to the second before exp", "accept"), ends - 1, 0),
        at(case("window_before", "A second before nbf", "not_yet_valid"), begins - 1, 0),
        at(case("window_after", "At exp it holds no longer", "expired"), ends, 0),
        at(case("window_first_second_of_skew", "As early as the skew allows", "accept"), begins - 60, 60),
        at(case("window_last_second_of_skew", "As late as the skew allows", "accept"), ends + 59, 60),
        at(case("not_yet_valid", "A second earlier than the skew allows", "not_yet_valid"), begins - 61, 60),
        at(case("expired", "A second later than the skew allows", "expired"), ends + 60, 60),
        living(case("window_later_nbf", "nbf counts, not iat", "not_yet_valid"), (begins, NOW + 61, ends)),
        living(case("certificate_first_second", "Made in the certificate's first second", "accept"), (from, from, ends)),
        living(case("certificate_same_end", "It may end with its certificate", "accept"), (begins, begins, to)),
        certified(
            case("certificate_of_yesterday", "Made just before a rotation: its certificate still holds", "accept"),
            (NOW - 47 * HOUR, NOW + HOUR),
        ),
        living(case("issued_before_certificate", "Made before its leaf was certified", outside), (from - 1, from - 1, ends)),
        certified(
            living(case("issued_at_certificates_end", "Made when its leaf was certified no longer", outside), (NOW, NOW, ends)),
            (from, NOW),
        ),
        living(case("outlives_certificate", "It would hold longer than its certificate", "outlives_certificate"), (begins, begins, to + 1)),
        at(case("certificate_not_yet_valid", "The leaf is not certified yet", "certificate_not_yet_valid"), from - 61, 60),
        at(case("certificate_expired", "The leaf is certified no longer", "certificate_expired"), to + 60, 60),
        certified(
            case(
                "certificate_in_last_second_of_skew",
                "The leaf's certificate ended less than the skew ago, and the lease with it",
                "outlives_certificate",
            ),
            (from, NOW - 59),
        ),
        at(living(case("certificate_and_lease_in_skew", "Both ended less than the skew ago", "accept"), (begins, begins, to)), to + 59, 60),
        at(case("clock_at_zero", "A clock that was never set", "certificate_not_yet_valid"), 0, 60),
    ]
}

/// For whom it is, and what it answers.
fn expectations(world: &World, good: &Case) -> Vec<Case> {
    let case = |name: &str, description: &str, verdict: &str| good.clone().named(name, description, verdict);
    let expecting = |mut case: Case, name: &str, value: &str| {
        case.expected.insert(name.to_owned(), json!(value));
        case
    };
    let claiming = |case: Case, name: &str, value: Option<Value>| {
        let mut claims = lease_claims();
        match value {
            Some(value) => claims[name] = value,
            None => drop(claims.as_object_mut().and_then(|claims| claims.remove(name))),
        }
        Case { token: world.leaf.token(LEASE, &claims), ..case }
    };
    let without = |mut case: Case, name: &str| {
        case.expected.remove(name);
        case
    };
    let bare = case("valid_without_expectations", "What the caller does not expect is not compared", "accept");
    vec![
        Case { expected: serde_json::Map::new(), ..bare },
        claiming(case("valid_unknown_claim", "Unknown claims are passed over", "accept"), "later", Some(json!("x"))),
        without(case("valid_nonce_not_asked", "A nonce that nobody asks for", "accept"), "nonce"),
        without(claiming(case("valid_no_nonce", "No nonce was sent, and none is there", "accept"), "nonce", None), "nonce"),
        expecting(case("wrong_tenant", "Another tenant's lease", "wrong_tenant"), "tenant_id", "ten_other"),
        expecting(case("wrong_license", "A lease of another license", "wrong_license"), "license_id", "lic_other"),
        expecting(case("wrong_session", "A lease of another session", "wrong_session"), "session_id", "ses_other"),
        expecting(case("wrong_hardware", "A lease given to another machine", "wrong_hardware"), "hardware_id", "Büro-PC 8"),
        expecting(case("hardware_in_upper_case", "Hardware ids are compared exactly", "wrong_hardware"), "hardware_id", "BÜRO-PC 7"),
        expecting(
            case("hardware_given_as_hash", "What is expected is the id, not its hash", "wrong_hardware"),
            "hardware_id",
            &sha256(HARDWARE),
        ),
        claiming(
            case("hardware_not_hashed", "The lease has the id, not its hash", "wrong_hardware"),
            "hardware_sha256",
            Some(json!(HARDWARE)),
        ),
        claiming(case("wrong_nonce", "An old answer, replayed", "wrong_nonce"), "nonce", Some(json!("n-older"))),
        claiming(case("empty_nonce", "An empty nonce is another nonce", "wrong_nonce"), "nonce", Some(json!(""))),
        claiming(case("missing_nonce", "A nonce was sent, and none came back", "missing_nonce"), "nonce", None),
        claiming(case("null_nonce", "null is as good as none", "missing_nonce"), "nonce", Some(Value::Null)),
        claiming(case("bad_nonce_number", "A nonce is a text", "bad_claims"), "nonce", Some(json!(1))),
        claiming(case("bad_seat_text", "A seat is a number", "bad_claims"), "seat", Some(json!("7"))),
        claiming(case("bad_exp_fraction", "Times are whole seconds", "bad_claims"), "exp", Some(json!(1_900_000_000.5))),
        claiming(case("bad_exp_negative", "Nothing was signed before 1970", "bad_claims"), "exp", Some(json!(-1))),
    ]
}
