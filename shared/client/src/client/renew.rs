//! A heartbeat and what it proves.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use super::{Core, offline::moment};
use crate::{
    Deadline, Error, Expected, LeaseClaims, LicenseClaims, PublishedKeys, Rejected, json, jws,
    patience::Patience,
    random,
    secret::Secret,
    wire::{Failure, Received, Renewed},
};

/// A session with the license it belongs to.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) id: Secret,
    pub(crate) license: LicenseClaims,
    /// The license document, signed.
    pub(crate) license_token: String,
    /// No other program has the same session: older platforms give one to all programs of a device.
    pub(crate) own: bool,
}

/// A lease that was verified.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    pub(crate) claims: LeaseClaims,
    pub(crate) token: String,
}

/// What a call that renewed a session says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Renewal {
    /// When the seat ends without another.
    pub(crate) until: Deadline,
    pub(crate) heartbeat_after: Duration,
    pub(crate) seats_used: u32,
    pub(crate) seats_total: u32,
}

/// Why an answer proves nothing.
#[derive(Debug)]
pub(crate) enum Doubt {
    /// There is none.
    Failure(Failure),
    /// It is not to be trusted.
    Rejected(Rejected),
    /// It is genuine, but this machine's clock is wrong.
    WrongClock { by: Duration, ahead: bool },
}

impl From<Rejected> for Doubt {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}

impl From<Doubt> for Error {
    fn from(doubt: Doubt) -> Self {
        match doubt {
            Doubt::Failure(failure) => failure.into(),
            Doubt::Rejected(rejected) => rejected.into(),
            Doubt::WrongClock { by, ahead } => Self::WrongClock { by, ahead },
        }
    }
}

impl Core {
    /// One heartbeat, verified. No lease is no doubt, nor is one that cannot be verified for want of a key: the session is renewed
    /// all the same.
    pub(crate) async fn renew(self: &Arc<Self>, session: &Session, limit: Duration) -> Result<(Renewal, Option<Lease>), Doubt> {
        let nonce = random::token();
        let known_leaf = self.known_leaf();
        let beat = self.http.heartbeat(session.id.expose(), &nonce, known_leaf.as_deref(), limit).await;
        let Received { answer, sent, .. } = beat.map_err(Doubt::Failure)?;
        let lease = match &answer.lease {
            Some(token) => match self.verified(token, answer.certificate.as_deref(), &self.expected(session, nonce), sent).await {
                Ok(lease) => Some(lease),
                Err(Doubt::Failure(_)) => None,
                Err(doubt) => return Err(doubt),
            },
            None => None,
        };
        if self.keys_are_due() {
            // Only for the revocation list, and nobody waits for it.
            let core = Arc::clone(self);
            tokio::spawn(async move { core.refresh_keys(false).await });
        }
        let until = lease.as_ref().map_or_else(|| unsigned_deadline(&answer, session, sent), |lease| deadline(&lease.claims, sent));
        let Renewed { heartbeat_after, seats_used, seats_total, .. } = answer;
        Ok((Renewal { until, heartbeat_after: Duration::from_secs(heartbeat_after), seats_used, seats_total }, lease))
    }

    /// Heartbeats until one brings a lease, or one is renewed for which the lease at hand still holds.
    pub(super) async fn renew_now(
        self: &Arc<Self>,
        session: &Session,
        at_hand: Option<&Lease>,
        patience: &mut Patience,
    ) -> Result<(Renewal, Lease), Error> {
        loop {
            let failure = match self.renew(session, patience.left()).await {
                Ok((renewal, Some(lease))) => return Ok((renewal, lease)),
                Ok((renewal, None)) => match at_hand {
                    Some(lease) => return Ok((renewal, lease.clone())),
                    None => Failure::NoAnswer("the platform sends no lease that can be verified".to_owned()),
                },
                Err(Doubt::Failure(failure)) => failure,
                Err(doubt) => return Err(doubt.into()),
            };
            patience.pause(failure).await?;
        }
    }

