//! `seat acquire`, `heartbeat`, `release` and `status`: a seat in the hands of a script.

use coditect_license::{Ending, Error, Offline, Released, SavedSession, Seat, rfc3339};
use serde_json::{Value, json};

use crate::{
    arguments::Options,
    exit::Code,
    report::{Failure, Report, facts},
    setup::Setup,
};

pub(crate) async fn acquire(options: &Options, report: Report) -> Result<Code, Failure> {
    let setup = Setup::new(options)?;
    let facts = take(&setup).await?;
    say(report, "acquired", facts);
    Ok(Code::DONE)
}

/// Takes a seat and leaves it taken; in place of the one that an earlier command left.
async fn take(setup: &Setup) -> Result<Value, Failure> {
    let earlier = setup.session();
    let seat = setup.client.acquire().await?;
    let facts = facts_of(&seat);
    let is_another = |saved: &SavedSession| saved.session_id() != seat.session_id();
    let earlier = earlier.filter(is_another);
    leave(setup, seat).await?;
    if let Some(earlier) = earlier {
        // If it fails, that session expires: nobody renews it any more.
        let _ = setup.client.release(&earlier).await;
    }
    Ok(facts)
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
        // This machine was asleep or cut off for longer than the session lives.
        Err(Error::SessionEnded(Ending::Expired | Ending::Unknown)) => {
            setup.forget()?;
            let facts = take(&setup).await?;
            say(report, "regained", facts);
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
    let saved = setup.session();
    let mut released = None;
    if let Some(saved) = &saved {
        released = Some(if setup.client.release(saved).await? { Released::Released } else { Released::InUse });
        setup.forget()?;
    }
    // Of programs that died, and of answers that were refused.
    let left_behind = setup.client.release_left_behind().await?;
    match released {
        Some(released) => tell(report, released),
        None if left_behind > 0 => tell(report, Released::Released),
        None => report.say("nothing_to_release", "there is no seat to give back", json!({})),
    }
    Ok(Code::DONE)
}

/// Says what became of a seat that was to be given back.
pub(crate) fn tell(report: Report, released: Released) {
    match released {
        Released::Released => report.say("released", "the seat is given back", json!({})),
        Released::AlreadyEnded => report.say("nothing_to_release", "there is no seat to give back: it had ended before", json!({})),
        Released::InUse => report.say("in_use", "a program that runs on this machine keeps the seat", json!({})),
    }
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
    let session = seat.detach().await;
    if let Err(failure) = setup.save(&session) {
        // What no later command could find must not stay taken.
        let _ = setup.client.release(&session).await;
        return Err(failure);
    }
    Ok(())
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
