//! Settling: what became of a seat whose grant or release failed half-way is found out afterwards.
//!
//! A server that does not answer in time may still do what it was asked. The client was told 503, and the seat must not stay taken
//! by nobody for a TTL. So as soon as both servers answer, such a session is looked up: what the record does not have as live is
//! taken out of Redis, and what was recorded for nobody is ended first. Each is looked at twice, because a commit may land late.

use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::{
    Error,
    records::{FIND, RELEASE},
    scripts::Scripts,
};
use crate::{
    db::Database,
    domain::{Clock, License, LicenseId, Limit, SessionKey, TenantId},
};

/// Most sessions that wait; what is beyond that is found by the next reconciliation.
const MOST: usize = 10_000;
/// Most looks at the same time.
const AT_ONCE: usize = 32;
/// How long to wait for servers that do not answer.
const PAUSE: Duration = Duration::from_millis(500);
/// When to look again: PostgreSQL has given up every statement from before by then, as a rule.
const AGAIN: Duration = Duration::from_secs(6);
/// When to give up: reconciliation has been there by then.
const LONGEST: Duration = Duration::from_secs(1800);

/// A session whose fate is not known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unsettled {
    tenant: TenantId,
    license: LicenseId,
    session: SessionKey,
    /// Its id was told to nobody, and no repeated request can find it: what was recorded of it is ended.
    is_nobodys: bool,
}

impl Unsettled {
    pub(super) const fn new(license: &License, session: SessionKey, is_nobodys: bool) -> Self {
        Self { tenant: license.tenant, license: license.id, session, is_nobodys }
    }
}

#[derive(Debug)]
struct Look {
    of: Unsettled,
    since: Instant,
    at: Instant,
    is_last: bool,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Look>,
    is_served: bool,
}

/// Settles sessions in the background.
#[derive(Debug)]
pub(super) struct Settler {
    scripts: Arc<Scripts>,
    database: Database,
    clock: Arc<dyn Clock>,
    /// Counts nothing.
    uncounted: Limit,
    queue: Mutex<Queue>,
    settled: Counter,
    given_up: Counter,
}

impl Settler {
    pub(super) fn new(scripts: Arc<Scripts>, database: Database, clock: Arc<dyn Clock>, uncounted: Limit) -> Self {
        let (settled, given_up) = (Counter::default(), Counter::default());
        Self { scripts, database, clock, uncounted, queue: Mutex::default(), settled, given_up }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Grants and releases that failed half-way and whose outcome was found out afterwards";
        registry.register("coditect_seats_settled", help, self.settled.clone());
        let help = "Such whose outcome was not found out: reconciliation looks after them";
        registry.register("coditect_seats_unsettled", help, self.given_up.clone());
    }

    /// Settles a session as soon as the servers answer.
    pub(super) fn settle(self: &Arc<Self>, of: Unsettled) {
        let mut queue = self.queue();
        if queue.waiting.len() >= MOST {
            self.given_up.inc();
            return;
        }
        let now = Instant::now();
        queue.waiting.push_back(Look { of, since: now, at: now, is_last: false });
        if !mem::replace(&mut queue.is_served, true) {
            tokio::spawn(Arc::clone(self).serve());
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing that may panic is done under the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(self: Arc<Self>) {
        loop {
            match self.next() {
                Next::Looks(looks) => {
                    let done = join_all(looks.iter().map(|look| self.look(look.of))).await;
                    for (look, done) in looks.into_iter().zip(done) {
                        self.put_back(look, done);
                    }
                }
                Next::Later(at) => sleep_until(at).await,
                Next::Nothing => return,
            }
        }
    }

    fn next(&self) -> Next {
        let mut queue = self.queue();
        let Some(first) = queue.waiting.iter().map(|look| look.at).min() else {
            queue.is_served = false;
            return Next::Nothing;
        };
        let now = Instant::now();
        if first > now {
            return Next::Later(first);
        }
        let (mut looks, mut later) = (Vec::new(), VecDeque::new());
        for look in mem::take(&mut queue.waiting) {
            if look.at <= now && looks.len() < AT_ONCE { looks.push(look) } else { later.push_back(look) }
        }
        queue.waiting = later;
        Next::Looks(looks)
    }

    fn put_back(&self, mut look: Look, done: Result<(), Error>) {
        let now = Instant::now();
        match done {
            Ok(()) if look.is_last => {
                self.settled.inc();
                return;
            }
            Ok(()) => (look.at, look.is_last) = (now + AGAIN, true),
            Err(error) if now - look.since >= LONGEST => {
                tracing::warn!(license = %look.of.license, %error, "a seat could not be settled: reconciliation looks after it");
                self.given_up.inc();
                return;
            }
            Err(_) => look.at = now + PAUSE,
        }
        self.queue().waiting.push_back(look);
    }

    async fn look(&self, of: Unsettled) -> Result<(), Error> {
        let (license, session) = (of.license.as_uuid(), of.session.as_uuid());
        let lives = if of.is_nobodys {
            let (ids, licenses): (Vec<Uuid>, Vec<Uuid>) = (vec![session], vec![license]);
            self.database.query_as(of.tenant, RELEASE, &[&of.tenant.as_uuid(), &ids, &licenses, &self.clock.now()]).await?;
            false
        } else {
            let rows = self.database.query_as(of.tenant, FIND, &[&session, &license]).await?;
            match rows.first() {
                Some(row) => row.try_get::<_, Option<&str>>(2)?.is_none(),
                None => false,
            }
        };
        if !lives {
            self.scripts.release(of.license, of.session, self.uncounted).await?;
        }
        Ok(())
    }
}

/// What the one who serves the queue does next.
enum Next {
    Looks(Vec<Look>),
    Later(Instant),
    Nothing,
}
