//! Taking a seat.

use std::{sync::Arc, time::Duration};

use super::{Core, Doubt, Lease, Renewal, Session, State, lock, renew::deadline};
use crate::{
    Error, Expected, Seat,
    patience::Patience,
    random,
    secret::Secret,
    wire::{Acquired, Application, Failure, Received},
};

/// One acquire to the platform, however often it is sent.
#[derive(Debug)]
pub(super) struct Attempt {
    idempotency_key: String,
    nonce: String,
    /// It was sent, and no answer came: the platform may have carried it out a while ago.
    unanswered: bool,
}

/// The attempt that an acquire is at. It is put aside for the next acquire unless its outcome is known.
struct Current<'a> {
    core: &'a Core,
    attempt: Option<Attempt>,
}

impl Current<'_> {
    fn get(&mut self) -> &mut Attempt {
        self.attempt.get_or_insert_with(|| Attempt { idempotency_key: random::token(), nonce: random::token(), unanswered: false })
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

impl Core {
    pub(super) async fn acquire(self: &Arc<Self>) -> Result<Seat, Error> {
        // Before the call: else whoever leaves meanwhile would release the session that it answers.
        let presence = self.enter().await?;
        let mut patience = Patience::of(self.patience);
        let mut current = Current { core: self, attempt: lock(&self.unsettled).pop() };
        loop {
            let received = self.ask(&mut current, &mut patience).await?;
            let (session, outcome) = self.take(received, current.get(), &mut patience).await?;
            match outcome {
                Ok((renewal, lease)) => {
                    current.settle();
                    self.keep_license(&session).await;
                    return Ok(Seat::begin(Arc::clone(self), session, lease, renewal, presence));
                }
                // What the platform repeated has ended since: that attempt is over.
                Err(Error::SessionEnded(ending)) => {
                    current.settle();
                    patience.pause(Failure::NoAnswer(ending.to_string())).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends the attempt until there is an answer.
    async fn ask(&self, current: &mut Current<'_>, patience: &mut Patience) -> Result<Received<Acquired>, Error> {
        let user_email = self.user_email.as_deref().ok_or_else(|| Error::Settings("a user's email is needed".to_owned()))?;
        loop {
            let attempt = current.get();
            let application =
                Application { license_key: self.license_key.expose(), hardware_id: &self.hardware_id, user_email, nonce: &attempt.nonce };
            let failure = match self.http.acquire(&application, &attempt.idempotency_key, patience.left()).await {
                Ok(received) => return Ok(received),
                Err(failure) => failure,
            };
            match failure {
                Failure::NoAnswer(_) => attempt.unanswered = true,
                Failure::Problem(_) if failure.may_pass() => {}
                Failure::Problem(_) => current.settle(),
            }
            patience.pause(failure).await?;
        }
    }

    /// Verifies an answer. Its lease must be fresh: if it may be an old answer repeated, a heartbeat brings another.
    async fn take(
        &self,
        received: Received<Acquired>,
        attempt: &Attempt,
        patience: &mut Patience,
    ) -> Result<(Session, Result<(Renewal, Lease), Error>), Error> {
        let Received { answer, sent, replayed } = received;
        let license = self.verifier.license(&answer.license_data.signature, &Expected::default())?;
        let session = Session { id: Secret::new(answer.session_id), license, license_token: answer.license_data.signature };
        let expected = self.expected(&session, attempt.nonce.clone());
        if replayed || attempt.unanswered {
            let at_hand = self.checked(&answer.lease, &expected).await.ok().map(|(lease, _)| lease);
            let renewed = self.renew_now(&session, at_hand.as_ref(), patience).await;
            return Ok((session, renewed));
        }
        let lease = loop {
            match self.verified(&answer.lease, &expected, sent).await {
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
        Ok((session, Ok((renewal, lease))))
    }

    async fn keep_license(&self, session: &Session) {
        let Some(State { place, .. }) = &self.state else { return };
        // As with the rest of what is kept: what cannot be written cannot be proven offline, no more.
        let _ = place.note_license(&session.license.license_id);
        let Session { license, license_token, .. } = session.clone();
        self.remember(move |memory| memory.keep_license(&license_token, &license)).await;
    }
}
