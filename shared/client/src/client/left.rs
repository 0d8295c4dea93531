//! Sessions that nobody uses: given in an answer that was refused, or left behind by a program that died. Each is noted, in the slot
//! of the program that took it, until it is released or replaced.

use std::{sync::Arc, time::Duration};

use super::{Core, Session, State, lock};
use crate::{
    Error, Released, SeatUnit,
    patience::Patience,
    presence::Presence,
    secret::Secret,
    slot::Slot,
    wire::{Acquired, Failure},
};

/// How long releasing a session that is not wanted may hold up the error that says why.
const PATIENCE: Duration = Duration::from_secs(3);

/// A session that the platform has given and this client does not want.
#[derive(Clone, Debug)]
pub(crate) struct Unwanted {
    pub(super) id: Secret,
    pub(super) own: bool,
}

impl Unwanted {
    /// By an answer of which nothing has been verified.
    pub(super) fn of(answer: &Acquired) -> Self {
        Self { id: Secret::new(&answer.session_id), own: answer.certificate.is_some() }
    }
}

impl Core {
    /// A slot for a program that begins, and the sessions that were left behind in it or by this client.
    pub(super) fn claim_slot(&self) -> (Option<Slot>, Vec<Secret>) {
        let mut left = std::mem::take(&mut *lock(&self.left));
        let Some(State { memory, place }) = &self.state else { return (None, left) };
        let taken = lock(memory).taken(&place.slots());
        let slot = Slot::claim(place, taken.iter().map(|(slot, _)| slot.clone()));
        if let Some(slot) = &slot {
            // Once more: until the slot was claimed, its program may have lived.
            left.extend(left_in(slot, lock(memory).taken(&place.slots())));
        }
        (slot, left)
    }

    pub(super) async fn note_taken(&self, slot: Option<&Slot>, id: &Secret) {
        let Some(slot) = slot.map(|slot| slot.name().to_owned()) else { return };
        let id = id.clone();
        self.remember(move |memory| memory.note_taken(&slot, id.expose())).await;
    }

    /// Takes a session off a slot's list: it is nobody's any more, or in other hands.
    pub(crate) async fn leave_slot(&self, slot: Option<&Slot>, id: &Secret) {
        let Some(slot) = slot.map(|slot| slot.name().to_owned()) else { return };
        let id = id.clone();
        self.remember(move |memory| memory.leave_slot(&slot, id.expose())).await;
    }

    /// Releases a session that is not wanted, as well as it can be done now. If it fails, the next acquire or
    /// [`release_left_behind`](Self::release_left_behind) does it.
    pub(crate) async fn let_go(&self, unwanted: Unwanted, presence: Option<Presence>) {
        let _alone = match presence {
            // An older platform gives all programs of a device one session.
            Some(presence) if !unwanted.own => match presence.leave() {
                Ok(Some(alone)) => Some(alone),
                Ok(None) | Err(_) => return,
            },
            Some(_) | None => None,
        };
        if self.release_id(&unwanted.id, PATIENCE.min(self.patience)).await.is_err() {
            lock(&self.left).push(unwanted.id);
        }
    }

    /// Releases sessions that were left behind, in the background; one that the platform has ended already is only taken off the list.
    pub(super) fn release_left(self: &Arc<Self>, slot: Option<&Slot>, left: Vec<Secret>, ended: Option<Secret>) {
        if left.is_empty() {
            return;
        }
        let (core, slot) = (Arc::clone(self), slot.map(|slot| slot.name().to_owned()));
        tokio::spawn(async move {
            for id in left {
                if ended.as_ref() == Some(&id) {
                    core.forget_id(&id).await;
                } else if core.release_id(&id, core.patience).await.is_err() && slot.is_none() {
                    lock(&core.left).push(id);
                }
            }
        });
    }

    /// Releases what programs that run no more have left behind, and answers how many sessions that were.
    pub(super) async fn release_left_behind(&self) -> Result<usize, Error> {
        let mut released = 0;
        let of_this = std::mem::take(&mut *lock(&self.left));
        for id in of_this {
            self.release_id(&id, self.patience).await?;
            released += 1;
        }
        let Some(State { memory, place }) = &self.state else { return Ok(released) };
        let slots = lock(memory).taken(&place.slots());
        for (name, _) in slots {
            // One whose program runs is none of ours.
            let Ok(slot) = Slot::lock(place, name) else { continue };
            let left = left_in(&slot, lock(memory).taken(&place.slots()));
            for id in left {
                self.release_id(&id, self.patience).await?;
                released += 1;
            }
        }
        Ok(released)
    }

    /// Releases a session, unless others on this device share it.
    pub(crate) async fn give_back(&self, session: &Session, presence: Option<Presence>, patience: Duration) -> Result<Released, Error> {
        let shared = !session.own && session.license.seat_unit == SeatUnit::Device;
        self.give_back_id(&session.id, shared, presence, patience).await
    }

    pub(super) async fn give_back_id(
        &self,
        id: &Secret,
        shared: bool,
        presence: Option<Presence>,
        patience: Duration,
    ) -> Result<Released, Error> {
        // If the lock fails us, the seat is rather left to expire than taken from somebody.
        let _alone = match presence {
            Some(presence) if shared => match presence.leave() {
                Ok(Some(alone)) => Some(alone),
                Ok(None) | Err(_) => return Ok(Released::InUse),
            },
            Some(_) | None => None,
        };
        self.release_id(id, patience).await
    }

    async fn release_id(&self, id: &Secret, patience: Duration) -> Result<Released, Error> {
        let mut patience = Patience::of(patience);
        let released = loop {
            match self.http.release(id.expose(), patience.left()).await {
                Ok(_) => break Released::Released,
                // 400: it came with an answer that was refused, and is no session id at all.
                Err(Failure::Problem(problem)) if matches!(problem.status, 400 | 404 | 410) && problem.code.is_some() => {
                    break Released::AlreadyEnded;
                }
                Err(failure) => patience.pause(failure).await?,
            }
        };
        self.forget_id(id).await;
        Ok(released)
    }

    /// Keeps nothing of a session that is over.
    pub(crate) async fn forget_id(&self, id: &Secret) {
        let id = id.clone();
        self.remember(move |memory| memory.forget_session(id.expose())).await;
    }
}

/// The sessions that were left behind in a slot. One that stands in another slot too is shared by a program that may run: older
/// platforms give one to all programs of a device.
fn left_in(slot: &Slot, taken: Vec<(String, Vec<String>)>) -> Vec<Secret> {
    let (own, others): (Vec<_>, Vec<_>) = taken.into_iter().partition(|(name, _)| name == slot.name());
    let is_shared = |id: &String| others.iter().any(|(_, ids)| ids.contains(id));
    own.into_iter().flat_map(|(_, ids)| ids).filter(|id| !is_shared(id)).map(Secret::new).collect()
}
