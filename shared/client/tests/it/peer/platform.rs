//! The platform's rules, as small as a test needs them.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use coditect_license::rfc3339;
use serde_json::{Map, Value, json};

use super::signer::{Signer, base64url, sha256};

/// A status and a body.
pub(crate) type Answer = (u16, Value);

/// One license of one tenant, and everything that signs for it.
pub(crate) struct Platform {
    pub(crate) root: Signer,
    pub(crate) leaf: Signer,
    pub(crate) published: Vec<String>,
    pub(crate) revocations: Option<String>,
    pub(crate) license: Value,
    pub(crate) ttl: Duration,
    /// How soon it asks for heartbeats, if not after a third of the TTL.
    pub(crate) heartbeat_after: Option<u64>,
    /// Why the license may not be used, by its code.
    pub(crate) refused: Option<&'static str>,
    pub(crate) sessions: Vec<Session>,
    /// An older one: it sends no certificates, knows nothing of `replaces`, does not tell how a session ended, and gives all programs of a device one session.
    pub(crate) is_old: bool,
    /// Releases do not reach it.
    pub(crate) is_release_down: bool,
    /// A proxy calls each answer to an acquire a repetition.
    pub(crate) says_replayed: bool,
    /// Recorded answers by idempotency key, with the body that they answered.
    replays: HashMap<String, (Value, Answer)>,
}

pub(crate) struct Session {
    pub(crate) id: String,
    seat: usize,
    hardware: String,
    expires: SystemTime,
    /// How it ended, by its code.
    pub(crate) ended: Option<&'static str>,
}

impl Session {
    pub(crate) fn lives(&self) -> bool {
        self.ended.is_none() && now() < self.expires
    }
}

#[expect(clippy::disallowed_methods, reason = "the platform's own clock")]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

pub(crate) fn seconds(moment: SystemTime) -> u64 {
    moment.duration_since(UNIX_EPOCH).unwrap().as_secs()
}

impl Platform {
    pub(crate) fn new(ttl: Duration) -> Self {
        let license = json!({
            "license_id": "lic_1", "tenant_id": "ten_1", "version": 1, "tier": "team", "features": ["export", "sso"],
            "seats_total": 2, "overage": 0, "seat_unit": "device", "session_ttl_seconds": ttl.as_secs(),
            "starts_at": null, "expires_at": null, "issued_at": "2026-01-01T00:00:00.000Z",
        });
        let (root, leaf) = (Signer::root("root"), Signer::leaf());
        let mut platform = Self {
            root,
            leaf,
            published: Vec::new(),
            revocations: None,
            license,
            ttl,
            heartbeat_after: None,
            refused: None,
            sessions: Vec::new(),
            is_old: false,
            is_release_down: false,
            says_replayed: false,
            replays: HashMap::new(),
        };
        platform.revoke(1, &[]);
        platform.published = vec![platform.certificate(&platform.leaf)];
        platform
    }

    pub(crate) fn certificate(&self, leaf: &Signer) -> String {
        let from = seconds(now()) - 3600;
        let claims = json!({"iat": from, "nbf": from, "exp": from + 172_800, "use": "lease", "jwk": leaf.jwk});
        self.root.token("coditect-certificate+jwt", &claims)
    }

    /// Signs with a new leaf from now on, published beside the old one.
    pub(crate) fn rotate(&mut self) {
        self.leaf = Signer::leaf();
        self.published.push(self.certificate(&self.leaf));
    }

    /// Publishes a revocation list.
    pub(crate) fn revoke(&mut self, version: u64, kids: &[&str]) {
        let at = seconds(now());
        let revoked: Vec<Value> = kids.iter().map(|kid| json!({"kid": kid, "revoked_at": at})).collect();
        let claims = json!({"iat": at, "version": version, "revoked": revoked});
        self.revocations = Some(self.root.token("coditect-revocations+jwt", &claims));
    }

    pub(crate) fn alive(&self) -> usize {
        self.sessions.iter().filter(|session| session.lives()).count()
    }

    /// Seats that are taken.
    pub(crate) fn seats_used(&self) -> usize {
        let live = self.sessions.iter().filter(|session| session.lives());
        live.map(|session| session.seat).collect::<std::collections::HashSet<_>>().len()
    }

    /// Whether a session lives.
    pub(crate) fn lives(&self, id: &str) -> bool {
        self.sessions.iter().any(|session| session.id == id && session.lives())
    }

    /// Ends every session.
    pub(crate) fn end_all(&mut self, code: &'static str) {
        for session in &mut self.sessions {
            session.ended.get_or_insert(code);
        }
    }

    pub(crate) fn acquire(&mut self, body: &Value, idempotency_key: &str) -> (Answer, bool) {
        if let Some((recorded, answer)) = self.replays.get(idempotency_key) {
            let session = answer.1["session_id"].as_str().unwrap();
            if recorded != body {
                return (problem(422, "idempotency_key_reused"), false);
            }
            if self.sessions.iter().any(|other| other.id == session && other.lives()) {
                return (answer.clone(), true);
            }
        }
        let answer = self.decide(body);
        if answer.0 < 300 && !self.says_replayed {
            self.replays.insert(idempotency_key.to_owned(), (body.clone(), answer.clone()));
        }
        (answer, self.says_replayed)
    }

