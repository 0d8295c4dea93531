//! `seat verify`: every check, in order, without the platform.

use std::{path::Path, time::SystemTime};

use coditect_license::{Check, Error, Expected, Kept, PublishedKeys, Rejected, Verifier, rfc3339};
use serde_json::{Value, json};

use crate::{
    arguments::{Options, Verify},
    exit::Code,
    report::{Failure, Report},
    setup::{self, Setup},
};

pub(crate) fn verify(files: &Verify, options: &Options, report: Report) -> Result<Code, Failure> {
    let verifier = Verifier::new(vec![setup::pinned(options)?]);
    if files.lease.is_some() || files.license.is_some() {
        let token = |path: &Option<_>| path.as_deref().map(token).transpose();
        let published = files.keys.as_deref().map(published).transpose()?.unwrap_or_default();
        let kept = Kept { license: token(&files.license)?, lease: token(&files.lease)?, published };
        return Ok(judge(&verifier, &kept, options.hardware_id.clone(), report));
    }
    let setup = Setup::new(options)?;
    let kept = setup.client.kept();
    let hardware_id = setup::hardware_id(options, &setup::state(options)?)?;
    let code = if kept == Kept::default() { Code::DONE } else { judge(&verifier, &kept, Some(hardware_id), report) };
    // What no signature tells: whether the clock was turned back, whether the license has run out, whether anything is there.
    match setup.client.verify_offline() {
        Ok(offline) if code == Code::DONE => {
            let until = rfc3339(offline.until);
            report.say("verified", &format!("this machine has a seat until {until}"), json!({"until": until}));
        }
        // By a clock that was turned back nothing is as it seems: that comes before whatever was refused for it.
        Err(error) if code == Code::DONE || matches!(error, Error::ClockTurnedBack(_)) => return Err(error.into()),
        Ok(_) | Err(_) => {}
    }
    Ok(code)
}

/// Explains what there is.
fn judge(verifier: &Verifier, kept: &Kept, hardware_id: Option<String>, report: Report) -> Code {
    let mut expected = Expected::default();
    if let Some(token) = &kept.license {
        let explained = verifier.explain_license(token, &expected);
        let facts = explained.verdict.as_ref().map_or(Value::Null, |license| json!(license));
        show(report, "license", &explained.checks, explained.verdict.as_ref().err(), &facts);
        match explained.verdict {
            Ok(license) => (expected.license_id, expected.tenant_id) = (Some(license.license_id), Some(license.tenant_id)),
            Err(rejected) => return refused(&rejected),
        }
    }
    if let Some(token) = &kept.lease {
        expected.hardware_id = hardware_id;
        let explained = verifier.explain_lease(token, &kept.published, &expected, now());
        let facts = explained.verdict.as_ref().map_or(Value::Null, |lease| {
            let mut facts = json!(lease);
            // Whoever knows it could release the seat.
            facts["session_id"] = "[redacted]".into();
            facts
        });
        show(report, "lease", &explained.checks, explained.verdict.as_ref().err(), &facts);
        if let Err(rejected) = explained.verdict {
            return refused(&rejected);
        }
    }
    Code::DONE
}

fn show(report: Report, what: &str, checks: &[Check], rejected: Option<&Rejected>, claims: &Value) {
    let verdict = rejected.map_or("accept", Rejected::code);
    let mut lines = vec![format!("{what}:")];
    lines.extend(checks.iter().map(|Check { of, what, compared, held }| {
        let mark = if *held { "ok  " } else { "FAIL" };
        let compared = if compared.is_empty() { String::new() } else { format!("  ({compared})") };
        format!("  {mark} {of}: {what}{compared}")
    }));
    lines.push(rejected.map_or_else(|| "  accepted".to_owned(), |rejected| format!("  refused: {rejected}")));
    report.say(what, &lines.join("\n"), json!({"verdict": verdict, "checks": checks, "claims": claims}));
}

/// A lease that has ended is no forgery.
fn refused(rejected: &Rejected) -> Code {
    if *rejected == Rejected::Expired { Code::NO_SEAT } else { Code::NOT_TRUSTED }
}

fn token(path: &Path) -> Result<String, Failure> {
    setup::read(path).map(|text| text.trim().to_owned())
}

fn published(path: &Path) -> Result<PublishedKeys, Failure> {
    serde_json::from_str(&setup::read(path)?).map_err(|error| Failure::setup(format!("{}: {error}", path.display())))
}

#[expect(clippy::disallowed_methods, reason = "the command judges by the machine's clock")]
fn now() -> SystemTime {
    SystemTime::now()
}
