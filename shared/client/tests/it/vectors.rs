//! The test vectors: run, complete, and made anew when somebody asks for it.
//!
//! `cargo test -p coditect-license --test it -- --ignored regenerate_vectors` writes them with fresh keys, of which none is kept.

mod certificate;
mod forms;
mod keys;
mod lease;
mod license;
mod required;
mod revocations;
mod world;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use coditect_license::{Algorithm, Expected, PublishedKeys, Rejected, RootKey, Verifier};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The files, one for each kind of token.
const KINDS: [&str; 4] = ["license", "certificate", "revocations", "lease"];

/// A file of vectors.
#[derive(Deserialize, Serialize)]
pub(crate) struct Vectors {
    /// The roots that cases pin, by name.
    roots: BTreeMap<String, Root>,
    cases: Vec<Case>,
}

#[derive(Clone, Deserialize, Serialize)]
struct Root {
    jwk: Value,
    pem: String,
}

/// One token and what a verifier must say to it.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    pub(crate) name: String,
    description: String,
    /// `accept`, or the code of the rejection.
    verdict: String,
    /// Which roots are pinned.
    roots: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    now: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    skew: Option<u64>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    expected: Map<String, Value>,
    pub(crate) token: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    published: Option<Published>,
}

/// [`PublishedKeys`], as a file has them.
#[derive(Clone, Deserialize, Serialize)]
struct Published {
    certificates: Vec<String>,
    revocations: Option<String>,
}

impl Case {
    fn named(self, name: &str, description: &str, verdict: &str) -> Self {
        Self { name: name.to_owned(), description: description.to_owned(), verdict: verdict.to_owned(), ..self }
    }

    /// When it is in the case.
    pub(crate) fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.now.expect("a case with a time"))
    }

    pub(crate) fn expected(&self) -> Expected {
        serde_json::from_value(Value::Object(self.expected.clone())).expect("expectations as the library has them")
    }

    pub(crate) fn published(&self) -> PublishedKeys {
        let published = self.published.clone().expect("a case with published keys");
        PublishedKeys { certificates: published.certificates, revocations: published.revocations }
    }
}

impl Vectors {
    pub(crate) fn load(kind: &str) -> Self {
        let text = fs::read_to_string(path(kind)).expect("a file of vectors");
        serde_json::from_str(&text).expect("vectors")
    }

    pub(crate) fn case(&self, name: &str) -> &Case {
        self.cases.iter().find(|case| case.name == name).expect("a case with this name")
    }

    pub(crate) fn verifier(&self, case: &Case) -> Verifier {
        let roots = case.roots.iter().map(|name| RootKey::from_jwk(&self.roots[name].jwk.to_string()).expect("a root"));
        let verifier = Verifier::new(roots.collect());
        match case.skew {
            Some(skew) => verifier.with_skew(Duration::from_secs(skew)),
            None => verifier,
        }
    }

    /// The claims, or why they are not believed.
    fn judge(&self, kind: &str, case: &Case) -> Result<Value, Rejected> {
        let verifier = self.verifier(case);
        let claims = match kind {
            "license" => serde_json::to_value(verifier.license(&case.token, &case.expected())?),
            "certificate" => serde_json::to_value(verifier.certificate(&case.token, case.now())?),
            "revocations" => serde_json::to_value(verifier.revocations(&case.token)?),
            "lease" => serde_json::to_value(verifier.lease(&case.token, &case.published(), &case.expected(), case.now())?),
            other => panic!("no kind is called {other}"),
        };
        Ok(claims.expect("claims are JSON"))
    }
}

fn path(kind: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "vectors", &format!("{kind}.json")].iter().collect()
}

/// The claims that stand in a token, believed or not.
fn claims_in(token: &str) -> Value {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    let payload = token.split('.').nth(1).expect("a payload");
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).expect("base64url")).expect("JSON")
}

