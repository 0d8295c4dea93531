//! Vectors of leaf certificates.

use serde_json::{Value, json};

use super::{
    Case,
    forms::Form,
    keys::base64url,
    world::{
        CERTIFICATE, CERTIFIED, LEASE, LICENSE, NOW, REVOCATIONS, World, certificate_of, lease_claims, license_claims, revocation_claims,
    },
};

pub(super) fn cases(world: &World) -> Vec<Case> {
    let claims = world.certificate();
    let root = &world.root;
    let token = root.token(CERTIFICATE, &claims);
    let good = Case { roots: vec!["root".into()], token, now: Some(NOW), skew: Some(60), ..Case::default() };
    let case = |name: &str, description: &str, verdict: &str| good.clone().named(name, description, verdict);
    let with = |case: Case, token: String| Case { token, ..case };
    let claiming = |case: Case, change: &dyn Fn(&mut Value)| {
        let mut claims = claims.clone();
        change(&mut claims);
        with(case, root.token(CERTIFICATE, &claims))
    };
    let at = |case: Case, now: u64, skew: u64| Case { now: Some(now), skew: Some(skew), ..case };
    let next = world.next_root.token(CERTIFICATE, &claims);
    let both = vec!["root".to_owned(), "next_root".to_owned()];
    let (begins, ends) = CERTIFIED;
    let (early, late) = ("certificate_not_yet_valid", "certificate_expired");

    let mut cases = vec![
        case("valid", "A certificate in its time", "accept"),
        claiming(case("valid_unknown_claim", "Unknown claims are passed over", "accept"), &|claims| claims["later"] = json!(1)),
        Case {
            roots: both,
            ..with(case("valid_by_the_next_root", "Two roots are pinned; the next one has signed", "accept"), next.clone())
        },
        at(case("window_first_second", "It holds from nbf on", "accept"), begins, 0),
        at(case("window_last_second", "It holds up to the second before exp", "accept"), ends - 1, 0),
        at(case("window_before", "A second before nbf", early), begins - 1, 0),
        at(case("window_after", "At exp it holds no longer", late), ends, 0),
        at(case("window_first_second_of_skew", "As early as the skew allows", "accept"), begins - 60, 60),
        at(case("window_last_second_of_skew", "As late as the skew allows", "accept"), ends + 59, 60),
        at(case("window_before_skew", "A second earlier than the skew allows", early), begins - 61, 60),
        at(case("window_after_skew", "A second later than the skew allows", late), ends + 60, 60),
        at(case("clock_at_zero", "A clock that was never set", early), 0, 60),
        with(
            case("window_empty", "It ends before it begins", late),
            root.token(CERTIFICATE, &certificate_of(&world.leaf, "lease", (NOW, NOW - 600))),
        ),
        with(
            case("window_far", "Times beyond all calendars do not overflow", early),
            root.token(CERTIFICATE, &certificate_of(&world.leaf, "lease", (u64::MAX, u64::MAX))),
        ),
        with(
            case("wrong_use", "A key for something else", "wrong_use"),
            root.token(CERTIFICATE, &certificate_of(&world.leaf, "license", CERTIFIED)),
        ),
        with(
            case("wrong_use_in_upper_case", "The use is compared exactly", "wrong_use"),
            root.token(CERTIFICATE, &certificate_of(&world.leaf, "Lease", CERTIFIED)),
        ),
        with(case("next_root_not_pinned", "Signed by the next root, which is not pinned yet", "unknown_root"), next),
        with(
            case("retired_root", "Signed by a root that is no longer pinned", "unknown_root"),
            world.retired_root.token(CERTIFICATE, &claims),
        ),
        with(case("signed_by_the_leaf_itself", "A leaf certifies nothing", "unknown_root"), world.leaf.token(CERTIFICATE, &claims)),
        with(
            case("signed_by_a_certified_leaf", "Nor does a leaf that is certified", "unknown_root"),
            world.other_leaf.token(CERTIFICATE, &claims),
        ),
        with(
            case("license_as_certificate", "A license, where a certificate is wanted", "wrong_type"),
            root.token(LICENSE, &license_claims()),
        ),
        with(
            case("revocations_as_certificate", "A revocation list, where a certificate is wanted", "wrong_type"),
            root.token(REVOCATIONS, &revocation_claims(1, &[])),
        ),
        with(
            case("lease_as_certificate", "A lease, where a certificate is wanted", "wrong_type"),
            world.leaf.token(LEASE, &lease_claims()),
        ),
    ];
    cases.extend(broken_claims(world, &good));
    let form = Form {
        typ: CERTIFICATE,
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

/// Truly signed, but not what a certificate says.
fn broken_claims(world: &World, good: &Case) -> Vec<Case> {
    let case = |name: &str, description: &str| good.clone().named(name, description, "bad_claims");
    let claiming = |case: Case, change: &dyn Fn(&mut Value)| {
        let mut claims = world.certificate();
        change(&mut claims);
        Case { token: world.root.token(CERTIFICATE, &claims), ..case }
    };
    let jwk = |name: &str, description: &str, change: &dyn Fn(&mut Value)| {
        claiming(case(name, description), &|claims| change(&mut claims["jwk"]))
    };
    vec![
        jwk("jwk_kid_of_another_key", "kid is not the key's thumbprint", &|jwk| jwk["kid"] = world.other_leaf.jwk["kid"].clone()),
        jwk("jwk_x_of_another_key", "x is another key's", &|jwk| jwk["x"] = world.other_leaf.jwk["x"].clone()),
        jwk("jwk_x_short", "31 bytes, with their true thumbprint", &|jwk| rename(jwk, &base64url(&[7; 31]))),
        jwk("jwk_x_padded", "Padded, with the thumbprint of that text", &|jwk| {
            let padded = format!("{}=", jwk["x"].as_str().expect("a text"));
            rename(jwk, &padded);
        }),
        jwk("jwk_an_rsa_key", "Leaves are Ed25519", &|jwk| *jwk = world.next_root.jwk.clone()),
        jwk("jwk_another_curve", "Leaves are Ed25519", &|jwk| jwk["crv"] = json!("X25519")),
        jwk("jwk_another_alg", "The key's algorithm is EdDSA", &|jwk| jwk["alg"] = json!("HS256")),
        jwk("jwk_for_encryption", "The key's own use is sig", &|jwk| jwk["use"] = json!("enc")),
        jwk("jwk_without_kid", "kid is missing", &|jwk| drop(jwk.as_object_mut().and_then(|jwk| jwk.remove("kid")))),
        jwk("jwk_a_text", "jwk is no object", &|jwk| *jwk = json!(jwk.to_string())),
        claiming(case("bad_exp_text", "Times are numbers"), &|claims| claims["exp"] = json!("1900000000")),
        claiming(case("bad_exp_fraction", "Times are whole seconds"), &|claims| claims["exp"] = json!(1_900_000_000.5)),
        claiming(case("bad_nbf_negative", "Nothing was signed before 1970"), &|claims| claims["nbf"] = json!(-1)),
    ]
}

/// Another `x`, and the `kid` that goes with it.
fn rename(jwk: &mut Value, x: &str) {
    jwk["kid"] = json!(super::keys::sha256(&json!({"crv": "Ed25519", "kty": "OKP", "x": x}).to_string()));
    jwk["x"] = json!(x);
}
