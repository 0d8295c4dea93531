//! The task that keeps a seat.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{Held, Loss, Refusal, SeatStatus, Trouble};
use crate::{
    Deadline, Ending,
    client::{Core, Doubt, Lease, NotTaken, Renewal, Taken},
    patience::Backoff,
    random,
    wire::{Failure, Problem},
};

/// How long a seat that was dropped may take to be given back.
const PATIENCE_OF_A_DROP: Duration = Duration::from_secs(2);

/// How long renewals count that no key has signed. The platform signs with a leaf for a day, so if it has been without one for so long,
/// something else is answering in its place.
const UNSIGNED_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// How long to sleep before looking whether the machine has slept.
const LONGEST_SLEEP: Duration = Duration::from_secs(15);

/// A leap of the machine's clock that can only mean that it slept, or was set.
const LEAP: Duration = Duration::from_secs(10);

/// Pauses never get shorter than this, however little time is left.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);

/// Time for one heartbeat after the process itself stood still until the seat's end.
const LAST_TRY: Duration = Duration::from_secs(5);

/// How long such heartbeats are tried: a machine that wakes has no network yet.
const AFTER_STANDSTILL: Duration = Duration::from_secs(30);

/// Sends heartbeats until the seat is lost or given back.
///
/// All times are on the monotonic clock, counted from the sending of the call that was answered: the seat never seems to last longer
/// than it does, and a clock that is turned moves nothing.
pub(super) struct Keeper {
    core: Arc<Core>,
    held: Arc<Held>,
    until: Deadline,
    beat_every: Duration,
    backoff: Backoff,
    /// When the last signed answer came.
    signed: Instant,
    /// Why the last heartbeat did not succeed.
    trouble: Option<Trouble>,
    /// Why the license may no longer be used, unless the platform has changed its mind.
    refusal: Option<Refusal>,
    /// Until when to go on although the seat's time is over.
    grace: Option<Instant>,
}

impl Keeper {
    pub(super) fn new(core: Arc<Core>, held: Arc<Held>, renewal: Renewal) -> Self {
        let Renewal { until, heartbeat_after, .. } = renewal;
        Self {
            core,
            held,
            until,
            beat_every: beat_every(heartbeat_after, until),
            backoff: backoff(until),
            signed: Instant::now(),
            trouble: None,
            refusal: None,
            grace: None,
        }
    }

    pub(super) async fn run(mut self, stopped: oneshot::Receiver<()>) {
        tokio::select! {
            why = self.keep() => {
                self.held.status.send_replace(SeatStatus::Lost { why });
            }
            // Whoever wanted to hear of it is gone.
            _ = stopped => {}
        }
        // Also of a seat that is lost for another reason than the platform's word: its session may live there, and is nobody's. Whoever
        // else sits on this device's seat does not wait for a process that has lost it.
        let _ = tokio::time::timeout(PATIENCE_OF_A_DROP, self.held.give_back(&self.core, PATIENCE_OF_A_DROP)).await;
    }

    /// Heartbeats until the seat is lost.
    async fn keep(&mut self) -> Loss {
        let mut pause = self.next_beat();
        loop {
            let left = self.until.left();
            self.sleep(if left.is_zero() { pause } else { pause.min(left) }).await;
            let left = self.until.left();
            if left.is_zero()
                && let Some(why) = self.is_over()
            {
                return why;
            }
            let limit = if left.is_zero() { LAST_TRY } else { left };
            pause = match self.core.renew(self.held.sessions.latest(), limit).await {
                Ok((renewal, lease)) => self.renewed(renewal, lease),
                Err(Doubt::Failure(Failure::Problem(problem))) => match self.told(problem) {
                    Ok(pause) => pause,
                    Err(Loss::Ended(ending)) => match self.ended(ending).await {
                        Ok(pause) => pause,
                        Err(why) => return why,
                    },
                    Err(why) => return why,
                },
                // The seat's end cut this try short: what went wrong before tells more.
                Err(Doubt::Failure(Failure::NoConnection(_) | Failure::NoAnswer(_)))
                    if !left.is_zero() && self.trouble.is_some() && self.until.left().is_zero() =>
                {
                    Duration::ZERO
                }
                Err(Doubt::Failure(failure)) => self.failed(Trouble::Unreachable(failure.why()), failure.retry_after()),
                Err(Doubt::Rejected(rejected)) => self.failed(Trouble::Forged(rejected), None),
                Err(Doubt::WrongClock { .. }) => self.failed(Trouble::WrongClock, None),
            };
        }
    }

    /// What the seat's end means, once its time has run out.
    fn is_over(&mut self) -> Option<Loss> {
        if let Some(why) = self.refusal.take() {
            return Some(Loss::Refused(why));
        }
        // No trouble before the end: it was the process that stood still. The platform knows whether the seat still is.
        let grace = if self.trouble.is_none() { AFTER_STANDSTILL } else { Duration::ZERO };
        let ends = *self.grace.get_or_insert_with(|| Instant::now() + grace);
        if Instant::now() < ends { None } else { self.trouble.take().map(Loss::Silent) }
    }

