//! Taking a seat.

use std::{sync::Arc, time::Duration};

use super::{Core, Doubt, Lease, Renewal, Session, State, left::Unwanted, lock, renew::deadline};
use crate::{
    Error, Expected, LicenseClaims, Rejected, Seat, hardware_sha256,
    memory::Asked,
    patience::Patience,
    random,
    seat::Place,
    secret::Secret,
    slot::Slot,
    wire::{Acquired, Application, Failure, Received},
};

/// One acquire to the platform, however often it is sent.
#[derive(Debug)]
pub(super) struct Attempt {
    /// What it says. It replaces the session of a dead program, or of this one before its session ended.
    asked: Asked,
    /// It was sent, and no answer came: the platform may have carried it out a while ago.
    unanswered: bool,
    /// The platform may have carried it out.
    may_be_done: bool,
    /// It stands in the state file, so that a crash loses no session.
    is_noted: bool,
    /// While it is put aside: the slot that it stands under in the state file. No other process takes it over as long as this has the slot.
    pub(super) slot: Option<Arc<Slot>>,
}

impl Attempt {
    /// What a program began that is gone.
    pub(super) fn taken_over(asked: Asked) -> Self {
        Self { asked, unanswered: true, may_be_done: true, is_noted: true, slot: None }
    }
}

/// The attempt that an acquire is at. It is put aside for the next acquire unless its outcome is known.
pub(super) struct Current<'a> {
    core: &'a Core,
    slot: Option<Arc<Slot>>,
    /// Who a new attempt is for; none if only an earlier one is to be settled.
    user_email: Option<&'a str>,
    replaces: Option<Secret>,
    attempt: Option<Attempt>,
}

impl<'a> Current<'a> {
    /// An earlier attempt, to learn what became of it.
    pub(super) fn earlier(core: &'a Core, slot: Option<&Arc<Slot>>, attempt: Attempt) -> Self {
        Self { core, slot: slot.cloned(), user_email: None, replaces: None, attempt: Some(attempt) }
    }

    fn get(&mut self) -> &mut Attempt {
        let (user_email, replaces) = (self.user_email, &self.replaces);
        self.attempt.get_or_insert_with(|| Attempt {
            asked: Asked {
                idempotency_key: random::token(),
                nonce: random::token(),
                user_email: user_email.unwrap_or_default().to_owned(),
                replaces: replaces.clone(),
            },
            unanswered: false,
            may_be_done: false,
            is_noted: false,
            slot: None,
        })
    }

    /// Writes down what is about to be sent. If it cannot be, a crash leaves a session to expire, no more.
    async fn note(&mut self) {
        let (core, Some(slot)) = (self.core, self.slot.clone()) else { return };
        let attempt = self.get();
        if !attempt.is_noted {
            let asked = attempt.asked.clone();
            attempt.is_noted = core.remember(move |memory| memory.note_asked(slot.name(), asked)).await;
        }
    }

    /// Notes the session that it was answered with, in its place.
    pub(super) async fn note_taken(&mut self, id: &Secret) {
        let (core, Some(slot)) = (self.core, self.slot.clone()) else { return };
        let attempt = self.get();
        let (id, key) = (id.clone(), attempt.asked.idempotency_key.clone());
        if core.remember(move |memory| memory.note_taken(slot.name(), id.expose(), &key)).await {
            attempt.is_noted = false;
        }
    }

    /// It is known what became of it.
    pub(super) async fn settle(&mut self) {
        let Some(attempt) = self.attempt.take() else { return };
        if let Some(slot) = self.slot.clone().filter(|_| attempt.is_noted) {
            let key = attempt.asked.idempotency_key;
            self.core.remember(move |memory| memory.forget_asked(slot.name(), &key)).await;
        }
    }
}

impl Drop for Current<'_> {
    fn drop(&mut self) {
        if let Some(attempt) = self.attempt.take() {
            lock(&self.core.unsettled).push(Attempt { unanswered: true, may_be_done: true, slot: self.slot.take(), ..attempt });
        }
    }
}

/// A seat that was taken, and verified.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) session: Session,
    pub(crate) lease: Lease,
    pub(crate) renewal: Renewal,
}

