//! Taking a seat.

use std::{sync::Arc, time::Duration};

use super::{Core, Doubt, Lease, Renewal, Session, State, left::Unwanted, lock, renew::deadline};
use crate::{
    Error, Expected, LicenseClaims, Rejected, Seat,
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
    idempotency_key: String,
    nonce: String,
    /// The session of a dead program, or of this one before its session ended.
    replaces: Option<Secret>,
    /// It was sent, and no answer came: the platform may have carried it out a while ago.
    unanswered: bool,
}

/// The attempt that an acquire is at. It is put aside for the next acquire unless its outcome is known.
struct Current<'a> {
    core: &'a Core,
    replaces: Option<Secret>,
    attempt: Option<Attempt>,
}

impl Current<'_> {
    fn get(&mut self) -> &mut Attempt {
        let replaces = &self.replaces;
        self.attempt.get_or_insert_with(|| Attempt {
            idempotency_key: random::token(),
            nonce: random::token(),
            replaces: replaces.clone(),
            unanswered: false,
        })
    }

    /// It is known what became of it.
    fn settle(&mut self) {
        self.attempt = None;
    }
}

impl Drop for Current<'_> {
    fn drop(&mut self) {
        if let Some(attempt) = self.attempt.take() {
            lock(&self.core.unsettled).push(Attempt { unanswered: true, ..attempt });
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
        let (slot, left) = self.claim_slot();
        match self.take_seat(slot.as_ref(), left).await {
            Ok(taken) => Ok(Seat::begin(Arc::clone(self), taken, Place { presence, slot })),
            Err(NotTaken { error, unwanted }) => {
                if let Some(unwanted) = unwanted {
                    self.let_go(unwanted, presence).await;
                }
                Err(error)
            }
        }
    }

    /// Takes a seat, in place of the last of the sessions that were left behind, and releases the others.
    pub(crate) async fn take_seat(self: &Arc<Self>, slot: Option<&Slot>, mut left: Vec<Secret>) -> Result<Taken, NotTaken> {
        let mut patience = Patience::of(self.patience);
        let mut current = Current { core: self, replaces: left.last().cloned(), attempt: lock(&self.unsettled).pop() };
        let mut is_old = false;
        loop {
            let received = match self.ask(&mut current, &mut patience).await {
                Err(Error::Unreachable { .. }) if is_old => return Err(Error::Forged(Rejected::OldLicense).into()),
                received => received?,
            };
            let unwanted = Unwanted::of(&received.answer);
            // First of all: whatever happens from here on, the session can be found again.
            self.note_taken(slot, &unwanted.id).await;
            let replayed = received.replayed || current.get().unanswered;
            let error = match self.take(received, current.get(), &mut patience).await {
                Ok(taken) => {
                    // A platform that knows `replaces` has ended it.
                    let ended = current.get().replaces.take().filter(|_| unwanted.own);
                    current.settle();
                    self.keep_license(&taken.session).await;
                    left.retain(|id| *id != taken.session.id);
                    self.release_left(slot, left, ended);
                    return Ok(taken);
                }
                Err(error) => error,
            };
            current.settle();
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
    async fn ask(&self, current: &mut Current<'_>, patience: &mut Patience) -> Result<Received<Acquired>, Error> {
        let user_email = self.user_email.as_deref().ok_or_else(|| Error::Settings("a user's email is needed".to_owned()))?;
        loop {
            let attempt = current.get();
            let application = Application {
                license_key: self.license_key.expose(),
                hardware_id: &self.hardware_id,
                user_email,
                nonce: &attempt.nonce,
                replaces: attempt.replaces.as_ref().map(Secret::expose),
            };
            let failure = match self.http.acquire(&application, &attempt.idempotency_key, patience.left()).await {
                Ok(received) => return Ok(received),
                Err(failure) => failure,
            };
            match failure {
                Failure::NoAnswer(_) => attempt.unanswered = true,
                Failure::Problem(_) if failure.may_pass() => {}
                // It came with an answer that was refused, and is no session id at all.
                Failure::Problem(ref problem) if problem.status == 400 && problem.errors.iter().any(|fault| fault.field == "replaces") => {
                    current.settle();
                    if current.replaces.take().is_some() {
                        continue;
                    }
                }
                Failure::Problem(_) => current.settle(),
            }
            patience.pause(failure).await?;
        }
    }

    /// Verifies an answer. Its lease must be fresh: if it may be an old answer repeated, a heartbeat brings another.
    async fn take(self: &Arc<Self>, received: Received<Acquired>, attempt: &Attempt, patience: &mut Patience) -> Result<Taken, Error> {
        let Received { answer, sent, replayed } = received;
        let license = self.verifier.license(&answer.license_data.signature, &Expected::default())?;
        let own = answer.certificate.is_some();
        let session = Session { id: Secret::new(answer.session_id), license, license_token: answer.license_data.signature, own };
        let expected = self.expected(&session, attempt.nonce.clone());
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
        // As with the rest of what is kept: what cannot be written cannot be proven offline, no more.
        let _ = place.note_license(&session.license.license_id);
        let Session { license, license_token, .. } = session.clone();
        self.remember(move |memory| memory.keep_license(&license_token, &license)).await;
    }
}
