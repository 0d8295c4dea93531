//! `seat acquire`, `heartbeat`, `release` and `status`: a seat in the hands of a script.

use coditect_license::{Ending, Error, Offline, Released, Seat, rfc3339};
use serde_json::{Value, json};

use crate::{
    arguments::Options,
    exit::Code,
    report::{Failure, Report, facts},
    setup::{Saved, Setup},
};

pub(crate) async fn acquire(options: &Options, report: Report) -> Result<Code, Failure> {
    let setup = Setup::new(options)?;
    let _turn = setup.turn(options.patience).await?;
    let facts = take(&setup).await?;
    say(report, "acquired", facts);
    Ok(Code::DONE)
}

/// Takes a seat and leaves it taken; in place of the one that an earlier command left.
async fn take(setup: &Setup) -> Result<Value, Failure> {
    let before = setup.saved();
    let seat = setup.client.acquire().await?;
    let facts = leave(setup, seat, before).await?;
    release_earlier(setup).await;
    Ok(facts)
}

pub(crate) async fn heartbeat(options: &Options, report: Report) -> Result<Code, Failure> {
    let setup = Setup::new(options)?;
    let _turn = setup.turn(options.patience).await?;
    let saved = setup.saved().ok_or_else(none)?;
    match setup.client.attach(&saved.session).await {
        Ok(seat) => {
            let facts = leave(&setup, seat, Some(saved)).await?;
            say(report, "renewed", facts);
            Ok(Code::DONE)
        }
        // This machine was asleep or cut off for longer than the session lives. If no seat is free, the next heartbeat tries again.
        Err(Error::SessionEnded(Ending::Expired | Ending::Unknown)) => {
            let facts = take(&setup).await?;
            say(report, "regained", facts);
            Ok(Code::DONE)
        }
        Err(error) => {
            if matches!(error, Error::SessionEnded(_)) {
                release_earlier(&setup).await;
                setup.forget()?;
            }
            Err(error.into())
        }
    }
}

pub(crate) async fn release(options: &Options, report: Report) -> Result<Code, Failure> {
    let setup = Setup::new(options)?;
    let _turn = setup.turn(options.patience).await?;
    let saved = setup.saved();
    let mut released = None;
    if let Some(saved) = &saved {
        for earlier in &saved.earlier {
            setup.client.release(earlier).await?;
        }
        released = Some(setup.client.release(&saved.session).await?);
        setup.forget()?;
    }
    // Of programs that died, and of answers that were refused.
    let left_behind = setup.client.release_left_behind().await?;
    match released {
        Some(Released::AlreadyEnded) | None if left_behind > 0 => tell(report, Released::Released),
        Some(released) => tell(report, released),
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
    facts["saved"] = json!(setup.saved().is_some());
    say(report, "held", facts);
    Ok(Code::DONE)
}

/// Leaves the seat taken, for the next command to find in place of what it found `before`. What is on disk is not touched, and stays
/// true, if nothing can be written: a session that it names already is kept, another one is released.
async fn leave(setup: &Setup, seat: Seat, before: Option<Saved>) -> Result<Value, Failure> {
    let mut facts = facts_of(&seat);
    let session = seat.saved();
    let is_same = before.as_ref().is_some_and(|before| before.session.session_id() == session.session_id());
    let (earlier, written) = match before {
        Some(before) if before.session == session => (before.earlier, Ok(())),
        before => {
            let earlier = before.into_iter().flat_map(|before| before.earlier.into_iter().chain([before.session]));
            let earlier: Vec<_> = earlier.filter(|earlier| earlier.session_id() != session.session_id()).collect();
            let written = setup.save(&Saved { session: session.clone(), earlier: earlier.clone() });
            (earlier, written)
        }
    };
    let unwritten = match written {
        Ok(()) => setup.client.unwritten(),
        Err(failure) if is_same => Some(failure.text()),
        Err(failure) => {
            // What no later command could find must not stay taken.
            let _ = seat.release().await;
            return Err(failure);
        }
    };
    let detached = seat.detach().await;
    if detached.session_id() != session.session_id() {
        // It expired in between, because this process was stopped, and another was taken at once.
        let written = setup.save(&Saved { session: detached.clone(), earlier });
        if let Err(failure) = written {
            let _ = setup.client.release(&detached).await;
            return Err(failure);
        }
    }
    if let Some(why) = unwritten {
        facts["warning"] = json!(format!("it could not be written down: {why}"));
    }
    Ok(facts)
}

/// Releases the sessions in whose place another was taken. Those that cannot be are kept for `seat release`.
async fn release_earlier(setup: &Setup) {
    let Some(saved) = setup.saved().filter(|saved| !saved.earlier.is_empty()) else { return };
    let mut left = Vec::new();
    for earlier in saved.earlier {
        if setup.client.release(&earlier).await.is_err() {
            left.push(earlier);
        }
    }
    // If it cannot be written, they are released once more, which does no harm.
    let _ = setup.save(&Saved { session: saved.session, earlier: left });
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
    let text = format!("{event}: seat {seat} of {total} on license {license}, until {until}");
    let warning = facts["warning"].as_str().map(|warning| format!("{event}, but {warning}"));
    report.say(event, &text, facts);
    if let Some(warning) = warning {
        report.warn(&warning);
    }
}

fn none() -> Failure {
    Failure::Other { code: "no_session", text: "there is no seat: take one with seat acquire".to_owned(), exit: Code::NO_SEAT }
}
