//! `seat acquire`, `heartbeat`, `release` and `status`: a seat in the hands of a script.

use coditect_license::{Error, Offline, Seat, rfc3339};
use serde_json::{Value, json};

use crate::{
    arguments::Options,
    exit::Code,
    report::{Failure, Report, facts},
    setup::Setup,
};

pub(crate) async fn acquire(options: &Options, report: Report) -> Result<Code, Failure> {
    let setup = Setup::new(options)?;
    let seat = setup.client.acquire().await?;
    let facts = facts_of(&seat);
    leave(&setup, seat).await?;
    say(report, "acquired", facts);
    Ok(Code::DONE)
}

pub(crate) async fn heartbeat(options: &Options, report: Report) -> Result<Code, Failure> {
    let setup = Setup::new(options)?;
    let saved = setup.session().ok_or_else(none)?;
    match setup.client.attach(&saved).await {
        Ok(seat) => {
            let facts = facts_of(&seat);
            leave(&setup, seat).await?;
            say(report, "renewed", facts);
            Ok(Code::DONE)
        }
        Err(error) => {
            if matches!(error, Error::SessionEnded(_)) {
                setup.forget()?;
            }
            Err(error.into())
        }
    }
}

pub(crate) async fn release(options: &Options, report: Report) -> Result<Code, Failure> {
    let setup = Setup::new(options)?;
    let Some(saved) = setup.session() else {
        report.say("nothing_to_release", "there is no seat to give back", json!({}));
        return Ok(Code::DONE);
    };
    let released = setup.client.release(&saved).await?;
    setup.forget()?;
    if released {
        report.say("released", "the seat is given back", json!({}));
    } else {
        report.say("in_use", "a program that runs on this machine keeps the seat", json!({}));
    }
    Ok(Code::DONE)
}

pub(crate) fn status(options: &Options, report: Report) -> Result<Code, Failure> {
    let setup = Setup::new(options)?;
    let Offline { license, lease, until } = setup.client.verify_offline()?;
    let mut facts = facts(&license, &lease);
    facts["until"] = json!(rfc3339(until));
    facts["saved"] = json!(setup.session().is_some());
    say(report, "held", facts);
    Ok(Code::DONE)
}

/// Leaves the seat taken, for the next command to find.
async fn leave(setup: &Setup, seat: Seat) -> Result<(), Failure> {
    setup.save(&seat.detach().await)
}

fn facts_of(seat: &Seat) -> Value {
    let mut facts = facts(seat.license(), &seat.lease());
    facts["seats_used"] = json!(seat.seats_used());
    facts["seats_total"] = json!(seat.seats_total());
    facts["until"] = json!(rfc3339(seat.until().at));
    facts
}

fn say(report: Report, event: &str, facts: Value) {
    let told = |name: &str| facts[name].as_str().map_or_else(|| facts[name].to_string(), str::to_owned);
    let [seat, total, license, until] = ["seat", "seats_total", "license_id", "until"].map(told);
    report.say(event, &format!("{event}: seat {seat} of {total} on license {license}, until {until}"), facts);
}

fn none() -> Failure {
    Failure::Other { code: "no_session", text: "there is no seat: take one with seat acquire".to_owned(), exit: Code::NO_SEAT }
}
