//! When keys change: pure rules.

use std::time::Duration;

use super::CACHE_SECONDS;
use crate::domain::Timestamp;

/// The longest lease there can be: the longest TTL that a policy may have.
pub(super) const LONGEST_LEASE: Duration = Duration::from_secs(86_400);
/// Containers' clocks differ: a certificate holds from a little before it was made.
pub(super) const CLOCK_DIFFERENCE: Duration = Duration::from_secs(60);

/// How long a leaf signs, and how long ahead the next one is made and published.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// How long a leaf signs.
    pub signs_for: Duration,
    /// How long before that ends the next one is made, at the latest.
    pub made_ahead: Duration,
    /// How long a new leaf is published before it signs: longer than anyone may keep what was published before.
    pub published_ahead: Duration,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            signs_for: Duration::from_secs(86_400),
            made_ahead: Duration::from_secs(7_200),
            published_ahead: Duration::from_secs(2 * CACHE_SECONDS),
        }
    }
}

/// The states of a leaf that somebody may still see.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum State {
    Pending,
    Active,
    Retired,
}

/// A leaf as the rules see it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) kid: String,
    pub(super) state: State,
    /// Certified by the root that signs now.
    pub(super) is_ours: bool,
    pub(super) signs_from: Timestamp,
    pub(super) signs_until: Timestamp,
    pub(super) expires_at: Timestamp,
}

/// A leaf to be made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Make {
    pub(super) signs_from: Timestamp,
    /// It signs at once, because nothing else does.
    pub(super) is_active: bool,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Plan {
    pub(super) purge: Vec<String>,
    pub(super) retire: Option<String>,
    pub(super) activate: Option<String>,
    pub(super) make: Option<Make>,
}

/// How long the keys still last.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Outlook {
    /// When the leaf that signs now was to stop, if one signs.
    pub signs_until: Option<Timestamp>,
    /// Whether the next one is made and published.
    pub has_next: bool,
    /// Whether the rotation has missed a window: nothing signs, or the next leaf is not made although half of the time for it is
    /// over, or has not taken over when it should have.
    pub is_late: bool,
}

impl Schedule {
    /// How long these leaves last.
    pub(super) fn outlook(&self, now: Timestamp, leaves: &[Known]) -> Outlook {
        let signs_until = leaves.iter().find(|leaf| leaf.state == State::Active).map(|leaf| leaf.signs_until);
        let has_next = leaves.iter().any(|leaf| leaf.state == State::Pending);
        let late_from = |until| if has_next { until + self.published_ahead } else { until - self.made_ahead / 2 };
        Outlook { signs_until, has_next, is_late: signs_until.is_none_or(|until| late_from(until) <= now) }
    }