/// Why none was.
#[derive(Debug)]
pub(crate) struct NotTaken {
    pub(crate) error: Error,
    /// The platform has given a session all the same, which is to be released.
    pub(crate) unwanted: Option<Unwanted>,
}

impl From<Error> for NotTaken {
    fn from(error: Error) -> Self {
        Self { error, unwanted: None }
    }
}

impl Core {
    pub(super) async fn acquire(self: &Arc<Self>) -> Result<Seat, Error> {
        // Before the call: else whoever leaves meanwhile would release the session that it answers.
        let presence = self.enter().await?;
        let (slot, left, attempt) = self.claim_slot();
        match self.take_seat(slot.as_ref(), left, attempt).await {
            Ok(taken) => Ok(Seat::begin(Arc::clone(self), taken, Place { presence, slot })),
            Err(NotTaken { error, unwanted }) => {
                if let Some(unwanted) = unwanted {
                    self.let_go(unwanted, presence).await;
                }
                Err(error)
            }
        }
    }

    /// Takes a seat again, in place of this one's sessions.
    pub(crate) async fn retake_seat(self: &Arc<Self>, slot: Option<&Arc<Slot>>, left: Vec<Secret>) -> Result<Taken, NotTaken> {
        // With a slot, an attempt that was put aside belongs to another one.
        let attempt = if slot.is_none() { lock(&self.unsettled).pop_if(|attempt| attempt.slot.is_none()) } else { None };
        self.take_seat(slot, left, attempt).await
    }

    /// Takes a seat, by an earlier attempt or in place of the last of the sessions that were left behind, and releases the others.
    async fn take_seat(
        self: &Arc<Self>,
        slot: Option<&Arc<Slot>>,
        mut left: Vec<Secret>,
        attempt: Option<Attempt>,
    ) -> Result<Taken, NotTaken> {
        let mut patience = Patience::of(self.patience);
        let user_email = self.user_email.as_deref();
        let mut current = Current { core: self, slot: slot.cloned(), user_email, replaces: left.last().cloned(), attempt };
        if user_email.is_none() {
            return Err(Error::Settings("a user's email is needed".to_owned()).into());
        }
        let mut is_old = false;
        loop {
            let received = match self.ask(&mut current, &mut patience).await {
                Err(Error::Unreachable { .. }) if is_old => return Err(Error::Forged(Rejected::OldLicense).into()),
                received => received?,
            };
            let unwanted = Unwanted::of(&received.answer);
            // First of all: whatever happens from here on, the session can be found again.
            current.note_taken(&unwanted.id).await;
            let replayed = received.replayed || current.get().unanswered;
            let error = match self.take(received, current.get(), &mut patience).await {
                Ok(taken) => {
                    // A platform that knows `replaces` has ended it.
                    let ended = current.get().asked.replaces.take().filter(|_| unwanted.own);
                    current.settle().await;
                    self.keep_license(&taken.session).await;
                    left.retain(|id| *id != taken.session.id);
                    self.release_left(slot, left, ended);
                    return Ok(taken);
                }
                Err(error) => error,
            };
            current.settle().await;
            match error {
                // What the platform repeated has ended since: that attempt is over.
                Error::SessionEnded(ending) => {
                    self.leave_slot(slot, &unwanted.id).await;
                    patience.pause(Failure::NoAnswer(ending.to_string())).await?;
                }
                // The license was changed between an answer and its repetition.
                Error::Forged(Rejected::OldLicense) if replayed && unwanted.own => {
                    self.let_go(unwanted, None).await;
                    is_old = true;
                    if patience.pause(Failure::NoAnswer(String::new())).await.is_err() {
                        return Err(Error::Forged(Rejected::OldLicense).into());
                    }
                }
                error => return Err(NotTaken { error, unwanted: Some(unwanted) }),
            }
        }
    }

