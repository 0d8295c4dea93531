//! Sessions that nobody uses: given in an answer that was refused, or left behind by a program that died. Each is noted, in the slot
//! of the program that took it, until it is released or replaced.

use std::{sync::Arc, time::Duration};

use super::{
    Core, Session, State,
    acquire::{Attempt, Current},
    lock,
    renew::claimed,
};
use crate::{
    Error, Released, SeatUnit,
    memory::Slots,
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
    /// A slot for a program that begins, the sessions that were left behind in it or by this client, and an acquire of which it is not
    /// known what became of it.
    pub(super) fn claim_slot(&self) -> (Option<Arc<Slot>>, Vec<Secret>, Option<Attempt>) {
        let mut left = std::mem::take(&mut *lock(&self.left));
        let unsettled = lock(&self.unsettled).pop();
        let Some(State { place, .. }) = &self.state else { return (None, left, unsettled) };
        let of_unsettled = unsettled.as_ref().and_then(|attempt| attempt.slot.clone());
        let slot = of_unsettled.or_else(|| Slot::claim(place, names(&self.slots())).map(Arc::new));
        let Some(slot) = slot else { return (None, left, unsettled) };
        // Once more: until the slot was claimed, its program may have lived.
        let slots = self.slots();
        left.extend(self.left_in(&slot, &slots));
        let attempt = unsettled.or_else(|| asked_in(&slot, &slots).pop());
        (Some(slot), left, attempt)
    }

    /// What stands in the slots of this license key and device now.
    fn slots(&self) -> Slots {
        self.state.as_ref().map_or_else(Slots::default, |State { memory, place }| lock(memory).slots(&place.slots()))
    }

    /// The sessions that were left behind in a slot. One that stands in another slot too is shared by a program that may run: older
    /// platforms give one to all programs of a device.
    fn left_in(&self, slot: &Slot, slots: &Slots) -> Vec<Secret> {
        let (own, others): (Vec<_>, Vec<_>) = slots.taken.iter().partition(|(name, _)| name == slot.name());
        let is_shared = |id: &String| others.iter().any(|(_, ids)| ids.contains(id));
        let left = own.into_iter().flat_map(|(_, ids)| ids).filter(|id| !is_shared(id)).map(Secret::new);
        let saved = lock(&self.saved);
        left.filter(|id| !saved.contains(id)).collect()
    }

    /// Takes a session off a slot's list: it is nobody's any more, or in other hands.
    pub(crate) async fn leave_slot(&self, slot: Option<&Arc<Slot>>, id: &Secret) {
        let Some(slot) = slot.cloned() else { return };
        let id = id.clone();
        self.remember(move |memory| memory.leave_slot(slot.name(), id.expose())).await;
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
    pub(super) fn release_left(self: &Arc<Self>, slot: Option<&Arc<Slot>>, left: Vec<Secret>, ended: Option<Secret>) {
        if left.is_empty() {
            return;
        }
        let (core, slot) = (Arc::clone(self), slot.cloned());
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

    /// Releases what programs that run no more have left behind, and answers how many sessions were released.
    pub(super) async fn release_left_behind(&self) -> Result<usize, Error> {
        let mut released = 0;
        loop {
            let next = lock(&self.left).last().cloned();
            let Some(id) = next else { break };
            released += usize::from(self.release_id(&id, self.patience).await? == Released::Released);
            lock(&self.left).retain(|left| *left != id);
        }
        loop {
            let next = lock(&self.unsettled).pop();
            let Some(attempt) = next else { break };
            let slot = attempt.slot.clone();
            released += usize::from(self.undo(slot.as_ref(), attempt).await? == Released::Released);
        }
        let Some(State { place, .. }) = &self.state else { return Ok(released) };
        for name in names(&self.slots()) {
            // One whose program runs is none of ours.
            let Ok(slot) = Slot::lock(place, name).map(Arc::new) else { continue };
            for attempt in asked_in(&slot, &self.slots()) {
                released += usize::from(self.undo(Some(&slot), attempt).await? == Released::Released);
            }
            for id in self.left_in(&slot, &self.slots()) {
                released += usize::from(self.release_id(&id, self.patience).await? == Released::Released);
            }
        }
        Ok(released)
    }

    /// Asks once more what an acquire asked of which it is not known what became of it, and releases the session that it is answered with:
    /// the one that it took then, if it did.
    async fn undo(&self, slot: Option<&Arc<Slot>>, attempt: Attempt) -> Result<Released, Error> {
        let presence = self.enter().await?;
        let mut current = Current::earlier(self, slot, attempt);
        let answer = match self.ask(&mut current, &mut Patience::of(self.patience)).await {
            Ok(received) => received.answer,
            Err(error @ Error::Unreachable { .. }) => return Err(error),
            // It was refused: then it has taken nothing.
            Err(_) => return Ok(Released::AlreadyEnded),
        };
        let Unwanted { id, own } = Unwanted::of(&answer);
        current.note_taken(&id).await;
        current.settle().await;
        let released = self.give_back_id(&id, !own, presence, self.patience).await?;
        if released == Released::InUse {
            self.leave_slot(slot, &id).await;
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
                // Absent from older platforms, of which a release is all that is known.
                Ok(received) if received.answer.ended_reason.as_deref().is_none_or(|reason| reason == "released") => {
                    break Released::Released;
                }
                Ok(_) => break Released::AlreadyEnded,
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

    /// Keeps nothing of a session that is over. If that cannot be written, as on a full disk, what is kept must prove nothing all the same:
    /// then the file goes that names the license, which needs no space.
    pub(crate) async fn forget_id(&self, id: &Secret) {
        let gone = id.clone();
        if self.remember(move |memory| memory.forget_session(gone.expose())).await {
            return;
        }
        let lease = self.kept().lease.and_then(|token| claimed(&token));
        if let Some(State { place, .. }) = &self.state
            && lease.is_some_and(|lease| lease.session_id == id.expose())
        {
            // If not even that can be done, the lease ends by itself.
            let _ = place.forget_license();
        }
    }
}

/// The names of slots in which something stands, once each; those with an acquire that was not answered come first.
fn names(slots: &Slots) -> impl Iterator<Item = String> + use<> {
    let asked: Vec<String> = slots.asked.iter().map(|(name, _)| name.clone()).collect();
    let taken: Vec<String> = slots.taken.iter().map(|(name, _)| name.clone()).filter(|name| !asked.contains(name)).collect();
    asked.into_iter().chain(taken)
}

/// The acquires of a slot of which it is not known what became of them.
fn asked_in(slot: &Slot, slots: &Slots) -> Vec<Attempt> {
    let own = slots.asked.iter().filter(|(name, _)| name == slot.name());
    own.flat_map(|(_, asked)| asked.iter().cloned()).map(Attempt::taken_over).collect()
}
