//! The program that runs on the seat.

use std::{io::ErrorKind, process::ExitStatus, time::Instant};

use coditect_license::{Seat, SeatStatus, rfc3339};
use rustix::process::Signal;
use serde_json::json;
use tokio::{
    process::{Child, Command},
    sync::{mpsc, watch},
    time::sleep_until,
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

/// Watches over a running program.
pub(crate) struct Watch<'a> {
    pub(crate) run: &'a Run,
    pub(crate) report: Report,
    pub(crate) child: Child,
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
    pub(crate) fn new(run: &'a Run, report: Report, child: Child) -> Self {
        Self { run, report, child, terminate_at: None, kill_at: None, ended_by_us: false, is_troubled: false }
    }

    /// Until the program has ended.
    pub(crate) async fn until_its_end(
        mut self,
        signals: &mut mpsc::Receiver<Signal>,
        mut status: watch::Receiver<SeatStatus>,
    ) -> Result<Code, Failure> {
        let mut following = true;
        loop {
            tokio::select! {
                ended = self.child.wait() => return self.ended(ended),
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
        self.is_troubled = !matches!(status, SeatStatus::Held { .. });
        match status {
            SeatStatus::Held { until } => {
                self.terminate_at = None;
                // Every heartbeat comes by here; only good news are news.
                if was_troubled {
                    self.report.say("held", &format!("held again until {}", rfc3339(until.at)), json!({"until": rfc3339(until.at)}));
                }
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
                self.report.say("lost", &format!("the seat is lost: {why}"), json!({"message": why.to_string()}));
                if terminates && !self.ended_by_us {
                    self.terminate();
                }
            }
        }
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

async fn moment(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}