    /// Sends the attempt until there is an answer.
    pub(super) async fn ask(&self, current: &mut Current<'_>, patience: &mut Patience) -> Result<Received<Acquired>, Error> {
        loop {
            current.note().await;
            let attempt = current.get();
            let asked = &attempt.asked;
            let application = Application {
                license_key: self.license_key.expose(),
                hardware_id: &self.hardware_id,
                user_email: &asked.user_email,
                nonce: &asked.nonce,
                replaces: asked.replaces.as_ref().map(Secret::expose),
            };
            let failure = match self.http.acquire(&application, &asked.idempotency_key, patience.left()).await {
                Ok(received) => return Ok(received),
                Err(failure) => failure,
            };
            attempt.may_be_done |= failure.may_be_done();
            match &failure {
                Failure::NoConnection(_) => {}
                Failure::NoAnswer(_) => attempt.unanswered = true,
                Failure::Problem(_) if failure.may_pass() => {}
                Failure::Problem(problem) => {
                    // It came with an answer that was refused, and is no session id at all.
                    let no_session = problem.status == 400 && problem.errors.iter().any(|fault| fault.field == "replaces");
                    let goes_without = no_session && attempt.asked.replaces.is_some();
                    // What another version began may be sent by this one with other bytes.
                    let is_not_known_again = problem.status == 422 && attempt.unanswered;
                    current.settle().await;
                    if goes_without {
                        current.replaces = None;
                    }
                    if (goes_without || is_not_known_again) && current.user_email.is_some() {
                        continue;
                    }
                }
            }
            if let Err(error) = patience.pause(failure).await {
                // What has certainly taken nothing is over.
                if current.attempt.as_ref().is_some_and(|attempt| !attempt.may_be_done) {
                    current.settle().await;
                }
                return Err(error);
            }
        }
    }

    /// Verifies an answer. Its lease must be fresh: if it may be an old answer repeated, a heartbeat brings another.
    async fn take(self: &Arc<Self>, received: Received<Acquired>, attempt: &Attempt, patience: &mut Patience) -> Result<Taken, Error> {
        let Received { answer, sent, replayed } = received;
        let license = self.verifier.license(&answer.license_data.signature, &Expected::default())?;
        let own = answer.certificate.is_some();
        let session = Session { id: Secret::new(answer.session_id), license, license_token: answer.license_data.signature, own };
        let expected = self.expected(&session, attempt.asked.nonce.clone());
        let certificate = answer.certificate.as_deref();
        match self.refresh_keys(false).await {
            // The certificate that came will do, or what is known: a lease by a key that is not among it will tell.
            Ok(()) | Err(Doubt::Failure(_)) => {}
            Err(doubt) => return Err(doubt.into()),
        }
        let (renewal, lease) = if replayed || attempt.unanswered {
            let at_hand = self.checked(&answer.lease, certificate, &expected).await.ok().map(|(lease, _)| lease);
            self.renew_now(&session, at_hand.as_ref(), patience).await?
        } else {
            let lease = loop {
                match self.verified(&answer.lease, certificate, &expected, sent).await {
                    Err(Doubt::Failure(failure)) => patience.pause(failure).await?,
                    outcome => break outcome?,
                }
            };
            let renewal = Renewal {
                until: deadline(&lease.claims, sent),
                heartbeat_after: Duration::from_secs(answer.heartbeat_after),
                seats_used: answer.seats_used,
                seats_total: answer.seats_total,
            };
            (renewal, lease)
        };
        self.refuse_old(&session, lease.claims.license_version)?;
        Ok(Taken { session, lease, renewal })
    }

    /// Refuses a license document of an earlier version than the lease names, or than was seen before.
    fn refuse_old(&self, session: &Session, named: Option<u64>) -> Result<(), Rejected> {
        let LicenseClaims { license_id, .. } = &session.license;
        let seen = self.state.as_ref().map_or(0, |State { memory, .. }| lock(memory).license_version(license_id));
        let expected = Expected { license_version: Some(seen.max(named.unwrap_or(0))), ..Expected::default() };
        self.verifier.license(&session.license_token, &expected).map(|_| ())
    }

    async fn keep_license(&self, session: &Session) {
        let Some(State { place, .. }) = &self.state else { return };
        // Then nothing counts that other sessions on this device have left: see `forget_id`.
        let is_first = place.license_id().is_none();
        // As with the rest of what is kept: what cannot be written cannot be proven offline, no more.
        let _ = place.note_license(&session.license.license_id);
        let Session { id, license, license_token, .. } = session.clone();
        let hardware = hardware_sha256(&self.hardware_id);
        self.remember(move |memory| {
            if is_first {
                memory.forget_others(&license.license_id, &hardware, id.expose())?;
            }
            memory.keep_license(&license_token, &license)
        })
        .await;
    }
}
