//! The program that runs on the seat.

use std::{
    io::ErrorKind,
    pin::Pin,
    process::ExitStatus,
    time::{Duration, Instant},
};

use coditect_license::{Client, Ending, Error, Loss, Seat, SeatStatus, rfc3339};
use rustix::process::Signal;
use serde_json::json;
use tokio::{
    process::{Child, Command},
    sync::mpsc,
    time::{sleep, sleep_until},
};

use crate::{
    arguments::{OnLost, Run},
    exit::Code,
    report::{Failure, Report},
    signals,
};

/// Starts the program with the facts in its environment.
pub(crate) fn start(run: &Run, seat: &Seat) -> Result<Child, Failure> {
    let (license, lease) = (seat.license(), seat.lease());
    let (name, arguments) = run.program.split_first().expect("clap requires a program");
    let child = Command::new(name)
        .args(arguments)
        .env_remove("CODITECT_LICENSE_KEY")
        .env("CODITECT_SEAT", lease.seat.to_string())
        .env("CODITECT_LICENSE_ID", &license.license_id)
        .env("CODITECT_TENANT_ID", &license.tenant_id)
        .env("CODITECT_TIER", &license.tier)
        .env("CODITECT_FEATURES", license.features.join(","))
        .env("CODITECT_SEATS_TOTAL", license.seats_total.to_string())
        .spawn();
    child.map_err(|error| {
        let exit = if error.kind() == ErrorKind::NotFound { Code::NOT_FOUND } else { Code::CANNOT_RUN };
        Failure::Other { code: "cannot_run", text: format!("{}: {error}", name.display()), exit }
    })
}