#[test]
fn every_vector_gets_its_verdict() {
    let mut wrong = Vec::new();
    for kind in KINDS {
        let vectors = Vectors::load(kind);
        for case in &vectors.cases {
            let verdict = vectors.judge(kind, case);
            let code = verdict.as_ref().map_or_else(Rejected::code, |_| "accept");
            if code != case.verdict {
                wrong.push(format!("{kind}: {}: {code} instead of {}", case.name, case.verdict));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn accepted_claims_are_those_in_the_token() {
    for kind in KINDS {
        let vectors = Vectors::load(kind);
        for case in vectors.cases.iter().filter(|case| case.verdict == "accept") {
            let Value::Object(read) = vectors.judge(kind, case).expect("an accepted case") else { panic!("claims are an object") };
            let signed = claims_in(&case.token);
            assert!(read.iter().all(|(name, value)| signed[name] == *value), "{kind}: {}", case.name);
        }
    }
}

#[test]
fn no_vector_is_missing() {
    for (kind, own) in KINDS.into_iter().zip(required::OF_EACH_KIND) {
        let vectors = Vectors::load(kind);
        let present: BTreeSet<_> = vectors.cases.iter().map(|case| (case.name.as_str(), case.verdict.as_str())).collect();
        assert_eq!(present.len(), vectors.cases.len(), "{kind}: a name is there twice");
        let wanted: BTreeSet<_> = required::cases(required::OF_ALL).chain(required::cases(own)).collect();
        let missing: Vec<_> = wanted.difference(&present).collect();
        let unlisted: Vec<_> = present.difference(&wanted).collect();
        assert!(missing.is_empty() && unlisted.is_empty(), "{kind}: missing {missing:?}, not listed {unlisted:?}");
    }
}

#[test]
fn the_explanation_ends_with_what_was_refused() {
    let vectors = Vectors::load("lease");
    for case in &vectors.cases {
        let explained = vectors.verifier(case).explain_lease(&case.token, &case.published(), &case.expected(), case.now());
        let held: Vec<bool> = explained.checks.iter().map(|check| check.held).collect();
        let (last, before) = held.split_last().expect("a check");
        assert!(before.iter().all(|held| *held), "{}: nothing is checked after a refusal", case.name);
        assert_eq!(*last, explained.verdict.is_ok(), "{}", case.name);
    }
}

#[test]
fn a_root_is_the_same_from_pem_and_from_jwk() {
    let vectors = Vectors::load("license");
    for (name, root) in &vectors.roots {
        let from_jwk = RootKey::from_jwk(&root.jwk.to_string()).expect("a root");
        let algorithm: Algorithm = serde_json::from_value(root.jwk["alg"].clone()).expect("an algorithm");
        assert_eq!(RootKey::from_pem(&root.pem, algorithm).expect("a root"), from_jwk, "{name}");
        assert_eq!(root.jwk["kid"], from_jwk.kid(), "{name}");
    }
}

#[test]
fn what_is_no_public_root_key_cannot_be_pinned() {
    let vectors = Vectors::load("license");
    let good = &vectors.roots["root"].jwk;
    let with = |name: &str, value: Value| {
        let mut jwk = good.clone();
        // Without a kid, which would not fit another key, there is one thing wrong only.
        jwk["kid"] = Value::Null;
        jwk[name] = value;
        RootKey::from_jwk(&jwk.to_string())
    };
    let n = good["n"].as_str().expect("a text");
    assert!(with("later", Value::Null).is_ok());
    for (name, value) in [
        ("kty", "oct"),
        ("alg", "none"),
        ("alg", "RS512"),
        ("use", "enc"),
        ("kid", "another"),
        ("e", "Aw"),
        ("d", "AQAB"),
        ("n", ""),
        ("n", "AQAB"),
        ("n", &n[4..]),
        ("n", &format!("{n}=")),
        ("n", &format!("AAAA{n}")),
        ("n", &keys::base64url(&[0x7f; 512])),
        ("n", &keys::base64url(&[0x80; 512])),
    ] {
        assert!(with(name, value.into()).is_err(), "{name} {value}");
    }
    for text in ["", "{}", "[]", "null", &format!("[{good}]"), &good.to_string().replacen('{', r#"{"kty":"RSA","#, 1)] {
        assert!(RootKey::from_jwk(text).is_err(), "{text}");
    }
    let pem = &vectors.roots["root"].pem;
    for text in ["", &pem.replace("PUBLIC", "PRIVATE"), &pem.replacen("MII", "MIJ", 1), &pem[..400], &keys::Key::leaf().pem()] {
        assert!(RootKey::from_pem(text, Algorithm::Rs256).is_err(), "{text}");
    }
}

#[test]
fn only_so_many_certificates_are_looked_at() {
    let vectors = Vectors::load("lease");
    let case = vectors.case("valid_least");
    let mut published = case.published();
    let mut judge = |useless: usize| {
        published.certificates.splice(..0, vec![String::new(); useless]);
        vectors.verifier(case).lease(&case.token, &published, &case.expected(), case.now()).map(drop)
    };
    assert_eq!(judge(31), Ok(()));
    assert_eq!(judge(1), Err(Rejected::UnknownLeaf), "each costs an RSA verification");
}

#[test]
#[ignore = "writes into the source: run it when a case is added or changed"]
fn regenerate_vectors() {
    let world = world::World::new();
    let all = [license::cases(&world), certificate::cases(&world), revocations::cases(&world), lease::cases(&world)];
    for (kind, cases) in KINDS.into_iter().zip(all) {
        let vectors = Vectors { roots: world.roots().into_iter().collect(), cases };
        let text = serde_json::to_string_pretty(&vectors).expect("JSON");
        fs::write(path(kind), text + "\n").expect("the folder of the vectors");
    }
}