    /// The platform has ended the session. One that expired while this machine slept, or that is unknown to a platform which was
    /// restored from a backup, is followed by another; one that somebody has ended is not.
    async fn ended(&mut self, ending: Ending) -> Result<Duration, Loss> {
        self.held.ended.store(true, Ordering::Release);
        match ending {
            Ending::Released | Ending::Revoked => return Err(Loss::Ended(ending)),
            Ending::Expired | Ending::Unknown => {}
        }
        match self.core.retake_seat(self.held.slot.as_ref(), self.held.left()).await {
            Ok(Taken { session, lease, renewal }) => {
                let seat = lease.claims.seat;
                self.core.forget_id(&self.held.sessions.latest().id).await;
                self.held.sessions.add(session);
                self.held.ended.store(false, Ordering::Release);
                let pause = self.renewed(renewal, Some(lease));
                self.held.status.send_replace(SeatStatus::Regained { until: self.until, seat });
                Ok(pause)
            }
            Err(NotTaken { error, unwanted }) => {
                if let Some(unwanted) = unwanted {
                    self.core.let_go(unwanted, self.held.leave()).await;
                }
                Err(Loss::NotRegained { ending, why: error.to_string(), code: error.code() })
            }
        }
    }

    fn renewed(&mut self, renewal: Renewal, lease: Option<Lease>) -> Duration {
        if lease.is_none() && self.signed.elapsed() > UNSIGNED_FOR {
            return self.failed(Trouble::Unreachable("the platform has signed nothing for a day".to_owned()), None);
        }
        {
            let mut latest = self.held.latest();
            if let Some(lease) = lease {
                self.signed = Instant::now();
                latest.lease = lease;
            }
            latest.until = renewal.until;
            latest.seats_used = renewal.seats_used;
            latest.seats_total = renewal.seats_total;
        }
        self.until = renewal.until;
        self.beat_every = beat_every(renewal.heartbeat_after, self.until);
        self.backoff = backoff(self.until);
        (self.trouble, self.refusal, self.grace) = (None, None, None);
        self.held.status.send_replace(SeatStatus::Held { until: self.until });
        self.next_beat()
    }

    /// What a problem means for the seat.
    fn told(&mut self, problem: Box<Problem>) -> Result<Duration, Loss> {
        match (problem.status, problem.code.as_deref()) {
            (410, code) => Err(Loss::Ended(Ending::of(code))),
            (404, Some("session_not_found")) => Err(Loss::Ended(Ending::Unknown)),
            (403, Some(_)) => {
                let at = Deadline { at: problem.stop_by.unwrap_or(self.until.at), ..self.until };
                let why = Refusal::of(problem.code);
                self.refusal = Some(why.clone());
                self.held.status.send_replace(SeatStatus::StopBy { at, why });
                // The license may be reinstated in time.
                Ok(self.next_beat().min(self.until.left() / 2).max(Duration::from_secs(1)))
            }
            (_, _) => {
                let failure = Failure::Problem(problem);
                Ok(self.failed(Trouble::Unreachable(failure.why()), failure.retry_after()))
            }
        }
    }

    fn failed(&mut self, why: Trouble, retry_after: Option<Duration>) -> Duration {
        self.trouble = Some(why.clone());
        // Having to stop outranks not knowing.
        if self.refusal.is_none() {
            self.held.status.send_replace(SeatStatus::InDanger { until: self.until, why });
        }
        let (pause, left) = (self.backoff.pause(retry_after), self.until.left());
        if left.is_zero() { pause } else { pause.min(left / 2).max(SHORTEST_PAUSE) }
    }

    /// A little early, each time by another little, so that a fleet that began together does not beat together.
    fn next_beat(&self) -> Duration {
        random::between(self.beat_every.mul_f64(0.8), self.beat_every)
    }

    /// Sleeps, but not on after the machine has slept: the monotonic clock stood still meanwhile, the platform's did not.
    async fn sleep(&self, length: Duration) {
        let ends = Instant::now() + length;
        loop {
            let left = ends.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let (wall, begun) = (self.core.wall(), Instant::now());
            tokio::time::sleep(left.min(LONGEST_SLEEP)).await;
            let passed = self.core.wall().duration_since(wall).unwrap_or_default();
            if passed > begun.elapsed() + LEAP {
                return;
            }
        }
    }
}

/// As often as the platform asks for, and in any case often enough.
fn beat_every(asked: Duration, until: Deadline) -> Duration {
    asked.min(until.left() / 2).max(SHORTEST_PAUSE)
}

fn backoff(until: Deadline) -> Backoff {
    Backoff::up_to((until.left() / 12).clamp(Duration::from_millis(500), Duration::from_secs(30)))
}