    /// What is due now. `leaves` are those that are not gone: at most one of them active and one pending.
    pub(super) fn plan(&self, now: Timestamp, leaves: &[Known]) -> Plan {
        let of = |state: State| leaves.iter().find(|leaf| leaf.state == state);
        let (active, pending) = (of(State::Active), of(State::Pending));
        let mut plan = Plan::default();
        let over = leaves.iter().filter(|leaf| leaf.state == State::Retired && leaf.expires_at <= now);
        // One that has not signed, certified by a root that is no longer ours, never will.
        let strange = pending.filter(|leaf| !leaf.is_ours);
        plan.purge = over.chain(strange).map(|leaf| leaf.kid.clone()).collect();

        let pending = pending.filter(|leaf| leaf.is_ours);
        let wants_successor = active.is_none_or(|leaf| !leaf.is_ours || leaf.signs_until <= now);
        // Where nothing signs, the next one does not wait until everybody must know of it.
        let successor = pending.filter(|leaf| wants_successor && (active.is_none() || leaf.signs_from <= now));
        if let Some(successor) = successor {
            plan.retire = active.map(|leaf| leaf.kid.clone());
            plan.activate = Some(successor.kid.clone());
        }
        let signs = successor.or(active);
        let has_next = pending.is_some() && successor.is_none();
        plan.make = match signs {
            None => Some(Make { signs_from: now, is_active: true }),
            Some(leaf) if !has_next && (!leaf.is_ours || leaf.signs_until <= now + self.made_ahead.max(self.published_ahead)) => {
                Some(Make { signs_from: (now + self.published_ahead).max(leaf.signs_until.min(now + self.made_ahead)), is_active: false })
            }
            Some(_) => None,
        };
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::from_millis;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(hours: i32) -> Timestamp {
        from_millis(1_700_000_000_000) + HOUR * u32::try_from(hours).unwrap()
    }

    fn leaf(kid: &str, state: State, from: i32, until: i32) -> Known {
        Known {
            kid: kid.to_owned(),
            state,
            is_ours: true,
            signs_from: at(from),
            signs_until: at(until),
            expires_at: at(until) + LONGEST_LEASE,
        }
    }

    #[test]
    fn the_first_leaf_signs_at_once() {
        let plan = Schedule::default().plan(at(0), &[]);
        assert_eq!(plan, Plan { make: Some(Make { signs_from: at(0), is_active: true }), ..Plan::default() });
    }

    #[test]
    fn the_next_is_made_two_hours_ahead_and_takes_over_when_it_is_time() {
        let schedule = Schedule::default();
        let mut leaves = vec![leaf("one", State::Active, 0, 24)];
        assert_eq!(schedule.plan(at(21), &leaves), Plan::default());
        assert_eq!(schedule.plan(at(22), &leaves).make, Some(Make { signs_from: at(24), is_active: false }));
        leaves.push(leaf("two", State::Pending, 24, 48));
        assert_eq!(schedule.plan(at(23), &leaves), Plan::default());
        let plan = schedule.plan(at(24), &leaves);
        assert_eq!((plan.retire.as_deref(), plan.activate.as_deref(), plan.make), (Some("one"), Some("two"), None));
    }

    #[test]
    fn a_job_that_comes_late_leaves_the_old_one_to_sign_until_the_next_is_known() {
        let schedule = Schedule::default();
        let leaves = [leaf("one", State::Active, 0, 24)];
        let plan = schedule.plan(at(30), &leaves);
        assert_eq!(plan.make, Some(Make { signs_from: at(30) + schedule.published_ahead, is_active: false }));
        assert_eq!(plan.retire, None);
    }

    #[test]
    fn the_alarm_is_raised_when_a_window_is_missed_and_not_before() {
        let schedule = Schedule::default();
        let mut leaves = vec![leaf("one", State::Active, 0, 24)];
        let is_late = |hours, leaves: &[Known]| schedule.outlook(at(hours), leaves).is_late;
        assert!(is_late(0, &[]), "nothing signs");
        assert!(!is_late(22, &leaves) && is_late(23, &leaves), "the next is not made");
        leaves.push(leaf("two", State::Pending, 24, 48));
        assert!(!is_late(24, &leaves) && is_late(25, &leaves), "the next has not taken over");
    }

    #[test]
    fn where_nothing_signs_the_next_does_not_wait() {
        let plan = Schedule::default().plan(at(1), &[leaf("two", State::Pending, 24, 48), leaf("one", State::Retired, 0, 24)]);
        assert_eq!((plan.activate.as_deref(), plan.retire), (Some("two"), None));
    }

    #[test]
    fn a_retired_one_is_gone_when_its_last_lease_is_over_and_not_before() {
        let leaves = [leaf("one", State::Retired, 0, 24), leaf("two", State::Active, 24, 48)];
        assert_eq!(Schedule::default().plan(at(40), &leaves), Plan::default());
        assert_eq!(Schedule::default().plan(at(48), &leaves).purge, ["one"]);
    }

    #[test]
    fn another_root_needs_another_leaf() {
        let mut leaves = vec![leaf("one", State::Active, 0, 24), leaf("two", State::Pending, 24, 48)];
        for leaf in &mut leaves {
            leaf.is_ours = false;
        }
        let plan = Schedule::default().plan(at(1), &leaves);
        assert_eq!((plan.purge, plan.retire), (vec!["two".to_owned()], None));
        assert!(plan.make.is_some_and(|make| !make.is_active));
        leaves[1] = leaf("three", State::Pending, 2, 26);
        assert_eq!(Schedule::default().plan(at(2), &leaves).activate.as_deref(), Some("three"));
    }
}
