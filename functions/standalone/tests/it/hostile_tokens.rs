//! Tokens that somebody made up: 401 each time, and nothing in an answer tells one from another.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use platform::domain::{AccessToken, Clock, Standing, SystemClock};
use serde_json::{Value, json};
use testkit::{
    identity::{AUDIENCE, IdentityProvider, IssuerKey, hs256, unsigned, with},
    people,
};

use crate::client::{Answer, Platform};

const EMAIL: &str = "ada@x.example";

/// A platform that takes the tokens of two issuers whose keys share an id, and knows one person at the first.
struct Gate {
    platform: Platform,
    provider: IdentityProvider,
    other: IdentityProvider,
}

/// The challenge to a token that is not good.
const INVALID: &str = "Bearer error=\"invalid_token\"";

/// What an answer shows.
type Shown = (u16, Vec<(String, String)>, String);

impl Gate {
    async fn open() -> Self {
        let (provider, other) = (IdentityProvider::start("first").await, IdentityProvider::start("first").await);
        let setting = IdentityProvider::setting(&[&provider, &other]);
        let platform = Platform::start_with(5, &[("OIDC_ISSUERS", &setting), ("LIMIT_ANONYMOUS_PER_HOUR", "0")]).await;
        let owner = platform.database.owner().await;
        let ada = people::invite(&owner, platform.customer.tenant, Standing::Member, EMAIL).await;
        people::join(&owner, ada, &provider.issuer, "ada").await;
        Self { platform, provider, other }
    }

    fn header(&self) -> Value {
        self.provider.key.header()
    }

    fn claims(&self) -> Value {
        self.provider.claims("ada", EMAIL, SystemClock.now())
    }

    /// A good token but for these changes, signed by the issuer's own key.
    fn signed(&self, header: &Value, claims: &Value) -> String {
        self.provider.key.sign(&with(&self.header(), header), &with(&self.claims(), claims))
    }

    async fn send(&self, operation: &str, credentials: &[String]) -> Answer {
        let mut request = self.platform.request(operation).header("x-request-id", "the-same").json(&self.platform.applicant("device"));
        for credential in credentials {
            request = request.header("authorization", credential);
        }
        Answer::of(request.send().await.unwrap()).await
    }

    async fn is_refused(&self, credentials: &[String], challenge: &str) -> [Shown; 2] {
        let mut shown = Vec::new();
        for operation in ["acquire", "validate"] {
            let answer = self.send(operation, credentials).await;
            answer.assert_problem(401, "unauthenticated");
            assert_eq!(answer.headers["www-authenticate"], challenge);
            let headers = answer.headers.iter().filter(|(name, _)| *name != "date");
            let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
            shown.push((answer.status, headers, answer.text));
        }
        shown.try_into().unwrap()
    }
}

/// Signed by nobody, or by a secret that everybody knows.
fn forged(gate: &Gate) -> Vec<String> {
    let (header, claims, key) = (gate.header(), gate.claims(), &gate.provider.key);
    let (attacker, good) = (IssuerKey::generate("first"), key.sign(&header, &claims));
    let signature = good.rsplit('.').next().unwrap();
    let mut tokens = Vec::new();
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let unsigned = unsigned(&with(&header, &json!({ "alg": alg })), &claims);
        tokens.extend([format!("{unsigned}."), format!("{unsigned}.{signature}"), gate.signed(&json!({ "alg": alg }), &json!({}))]);
    }
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", BASE64.encode(key.spki()));
    let jwk = key.jwk();
    for secret in
        [&key.spki()[..], pem.as_bytes(), pem.trim().as_bytes(), jwk.to_string().as_bytes(), jwk["n"].as_str().unwrap().as_bytes(), b""]
    {
        tokens.push(hs256(secret, &with(&header, &json!({ "alg": "HS256" })), &claims));
        tokens.push(hs256(secret, &header, &claims));
    }
    let plain = unsigned(&header, &claims);
    let other = unsigned(&header, &with(&claims, &json!({ "sub": "eve" })));
    tokens.extend([plain.clone(), format!("{plain}."), format!("{plain}.{}", "A".repeat(342)), format!("{other}.{signature}")]);
    tokens.push(attacker.sign(&header, &claims));
    // The other issuer's key of the same id is not this one's, and its people are others.
    tokens.push(gate.other.key.sign(&header, &claims));
    tokens.push(key.sign(&header, &gate.other.claims("ada", EMAIL, SystemClock.now())));
    // A token that brings its own key.
    for (kid, jwk, signer) in [("first", attacker.jwk(), &attacker), ("mine", attacker.jwk(), &attacker), ("first", key.jwk(), key)] {
        tokens.push(signer.sign(&with(&header, &json!({ "kid": kid, "jwk": jwk })), &claims));
    }
    tokens
}

