//! What is said: for people, or in JSON for scripts.

use std::io::{self, Write};

use coditect_license::{Error, LeaseClaims, LicenseClaims, rfc3339};
use serde_json::{Map, Value, json};

use crate::exit::Code;

/// Says things, each once, in the form that was asked for.
#[derive(Clone, Copy)]
pub(crate) struct Report {
    pub(crate) json: bool,
    /// Standard output belongs to the program that runs.
    pub(crate) to_stderr: bool,
}

impl Report {
    /// Says something: `text` for people; `event` and `facts` for scripts.
    pub(crate) fn say(self, event: &str, text: &str, facts: Value) {
        let line = if self.json {
            let mut object = Map::from_iter([("event".to_owned(), json!(event))]);
            if let Value::Object(facts) = facts {
                object.extend(facts);
            }
            Value::Object(object).to_string()
        } else if self.to_stderr {
            format!("seat: {text}")
        } else {
            text.to_owned()
        };
        // If nobody reads it, there is nobody to tell.
        let _ = if self.to_stderr { writeln!(io::stderr(), "{line}") } else { writeln!(io::stdout(), "{line}") };
    }

    /// Says, for people alone, what went wrong while the command did what it should.
    pub(crate) fn warn(self, text: &str) {
        if !self.json {
            Self { to_stderr: true, ..self }.say("", text, Value::Null);
        }
    }

    /// Says why the command fails; on standard error for people.
    pub(crate) fn fail(self, failure: &Failure) -> Code {
        let report = Self { to_stderr: self.to_stderr || !self.json, ..self };
        match failure {
            Failure::Library(error) => report.say("failed", &error.to_string(), facts_of(error)),
            Failure::Other { code, text, .. } => report.say("failed", text, json!({"code": code, "message": text})),
        }
        failure.exit()
    }
}

/// Why the command fails.
#[derive(Debug)]
pub(crate) enum Failure {
    Library(Error),
    Other { code: &'static str, text: String, exit: Code },
}

impl Failure {
    /// A fault in arguments or files.
    pub(crate) fn setup(text: impl Into<String>) -> Self {
        Self::Other { code: "settings", text: text.into(), exit: Code::FAILED }
    }

    /// What is said of it.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Library(error) => error.to_string(),
            Self::Other { text, .. } => text.clone(),
        }
    }

    fn exit(&self) -> Code {
        match self {
            Self::Library(error) => Code::of_error(error),
            Self::Other { exit, .. } => *exit,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}

fn facts_of(error: &Error) -> Value {
    let mut facts = json!({"code": error.code(), "message": error.to_string()});
    match error {
        Error::NoSeats { seats_used, seats_total, next_expiry_at, retry_after } => {
            facts["seats_used"] = json!(seats_used);
            facts["seats_total"] = json!(seats_total);
            facts["next_expiry_at"] = json!(next_expiry_at.map(rfc3339));
            facts["retry_after"] = json!(retry_after.map(|pause| pause.as_secs()));
        }
        Error::Unreachable { status, retry_after, .. } => {
            facts["status"] = json!(status);
            facts["retry_after"] = json!(retry_after.map(|pause| pause.as_secs()));
        }
        Error::OfflineButValid { until, .. } => facts["until"] = json!(rfc3339(*until)),
        Error::Forged(rejected) => facts["rejected"] = json!(rejected.code()),
        Error::Server { status, .. } => facts["status"] = json!(status),
        _ => {}
    }
    facts
}

/// What a license and a lease say; no secret is among it.
pub(crate) fn facts(license: &LicenseClaims, lease: &LeaseClaims) -> Value {
    json!({
        "license_id": license.license_id, "tenant_id": license.tenant_id, "tier": license.tier, "features": license.features,
        "seat": lease.seat, "seats_total": license.seats_total,
    })
}
