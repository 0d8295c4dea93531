//! Attacks on a token's form, the same for every kind of token.

use serde_json::{Value, json};

use super::{
    Case,
    keys::{Key, base64url, hs256, signing_input},
};

/// A token that is good, and what it takes to make bad ones of it.
pub(super) struct Form<'a> {
    pub(super) typ: &'a str,
    pub(super) claims: Value,
    /// Who signs it.
    pub(super) key: &'a Key,
    /// Of the same kind, but not to be trusted.
    pub(super) same_kind: &'a Key,
    /// Of the other kind: a leaf for what a root signs, a root for what a leaf signs.
    pub(super) other_kind: &'a Key,
    /// What a `kid` that nobody knows is refused with.
    pub(super) unknown: &'a str,
    /// A good case, of which only the token is changed.
    pub(super) good: Case,
    /// Claims that may be absent.
    pub(super) optional: &'a [&'a str],
}

impl Form<'_> {
    pub(super) fn cases(&self) -> Vec<Case> {
        [self.algorithms(), self.headers(), self.alterations(), self.signatures(), self.encodings(), self.payloads()].concat()
    }

    fn case(&self, name: &str, description: &str, verdict: &str, token: impl Into<String>) -> Case {
        Case { token: token.into(), ..self.good.clone() }.named(name, description, verdict)
    }

    fn algorithms(&self) -> Vec<Case> {
        let payload = self.payload();
        let header = |alg: &str| format!(r#"{{"alg":"{alg}","kid":"{}","typ":"{}"}}"#, self.key.kid, self.typ);
        let none = signing_input(&header("none"), &payload);
        let other = signing_input(&header(self.other_kind.alg), &payload);
        let lower = self.key.alg.to_lowercase();
        let case = |name, description, token: String| self.case(name, description, "wrong_algorithm", token);
        vec![
            case("alg_none_without_signature", "alg is none, and no signature follows", format!("{none}.")),
            case("alg_none_with_a_signature", "alg is none, signed all the same", self.key.seal(&header("none"), &payload)),
            case(
                "alg_hs256_keyed_with_pem",
                "HS256 with the public key's PEM as secret",
                hs256(&header("HS256"), &payload, self.key.pem().as_bytes()),
            ),
            case("alg_hs256_keyed_with_der", "HS256 with the public key's DER as secret", hs256(&header("HS256"), &payload, &self.key.der)),
            case(
                "alg_of_the_other_kind_of_key",
                "The other kind of key has signed, and its algorithm is named, with this key's kid",
                format!("{other}.{}", base64url(&self.other_kind.sign(self.other_kind.alg, &other))),
            ),
            case("alg_in_lower_case", "Names of algorithms are compared exactly", self.key.seal(&header(&lower), &payload)),
        ]
    }

    fn headers(&self) -> Vec<Case> {
        let (alg, kid, typ) = (self.key.alg, &self.key.kid, self.typ);
        let plain = self.key.header(typ);
        let with = |more: &str| format!("{},{more}}}", plain.strip_suffix('}').expect("an object"));
        let sealed = |header: &str| self.key.seal(header, &self.payload());
        let case = |name, description, header: String| self.case(name, description, "bad_header", sealed(&header));
        let attacker = self.same_kind;
        let embedded = format!(r#"{{"alg":"{alg}","kid":"{}","typ":"{typ}","jwk":{}}}"#, attacker.kid, attacker.jwk);
        let wrong_type = |name, description, typ: &str| self.case(name, description, "wrong_type", sealed(&self.key.header(typ)));
        vec![
            case("header_crit", "crit asks for something; nothing is supported", with(r#""crit":["exp"],"exp":1"#)),
            case("header_crit_empty", "crit may not be empty, and not be there", with(r#""crit":[]"#)),
            self.case(
                "header_jwk_embedded",
                "An attacker's key comes along in the header and has signed",
                "bad_header",
                attacker.seal(&embedded, &self.payload()),
            ),
            case("header_jku", "Keys are never fetched", with(r#""jku":"https://keys.example/jwks.json""#)),
            case("header_x5u", "Certificates are never fetched", with(r#""x5u":"https://keys.example/chain.pem""#)),
            case("header_x5c", "There are no X.509 certificates", with(r#""x5c":["MIIB"]"#)),
            case("header_b64", "The payload is always base64url (RFC 7797 is not supported)", with(r#""b64":true"#)),
            case("header_unknown_member", "Any member but the three is refused", with(r#""cty":"json""#)),
            case("header_alg_twice", "The same alg twice", with(&format!(r#""alg":"{alg}""#))),
            case("header_kid_twice", "A second kid, of another key", with(&format!(r#""kid":"{}""#, attacker.kid))),
            case("header_typ_twice_by_escape", "The same name, written with an escape", with(&format!(r#""\u0074yp":"{typ}""#))),
            case("header_without_alg", "No alg", format!(r#"{{"kid":"{kid}","typ":"{typ}"}}"#)),
            case("header_without_kid", "No kid", format!(r#"{{"alg":"{alg}","typ":"{typ}"}}"#)),
            case("header_without_typ", "No typ", format!(r#"{{"alg":"{alg}","kid":"{kid}"}}"#)),
            case("header_alg_not_a_text", "alg is a list", format!(r#"{{"alg":["{alg}"],"kid":"{kid}","typ":"{typ}"}}"#)),
            case("header_is_a_list", "The header is no object", format!(r#"["{alg}","{kid}","{typ}"]"#)),
            wrong_type("typ_jwt", "A token of any kind is none of ours", "JWT"),
            wrong_type("typ_in_upper_case", "typ is compared exactly", &typ.to_uppercase()),
            wrong_type("typ_with_application", "typ is compared exactly", &format!("application/{typ}")),
        ]
    }

    /// One thing altered at a time, with the old signature.
    fn alterations(&self) -> Vec<Case> {
        let altered = |header: &str, payload: &[u8]| format!("{}.{}", signing_input(header, payload), self.parts()[2]);
        let (alg, kid, typ) = (self.key.alg, &self.key.kid, self.typ);
        let other_alg = if alg == "RS256" { "PS256" } else { "RS256" };
        let header =
            |alg: &str, kid: &str, typ: &str| altered(&format!(r#"{{"alg":"{alg}","kid":"{kid}","typ":"{typ}"}}"#), &self.payload());
        let reordered = format!(r#"{{"kid":"{kid}","alg":"{alg}","typ":"{typ}"}}"#);
        let plain = self.key.header(typ);
        let spaced = self.claims.to_string().replacen(':', ": ", 1);
        let mut added = self.claims.clone();
        added["added"] = json!(true);
        let mut cases = vec![
            self.case(
                "header_alg_altered",
                "Another algorithm named, the old signature kept",
                "wrong_algorithm",
                header(other_alg, kid, typ),
            ),
            self.case("header_kid_altered", "Another key named, the old signature kept", self.unknown, header(alg, &"A".repeat(43), typ)),
            self.case(
                "header_typ_altered",
                "Another kind named, the old signature kept",
                "wrong_type",
                header(alg, kid, "coditect-other+jwt"),
            ),
            self.case(
                "header_order_altered",
                "The header's members in another order, the old signature kept",
                "bad_signature",
                altered(&reordered, &self.payload()),
            ),
            self.case(
                "payload_space_added",
                "A space in the payload, the old signature kept",
                "bad_signature",
                altered(&plain, spaced.as_bytes()),
            ),
            self.case(
                "payload_claim_added",
                "A claim more, the old signature kept",
                "bad_signature",
                altered(&plain, added.to_string().as_bytes()),
            ),
        ];
        for path in paths(&self.claims) {
            let mut claims = self.claims.clone();
            let value = claims.pointer_mut(&path).expect("a path of these claims");
            *value = alter(value);
            let name = format!("payload{}_altered", path.replace('/', "_"));
            let token = altered(&plain, claims.to_string().as_bytes());
            cases.push(self.case(&name, "One claim altered, the old signature kept", "bad_signature", token));
        }
        cases
    }

    fn signatures(&self) -> Vec<Case> {
        let [header, payload, _] = self.parts();
        let signed = format!("{header}.{payload}");
        let signature = self.key.sign(self.key.alg, &signed);
        let with = |signature: &[u8]| format!("{signed}.{}", base64url(signature));
        let flipped = |at: usize, bit: u8| {
            let mut other = signature.clone();
            other[at] ^= bit;
            with(&other)
        };
        let last = signature.len() - 1;
        let case = |name, description, token| self.case(name, description, "bad_signature", token);
        vec![
            case("signature_with_a_byte_more", "A zero byte follows the signature", with(&[&*signature, &[0]].concat())),
            case("signature_with_a_byte_before", "A zero byte precedes the signature", with(&[&[0], &*signature].concat())),
            case("signature_a_byte_short", "The last byte is missing", with(&signature[..last])),
            case("signature_missing", "Nothing follows the last dot", format!("{signed}.")),
            case("signature_first_bit_flipped", "One bit is wrong", flipped(0, 0x80)),
            case("signature_last_bit_flipped", "One bit is wrong", flipped(last, 1)),
            case("signature_all_zero", "As long as a signature, but zero", with(&vec![0; signature.len()])),
            case("signature_of_another_token", "True, but over other claims", with(&self.key.sign(self.key.alg, "other.claims"))),
            case(
                "signature_by_another_key",
                "A key of the same kind has signed, with this key's kid",
                with(&self.same_kind.sign(self.key.alg, &signed)),
            ),
        ]
    }

    fn encodings(&self) -> Vec<Case> {
        let [header, payload, signature] = self.parts();
        let signed = format!("{header}.{payload}");
        let token = &self.good.token;
        let mut noted = self.claims.clone();
        noted["note"] = json!("~~~~~~");
        let noted = self.key.token(self.typ, &noted).replace('-', "+").replace('_', "/");
        let (start, last) = signature.split_at(signature.len() - 1);
        let stray = format!("{signed}.{start}{}", next_in_alphabet(last));
        let json = json!({"payload": payload, "protected": header, "signature": signature}).to_string();
        let case = |name, description, token: String| self.case(name, description, "malformed", token);
        vec![
            case("base64_signature_padded", "There is no padding in a compact JWS", format!("{token}=")),
            case(
                "base64_payload_padded",
                "Signed with the padding, so only its form is wrong",
                self.sealed_parts(&header, &format!("{payload}=")),
            ),
            case("base64_stray_bits", "The last character's unused bits are not zero", stray),
            case("base64_standard_alphabet", "+ and / instead of - and _", noted),
            case("base64_space_inside", "White space is not skipped", token.replacen('.', ". ", 1)),
            case("line_break_at_the_end", "The caller strips what it reads from a file", format!("{token}\n")),
            case("two_parts", "No signature, and no dot before it", signed.clone()),
            case("four_parts", "A part more", format!("{token}.{signature}")),
            case("five_parts", "As an encrypted token (JWE) has", format!("{token}.{signature}.{signature}")),
            case("json_serialization", "The other form of a JWS is not supported", json),
            case("empty", "No text at all", String::new()),
            self.case("too_long", "Longer than 16 KiB, whatever is in it", "too_long", format!("{token}{}", "A".repeat(16 * 1024))),
        ]
    }

    /// Truly signed, but not what was to be signed.
    fn payloads(&self) -> Vec<Case> {
        let sealed = |payload: &[u8]| self.key.seal(&self.key.header(self.typ), payload);
        let text = self.claims.to_string();
        let open = text.strip_suffix('}').expect("an object");
        let (name, value) = self.claims.as_object().and_then(|claims| claims.iter().next()).expect("a claim");
        let twice = format!(r#"{open},"{name}":{value}}}"#);
        let nested = format!(r#"{open},"extra":{{"a":1,"a":2}}}}"#);
        let case = |name: &str, description, payload: &[u8]| self.case(name, description, "bad_claims", sealed(payload));
        let mut cases = vec![
            case("claims_twice", "A claim stands there twice", twice.as_bytes()),
            case("claims_twice_nested", "A member of an unknown claim stands there twice", nested.as_bytes()),
            case("claims_in_a_list", "The payload is no object", format!("[{text}]").as_bytes()),
            case("claims_not_json", "The payload is no JSON", open.as_bytes()),
            case("claims_not_utf8", "The payload is no UTF-8", &[open.as_bytes(), b",\"note\":\"\xff\"}"].concat()),
            case("claims_followed_by_more", "Something follows the object", format!("{text}{text}").as_bytes()),
            case("claims_empty", "An empty payload", b""),
        ];
        let claims = self.claims.as_object().expect("an object");
        for name in claims.keys().filter(|name| !self.optional.contains(&&***name)) {
            let mut less = claims.clone();
            less.remove(name);
            let less = Value::Object(less).to_string();
            cases.push(case(&format!("claims_without_{name}"), "A claim is missing", less.as_bytes()));
        }
        cases
    }

    fn payload(&self) -> Vec<u8> {
        self.claims.to_string().into_bytes()
    }

    fn parts(&self) -> [String; 3] {
        let parts: Vec<String> = self.good.token.split('.').map(str::to_owned).collect();
        parts.try_into().expect("three parts")
    }

    fn sealed_parts(&self, header: &str, payload: &str) -> String {
        let signed = format!("{header}.{payload}");
        format!("{signed}.{}", base64url(&self.key.sign(self.key.alg, &signed)))
    }
}

/// Every claim and, in claims that are objects or lists of objects, every member.
fn paths(claims: &Value) -> Vec<String> {
    let children: Vec<(String, &Value)> = match claims {
        Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(index, item)| (index.to_string(), item)).collect(),
        _ => return vec![String::new()],
    };
    children.iter().flat_map(|(name, value)| paths(value).into_iter().map(move |rest| format!("/{name}{rest}"))).collect()
}

/// Another value of the same type.
fn alter(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_u64().expect("whole numbers only") + 1),
        Value::String(text) => match text.strip_suffix('x') {
            Some(start) => json!(format!("{start}y")),
            None => json!(format!("{}x", text.get(..text.len() - 1).expect("ASCII"))),
        },
        Value::Null => json!("2999-01-01T00:00:00.000Z"),
        other => panic!("no claim is like {other}"),
    }
}

/// The character after this one in base64url's alphabet, which differs in the lowest bit: an unused one at the end of a signature.
fn next_in_alphabet(last: &str) -> char {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let at = ALPHABET.iter().position(|character| *character == last.as_bytes()[0]).expect("base64url");
    char::from(ALPHABET[at ^ 1])
}