/// Taken apart, cut, stretched.
fn mangled(gate: &Gate) -> Vec<String> {
    let good = gate.signed(&json!({}), &json!({}));
    let [header, claims, signature] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let mut tokens: Vec<String> = [1, 2, 10, signature.len(), signature.len() + 1, signature.len() + 40, good.len() - 3, good.len()]
        .iter()
        .map(|cut| good[..good.len() - cut].to_owned())
        .collect();
    tokens.extend([
        format!("{good}="),
        format!("{good}."),
        format!("{good}.{signature}"),
        format!(".{good}"),
        format!("{header}..{signature}"),
        format!(".{claims}.{signature}"),
        format!("{header}.{claims}\u{2e}{}", signature.to_ascii_uppercase()),
        good.replacen('.', ". ", 1),
        "..".to_owned(),
        "null".to_owned(),
        "a".to_owned(),
    ]);
    // As long as the head of a request may be, nearly: of nothing, and of a token that would be
    // good.
    tokens.push("A".repeat(64_000));
    let long = gate.signed(&json!({}), &json!({ "padding": "x".repeat(47_000) }));
    assert!((62_000..64_000).contains(&long.len()), "{}", long.len());
    tokens.push(long);
    tokens.push(gate.signed(&json!({}), &json!({ "padding": "x".repeat(9_000) })));
    // Members that are there twice, and what is no object.
    let (header, claims) = (gate.header().to_string(), gate.claims().to_string());
    let twice = |object: &str, member: &str| object.replacen('{', &format!("{{{member},"), 1);
    let key = &gate.provider.key;
    for member in [r#""alg":"RS256""#, r#""kid":"first""#] {
        tokens.push(key.sign(&twice(&header, member), &claims));
    }
    for member in [r#""sub":"eve""#, r#""exp":9999999999"#, r#""aud":"coditect-test""#] {
        tokens.push(key.sign(&header, &twice(&claims, member)));
    }
    tokens.extend(["[]", "null", "", "7", r#"["RS256","first","JWT"]"#].map(|header| key.sign(&header, &claims)));
    tokens.extend(["[]", "null", "", "7"].map(|claims| key.sign(&header, &claims)));
    tokens.push(key.sign(&header, &format!("{}{claims}{}", "[".repeat(2_000), "]".repeat(2_000))));
    let personal = AccessToken::generate().reveal();
    tokens.extend([personal[..personal.len() - 1].to_owned(), personal]);
    tokens
}

/// Signed by the issuer itself, and yet not for us, not now, or by a key that it names in a way of its own.
fn misused(gate: &Gate) -> Vec<String> {
    let now = SystemClock.now().timestamp();
    let headers = [
        json!({ "alg": "HS256" }),
        json!({ "alg": "PS256" }),
        json!({ "alg": "ES256" }),
        json!({ "alg": "rs256" }),
        json!({ "alg": null }),
        json!({ "alg": ["RS256"] }),
        json!({ "kid": null }),
        json!({ "kid": "" }),
        json!({ "kid": 1 }),
        json!({ "kid": ["first"] }),
        json!({ "kid": "first\u{0}" }),
        json!({ "kid": "../../../dev/null" }),
        json!({ "kid": "x' UNION SELECT 'secret' --" }),
        json!({ "kid": "first|id" }),
        json!({ "kid": "http://127.0.0.1/keys" }),
        json!({ "kid": "x".repeat(300) }),
        json!({ "typ": "logout+jwt" }),
        json!({ "jku": gate.provider.jwks_url }),
        json!({ "x5u": gate.provider.jwks_url }),
        json!({ "x5c": ["AA=="] }),
        json!({ "crit": ["exp"] }),
    ];
    let issuer = &gate.provider.issuer;
    let claims = [
        json!({ "iss": null }),
        json!({ "iss": "" }),
        json!({ "iss": format!("{issuer}/") }),
        json!({ "iss": issuer.to_uppercase() }),
        json!({ "iss": gate.other.issuer }),
        json!({ "iss": [issuer] }),
        json!({ "iss": "https://securetoken.google.com/coditect" }),
        json!({ "iss": "urn:coditect:local-issuer" }),
        json!({ "aud": null }),
        json!({ "aud": "" }),
        json!({ "aud": "somebody-else" }),
        json!({ "aud": ["somebody-else"] }),
        json!({ "aud": [[AUDIENCE]] }),
        json!({ "aud": { "0": AUDIENCE } }),
        json!({ "firebase": { "tenant": "another" } }),
        json!({ "sub": null }),
        json!({ "sub": "" }),
        json!({ "sub": 7 }),
        json!({ "sub": "a\nda" }),
        json!({ "sub": "x".repeat(256) }),
        json!({ "exp": now - 61 }),
        json!({ "exp": 0 }),
        json!({ "exp": -1 }),
        json!({ "exp": null }),
        json!({ "exp": "9999999999" }),
        json!({ "iat": null }),
        json!({ "iat": now + 120 }),
        json!({ "nbf": now + 120 }),
        json!({ "nbf": "0" }),
        json!({ "auth_time": now + 120 }),
    ];
    let none = json!({});
    headers.iter().map(|header| gate.signed(header, &none)).chain(claims.iter().map(|claims| gate.signed(&none, claims))).collect()
}

#[tokio::test]
async fn every_hostile_token_gets_one_and_the_same_answer() {
    let gate = Gate::open().await;
    let bearer = |token: &str| vec![format!("Bearer {token}")];
    let good = bearer(&gate.signed(&json!({}), &json!({})));
    // What is changed in each of them is all that is wrong with it.
    assert_eq!(gate.send("acquire", &good).await.status, 201);
    let expected = gate.is_refused(&bearer("x"), INVALID).await;
    let tokens: Vec<String> = [forged(&gate), mangled(&gate), misused(&gate)].concat();
    assert!(tokens.len() > 120, "{}", tokens.len());
    for (number, token) in tokens.iter().enumerate() {
        let shown = gate.is_refused(&bearer(token), INVALID).await;
        assert_eq!(shown, expected, "{number}: {}", &token[..token.len().min(300)]);
    }
    let whole = &good[0];
    let token = &whole["Bearer ".len()..];
    for twice in [vec![whole.clone(), whole.clone()], vec![whole.clone(), "Bearer x".to_owned()], vec!["Bearer".to_owned()]] {
        assert_eq!(gate.is_refused(&twice, INVALID).await, expected, "{twice:?}");
    }
    // What is no bearer token at all is asked for one, and told of no error (RFC 6750, section 3.1).
    let strange = [format!("Basic {token}"), format!("Bearer={token}"), token.to_owned(), format!("Bearer,{token}"), String::new()];
    for credential in strange {
        gate.is_refused(&[credential], "Bearer").await;
    }
    assert_eq!(gate.send("acquire", &good).await.status, 200);
    assert!(gate.provider.fetches() <= 2 && gate.other.fetches() <= 2, "nor do they make us ask for keys");
    let sessions = gate.platform.database.owner().await.query_one("SELECT count(DISTINCT seat) FROM sessions", &[]).await.unwrap();
    assert_eq!(sessions.get::<_, i64>(0), 1);
}

#[tokio::test]
async fn token_longer_than_a_head_may_be_is_a_431() {
    let gate = Gate::open().await;
    for bytes in [66_000, 1_048_576] {
        for operation in ["acquire", "validate"] {
            let request = gate.platform.request(operation).json(&gate.platform.applicant("device"));
            let response = request.bearer_auth("A".repeat(bytes)).send().await.unwrap();
            assert_eq!(response.status(), 431, "{bytes}");
        }
    }
}

#[tokio::test]
async fn issuers_that_share_a_key_id_are_each_taken_by_their_own_key() {
    let gate = Gate::open().await;
    let owner = gate.platform.database.owner().await;
    let bob = people::invite(&owner, gate.platform.customer.tenant, Standing::Member, "bob@x.example").await;
    people::join(&owner, bob, &gate.other.issuer, "ada").await;
    for token in [gate.signed(&json!({}), &json!({})), gate.other.token("ada", "bob@x.example", SystemClock.now())] {
        assert_eq!(gate.send("validate", &[format!("bearer {token}")]).await.status, 200);
    }
}

#[tokio::test]
async fn good_token_of_nobody_is_403_with_its_reason() {
    let gate = Gate::open().await;
    let owner = gate.platform.database.owner().await;
    people::invite(&owner, gate.platform.customer.tenant, Standing::Member, "eve@x.example").await;
    let refused = async |token: String, code: &str| {
        for operation in ["acquire", "validate"] {
            let answer = gate.send(operation, &[format!("Bearer {token}")]).await;
            answer.assert_problem(403, code);
            assert!(!answer.headers.contains_key("www-authenticate"), "{code}");
        }
    };
    // Signing in accepts no invitation; and a subject is somebody else at each issuer.
    refused(gate.signed(&json!({}), &json!({ "sub": "eve", "email": "eve@x.example" })), "no_account").await;
    refused(gate.signed(&json!({}), &json!({ "sub": "eve", "email_verified": "true" })), "no_account").await;
    refused(gate.other.token("ada", EMAIL, SystemClock.now()), "no_account").await;
    for unverified in [json!(false), json!(null), json!("false"), json!(1)] {
        refused(gate.signed(&json!({}), &json!({ "sub": "eve", "email_verified": unverified })), "email_not_verified").await;
    }
    // Whoever is a member needs no address.
    let bare = gate.signed(&json!({}), &json!({ "email": null, "email_verified": null }));
    assert_eq!(gate.send("validate", &[format!("Bearer {bare}")]).await.status, 200);
    owner.batch_execute("UPDATE users SET status = 'deactivated' WHERE provider_subject = 'ada'").await.unwrap();
    refused(gate.signed(&json!({}), &json!({ "jti": "another" , "email": "a@x.example" })), "deactivated").await;
    owner
        .batch_execute("UPDATE users SET status = 'active' WHERE provider_subject = 'ada'; UPDATE tenants SET status = 'closed'")
        .await
        .unwrap();
    refused(gate.signed(&json!({}), &json!({ "email": "b@x.example" })), "tenant_suspended").await;
}