    fn decide(&mut self, body: &Value) -> Answer {
        if let Some(code) = self.refused {
            return problem(403, code);
        }
        let hardware = body["hardware_id"].as_str().unwrap().to_owned();
        let expires = now() + self.ttl;
        let shared = self.license["seat_unit"] == "device";
        let replaced = self.sessions.iter().position(|session| session.lives() && body["replaces"] == session.id.as_str());
        let mine = self.sessions.iter().position(|session| session.lives() && session.hardware == hardware && shared);
        if self.is_old
            && let Some(index) = mine
        {
            self.sessions[index].expires = expires;
            return (200, self.seat(index, &body["nonce"]));
        }
        if !self.is_old
            && let Some(index) = replaced.filter(|index| self.sessions[*index].hardware == hardware).or(mine)
        {
            if let Some(index) = replaced {
                self.sessions[index].ended = Some("session_released");
            }
            let seat = self.sessions[index].seat;
            return (200, self.begin(seat, hardware, &body["nonce"]));
        }
        let total = usize::try_from(self.license["seats_total"].as_u64().unwrap()).unwrap();
        if self.seats_used() == total {
            let members = json!({"seats_used": total, "seats_total": total, "next_expiry_at": rfc3339(expires)});
            return extended(problem(402, "no_seats_available"), members);
        }
        (201, self.begin(self.seats_used() + 1, hardware, &body["nonce"]))
    }

    fn begin(&mut self, seat: usize, hardware: String, nonce: &Value) -> Value {
        let id = format!("ses_secret{:04}", self.sessions.len());
        self.sessions.push(Session { id, seat, hardware, expires: now() + self.ttl, ended: None });
        self.seat(self.sessions.len() - 1, nonce)
    }

    fn seat(&self, index: usize, nonce: &Value) -> Value {
        let (session, license) = (&self.sessions[index], &self.license);
        let mut answer = json!({
            "session_id": session.id,
            "license_data": {"document": license, "signature": self.root.token("coditect-license+jwt", license)},
            "lease": self.lease(session, nonce), "seat": session.seat, "overage": false,
            "expires_at": rfc3339(session.expires), "heartbeat_after": self.heartbeat_after(),
            "seats_used": self.seats_used(), "seats_total": license["seats_total"],
        });
        if !self.is_old {
            answer["certificate"] = json!(self.published.last());
        }
        answer
    }

    pub(crate) fn heartbeat(&mut self, body: &Value) -> Answer {
        let Some(index) = self.sessions.iter().position(|session| body["session_id"] == session.id.as_str()) else {
            return problem(404, "session_not_found");
        };
        if !self.sessions[index].lives() {
            return problem(410, self.sessions[index].ended.unwrap_or("session_expired"));
        }
        if let Some(code) = self.refused {
            return extended(problem(403, code), json!({"stop_by": rfc3339(self.sessions[index].expires)}));
        }
        self.sessions[index].expires = now() + self.ttl;
        let session = &self.sessions[index];
        let known = body["known_leaf"].clone();
        let mut body = json!({
            "session_id": session.id, "last_heartbeat": rfc3339(now()), "expires_at": rfc3339(session.expires),
            "heartbeat_after": self.heartbeat_after(), "lease": self.lease(session, &body["nonce"]),
            "seats_used": self.seats_used(), "seats_total": self.license["seats_total"],
        });
        if !self.is_old && known != self.leaf.kid.as_str() {
            body["certificate"] = json!(self.published.last());
        }
        (200, body)
    }

    pub(crate) fn release(&mut self, body: &Value) -> Answer {
        let Some(session) = self.sessions.iter_mut().find(|session| body["session_id"] == session.id.as_str()) else {
            return problem(404, "session_not_found");
        };
        let ended = if now() < session.expires { "session_released" } else { "session_expired" };
        let ended = *session.ended.get_or_insert(ended);
        let mut answer = json!({"session_id": session.id, "released_at": rfc3339(now()), "seats_used": 0});
        if !self.is_old {
            answer["ended_reason"] = json!(ended.strip_prefix("session_"));
        }
        (200, answer)
    }

    pub(crate) fn keys(&self) -> Answer {
        (200, json!({"root": {"jwk": self.root.jwk}, "certificates": self.published, "revocations": self.revocations}))
    }

    fn heartbeat_after(&self) -> u64 {
        self.heartbeat_after.unwrap_or_else(|| (self.ttl.as_secs() / 3).max(1))
    }

    fn lease(&self, session: &Session, nonce: &Value) -> String {
        self.leaf.token("coditect-lease+jwt", &self.lease_claims(session, nonce))
    }

    fn lease_claims(&self, session: &Session, nonce: &Value) -> Value {
        let at = seconds(now());
        json!({
            "tenant_id": "ten_1", "license_id": "lic_1", "license_version": self.license["version"], "session_id": session.id, "seat": session.seat,
            "hardware_sha256": base64url(&sha256(&session.hardware)), "nonce": nonce,
            "iat": at, "nbf": at, "exp": at + self.ttl.as_secs(),
        })
    }
}

pub(crate) fn problem(status: u16, code: &str) -> Answer {
    let detail = "As the test wants it.";
    (status, json!({"type": format!("urn:coditect:problem:{code}"), "status": status, "code": code, "detail": detail, "request_id": "r-1"}))
}

fn extended((status, mut body): Answer, members: Value) -> Answer {
    let members: Map<String, Value> = serde_json::from_value(members).unwrap();
    body.as_object_mut().unwrap().extend(members);
    (status, body)
}
