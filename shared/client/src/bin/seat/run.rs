//! `seat run`.

use std::time::Duration;

use coditect_license::Seat;
use serde_json::json;

use crate::{
    arguments::{Arguments, Command, Options, Run},
    child::{self, Watch},
    exit::Code,
    report::{Failure, Report, facts},
    scripts,
    setup::Setup,
    signals, verify,
};

/// How long giving the seat back may hold up the command's end.
const RELEASE: Duration = Duration::from_secs(5);

/// Does what was asked for.
pub(crate) async fn command(Arguments { command, options }: Arguments) -> Code {
    let report = Report { json: options.json, to_stderr: matches!(command, Command::Run(_)) };
    let done = match command {
        Command::Run(run) => self::run(&run, &options, report).await,
        Command::Acquire => scripts::acquire(&options, report).await,
        Command::Heartbeat => scripts::heartbeat(&options, report).await,
        Command::Release => scripts::release(&options, report).await,
        Command::Status => scripts::status(&options, report),
        Command::Verify(files) => verify::verify(&files, &options, report),
    };
    done.unwrap_or_else(|failure| report.fail(&failure))
}

async fn run(run: &Run, options: &Options, report: Report) -> Result<Code, Failure> {
    let setup = Setup::new(options)?;
    let mut signals = signals::caught()?;
    let seat = tokio::select! {
        seat = setup.client.acquire() => seat?,
        // Any of them would have ended this process.
        Some(signal) = signals.recv() => return Ok(Code::by_signal(signal.as_raw())),
    };
    let text = format!("seat {} of {} on license {}", seat.lease().seat, seat.seats_total(), seat.license().license_id);
    report.say("acquired", &text, facts(seat.license(), &seat.lease()));
    let (ended, seat) = match child::start(run, &seat) {
        Ok(child) => Watch::new(run, report, child, setup.client.clone(), seat).until_its_end(&mut signals).await,
        Err(failure) => (Err(failure), seat),
    };
    give_back(&setup, seat, report).await;
    ended
}

/// Gives the seat back, unless `seat acquire` has taken it too. That it could not be told is said and no more: the program has run.
async fn give_back(setup: &Setup, seat: Seat, report: Report) {
    if setup.saved().is_some_and(|saved| saved.session.session_id() == seat.session_id()) {
        seat.detach().await;
        return;
    }
    match seat.release_within(RELEASE).await {
        Ok(released) => scripts::tell(report, released),
        Err(error) => {
            let text = format!("the seat could not be given back and falls free when it expires: {error}");
            report.say("not_released", &text, json!({"code": error.code(), "message": error.to_string()}));
        }
    }
}