    /// What the lease of this session on this machine must say.
    pub(super) fn expected(&self, session: &Session, nonce: String) -> Expected {
        Expected {
            tenant_id: Some(session.license.tenant_id.clone()),
            license_id: Some(session.license.license_id.clone()),
            session_id: Some(session.id.expose().to_owned()),
            hardware_id: Some(self.hardware_id.clone()),
            nonce: Some(nonce),
            ..Expected::default()
        }
    }

    /// Verifies a lease that answers a nonce sent just now, keeps it, and learns from it what time it is.
    pub(super) async fn verified(
        &self,
        token: &str,
        certificate: Option<&str>,
        expected: &Expected,
        sent: Instant,
    ) -> Result<Lease, Doubt> {
        let (lease, now) = self.checked(token, certificate, expected).await?;
        self.know_leaf(&lease, certificate).await;
        self.clock.prove(moment(lease.claims.iat), sent);
        let kept = lease.clone();
        self.remember(move |memory| memory.keep_lease(&kept.token, &kept.claims, now)).await;
        Ok(lease)
    }

    /// Verifies a lease; also as of when it held.
    pub(super) async fn checked(&self, token: &str, certificate: Option<&str>, expected: &Expected) -> Result<(Lease, SystemTime), Doubt> {
        let (claims, now) = match self.judge(token, &self.known_keys(certificate), expected) {
            // A new leaf, of a platform that sends no certificates: it is published before it signs.
            Err(Doubt::Rejected(Rejected::UnknownLeaf)) => {
                self.refresh_keys(true).await?;
                self.judge(token, &self.known_keys(certificate), expected)?
            }
            judged => judged?,
        };
        Ok((Lease { claims, token: token.to_owned() }, now))
    }

    /// Verifies a lease by every reading of the clock.
    fn judge(&self, token: &str, published: &PublishedKeys, expected: &Expected) -> Result<(LeaseClaims, SystemTime), Doubt> {
        let mut refused = None;
        for now in self.clock.readings() {
            match self.verifier.lease(token, published, expected, now) {
                Ok(claims) => return Ok((claims, now)),
                Err(rejected) => refused = refused.or(Some(rejected)),
            }
        }
        let rejected = refused.expect("the clock has at least the machine's reading");
        let untimely =
            matches!(rejected, Rejected::NotYetValid | Rejected::Expired | Rejected::CertificateNotYetValid | Rejected::CertificateExpired);
        // A lease with our nonce that held when it was made was made just now: it is the clock that is wrong.
        if untimely
            && let Some(issued) = claimed(token).map(|claims| moment(claims.iat))
            && self.verifier.lease(token, published, expected, issued).is_ok()
        {
            return Err(match self.clock.wall().duration_since(issued) {
                Ok(by) => Doubt::WrongClock { by, ahead: true },
                Err(earlier) => Doubt::WrongClock { by: earlier.duration(), ahead: false },
            });
        }
        Err(rejected.into())
    }
}

/// When a lease ends, counted from the sending of the call that it answers: never later than the platform counts.
pub(super) fn deadline(lease: &LeaseClaims, sent: Instant) -> Deadline {
    Deadline { at: moment(lease.exp), instant: sent + Duration::from_secs(lease.exp.saturating_sub(lease.iat)) }
}

/// When a session ends that was renewed without a signature: never later than one TTL of the license, which is signed.
fn unsigned_deadline(answer: &Renewed, session: &Session, sent: Instant) -> Deadline {
    let ttl = answer.expires_at.duration_since(answer.last_heartbeat).unwrap_or_default();
    Deadline { at: answer.expires_at, instant: sent + ttl.min(Duration::from_secs(session.license.session_ttl_seconds)) }
}

/// What a lease says of itself, unverified.
pub(super) fn claimed(token: &str) -> Option<LeaseClaims> {
    json::claims(&jws::parse(token).ok()?.payload).ok()
}