/// How long to wait before a lost seat is asked for again; twice as long each time, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Watches over a running program.
pub(crate) struct Watch<'a> {
    pub(crate) run: &'a Run,
    pub(crate) report: Report,
    pub(crate) child: Child,
    client: Client,
    /// The seat that it runs on, or ran on.
    seat: Seat,
    /// Tries to take another seat in place of the one that is lost.
    regaining: Option<Pin<Box<dyn Future<Output = Seat>>>>,
    /// When it is to be asked to end.
    terminate_at: Option<Instant>,
    /// When it is to be killed.
    kill_at: Option<Instant>,
    /// It was asked to end because of its seat.
    ended_by_us: bool,
    /// Something was said of the seat that no longer holds once it is held again.
    is_troubled: bool,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(run: &'a Run, report: Report, child: Child, client: Client, seat: Seat) -> Self {
        Self {
            run,
            report,
            child,
            client,
            seat,
            regaining: None,
            terminate_at: None,
            kill_at: None,
            ended_by_us: false,
            is_troubled: false,
        }
    }

    /// Until the program has ended. What it leaves is its exit code, and the seat.
    pub(crate) async fn until_its_end(mut self, signals: &mut mpsc::Receiver<Signal>) -> (Result<Code, Failure>, Seat) {
        let (mut status, mut following) = (self.seat.status(), true);
        loop {
            tokio::select! {
                ended = self.child.wait() => return (self.ended(ended), self.seat),
                Some(signal) = signals.recv() => {
                    if !signals::is_from_keyboard(signal) {
                        signals::send(self.child.id(), signal);
                    }
                }
                changed = status.changed(), if following => {
                    let now = status.borrow_and_update().clone();
                    following = changed.is_ok() && !matches!(now, SeatStatus::Lost { .. });
                    self.follow(&now);
                }
                seat = regained(&mut self.regaining) => {
                    let until = seat.until().at;
                    (status, following) = (seat.status(), true);
                    self.tell_regained(seat.lease().seat, &rfc3339(until));
                    (self.seat, self.regaining, self.is_troubled) = (seat, None, false);
                }
                () = moment(self.terminate_at) => self.terminate(),
                () = moment(self.kill_at) => {
                    self.kill_at = None;
                    self.report.say("killing", "it does not end: SIGKILL", json!({}));
                    signals::send(self.child.id(), Signal::KILL);
                }
            }
        }
    }

    fn ended(&self, ended: std::io::Result<ExitStatus>) -> Result<Code, Failure> {
        let status = ended.map_err(|error| Failure::setup(format!("the program cannot be waited for: {error}")))?;
        Ok(if self.ended_by_us { Code::NO_SEAT } else { Code::of(status) })
    }

    /// Tells what has become of the seat, and does what follows from it.
    fn follow(&mut self, status: &SeatStatus) {
        let terminates = self.run.on_lost == OnLost::Terminate;
        let was_troubled = self.is_troubled;
        self.is_troubled = !matches!(status, SeatStatus::Held { .. } | SeatStatus::Regained { .. });
        match status {
            SeatStatus::Held { until } => {
                self.terminate_at = None;
                // Every heartbeat comes by here; only good news are news.
                if was_troubled {
                    self.report.say("held", &format!("held again until {}", rfc3339(until.at)), json!({"until": rfc3339(until.at)}));
                }
            }
            SeatStatus::Regained { until, seat } => {
                self.terminate_at = None;
                self.tell_regained(*seat, &rfc3339(until.at));
            }
            SeatStatus::InDanger { .. } if was_troubled => {}
            SeatStatus::InDanger { until, why } => {
                let facts = json!({"until": rfc3339(until.at), "message": why.to_string()});
                self.report.say("in_danger", &format!("{why}; the seat is held until {}", rfc3339(until.at)), facts);
            }
            SeatStatus::StopBy { at, why } => {
                let facts = json!({"at": rfc3339(at.at), "message": why.to_string()});
                self.report.say("stop_by", &format!("{why}: stop by {}", rfc3339(at.at)), facts);
                // So that it has ended by then, and not only been told.
                self.terminate_at = terminates.then(|| Instant::now() + at.left().saturating_sub(self.run.grace));
            }
            SeatStatus::Lost { why } => {
                // What was taken away on purpose is not taken again.
                let is_taken_away = matches!(why, Loss::Ended(Ending::Revoked | Ending::Released));
                let next = match (terminates, why) {
                    (true, Loss::NotRegained { .. }) => ". Start the program again once that is mended",
                    (true, _) => "",
                    (false, _) if is_taken_away => "; the program runs on without one",
                    (false, _) => "; the program runs on, and a seat is asked for again until there is one",
                };
                self.report.say("lost", &format!("the seat is lost: {why}{next}"), json!({"message": why.to_string()}));
                if terminates && !self.ended_by_us {
                    self.terminate();
                } else if !terminates && !is_taken_away {
                    self.regaining = Some(Box::pin(acquire_again(self.client.clone())));
                }
            }
        }
    }

    fn tell_regained(&self, seat: u32, until: &str) {
        let text = format!("the seat had ended while this machine was asleep or cut off; seat {seat} was taken instead, until {until}");
        self.report.say("regained", &text, json!({"seat": seat, "until": until}));
    }

    fn terminate(&mut self) {
        self.terminate_at = None;
        self.ended_by_us = true;
        self.kill_at = Some(Instant::now() + self.run.grace);
        let text = format!("the program is asked to end within {} s", self.run.grace.as_secs());
        self.report.say("terminating", &text, json!({"grace": self.run.grace.as_secs()}));
        signals::send(self.child.id(), Signal::TERM);
        // A program that was stopped could not end.
        signals::send(self.child.id(), Signal::CONT);
    }
}

/// Asks for a seat until there is one.
async fn acquire_again(client: Client) -> Seat {
    let mut pause = FIRST_PAUSE;
    loop {
        let asked = match client.acquire().await {
            Ok(seat) => return seat,
            Err(Error::NoSeats { retry_after, .. } | Error::Unreachable { retry_after, .. }) => retry_after.unwrap_or_default(),
            Err(_) => Duration::ZERO,
        };
        sleep(pause.max(asked.min(LONGEST_PAUSE))).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn regained(regaining: &mut Option<Pin<Box<dyn Future<Output = Seat>>>>) -> Seat {
    match regaining {
        Some(regaining) => regaining.await,
        None => std::future::pending().await,
    }
}

async fn moment(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}
